"""Damaged and hostile files: whether each is read or refused in one line, within 5 seconds and 2 GB.

    python benchmarks/fuzz.py [--count 1000] [--seed 0]

Small valid files of every kind that somaseg reads are damaged at random: bytes flipped, cut off, repeated, put in, numbers in texts made
huge, negative or none. Each is read by the function that commands use, in a process of its own limits. The table counts what was read
all the same, what was refused with an `InputError`, and what must not be: another exception, a time over the limit, memory over it.
"""

import argparse
import json
import multiprocessing
import re
import resource
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import imageio.v3 as iio
import numpy as np
import tifffile
from PIL import Image
from rich.console import Console
from rich.progress import track
from rich.table import Table
from safetensors.numpy import save

from somaseg.annotations.read import read_annotations
from somaseg.annotations.write import write_coco, write_kaggle, write_label_tiffs
from somaseg.batch.saved.prediction_file import Origin, SavedPrediction, load_prediction, save_prediction
from somaseg.checkpoints.header import read_header
from somaseg.config import Config, SegmentSettings, load_settings, update
from somaseg.errors import InputError, MissingExtraError
from somaseg.images.read import read_frames
from somaseg.instances import Prediction
from somaseg.synth.folder import write_cultures

SECONDS, BYTES = 5.0, 2 * 10**9
OUTCOMES = ("read", "refused", "exception", "too long", "too much memory")
NUMBERS = (b"-1", b"0", b"99999999999", b"1e308", b"NaN", b"null", b'"text"', b"[]", b"18446744073709551616")


def samples(folder: Path) -> dict[str, tuple[Path, Callable[[Path], Any]]]:
    """A small valid file of each kind, and what reads it."""
    (culture,) = write_cultures(folder / "culture", 1, seed=1, cell_type="cort")
    image = iio.imread(culture.image)[:96, :128]
    files: dict[str, tuple[Path, Callable[[Path], Any]]] = {}

    def picture(name: str, write: Callable[[Path], Any]) -> None:
        path = folder / name
        write(path)
        files[name] = (path, lambda found: [frame.array for frame in read_frames(found)])

    for name in ("a.png", "a.jpg", "a.bmp", "a.gif", "a.webp"):
        picture(name, lambda path: Image.fromarray(image).save(path))
    picture("zip.tif", lambda path: tifffile.imwrite(path, image, compression="zlib", photometric="minisblack"))
    picture("lzw.tif", lambda path: tifffile.imwrite(path, image.astype(np.uint16), compression="lzw", photometric="minisblack"))
    picture("stack.ome.tif", lambda path: tifffile.imwrite(path, np.stack([image] * 3), metadata={"axes": "ZYX", "PhysicalSizeX": 0.5}))
    picture("imagej.tif", lambda path: tifffile.imwrite(path, np.stack([image] * 3), imagej=True, metadata={"axes": "TYX"}))
    write_coco([culture], folder / "a" / "coco.json")
    write_kaggle([culture], folder / "b" / "train.csv")
    write_label_tiffs([culture], folder / "c")
    for path in (folder / "a" / "coco.json", folder / "b" / "train.csv", next((folder / "c" / "labels").glob("*.tif"))):
        files[path.name if path.suffix != ".tif" else "labels.tif"] = (path, read_annotations)
    few = culture.instances[:5]
    settings = Config().model_dump(mode="json")
    origin = Origin(
        file="a.png", sha256="0" * 64, classes=few.classes, weights="default", weights_sha256="0" * 64, somaseg="0.1.0",
        model=settings["model"], tta={}, postprocess=settings["postprocess"],
    )  # fmt: skip
    prediction = Prediction(
        few.size, few.boxes.astype(np.float32), few.scores, few.labels, np.ones((5, 28, 28), np.float16), few.classes
    )  # fmt: skip
    save_prediction(folder / "prediction.npz", SavedPrediction(prediction, origin))
    files["prediction.npz"] = (folder / "prediction.npz", load_prediction)
    (folder / "settings.yaml").write_text("postprocess:\n  score_thresh: {default: 0.4, cort: 0.5}\n  min_area: 60\ntta: {flips: [none]}\n")
    files["settings.yaml"] = (folder / "settings.yaml", lambda path: update(SegmentSettings(), path))
    (folder / "config.yaml").write_text(json.dumps(settings))
    files["config.yaml"] = (folder / "config.yaml", lambda path: load_settings(Config, path))
    about = {"somaseg": json.dumps({"config": settings, "provenance": {"data": "none"}})}
    (folder / "weights.safetensors").write_bytes(save({"a": np.ones((3, 4), np.float16)}, metadata=about))
    files["weights.safetensors"] = (folder / "weights.safetensors", read_header)
    return files


def damaged(data: bytes, random: np.random.Generator) -> bytes:
    """One to four damages of a file's content."""
    changed = bytearray(data)
    for _ in range(random.integers(1, 5)):
        place = int(random.integers(len(changed))) if changed else 0
        match random.integers(7):
            case 0 if changed:
                changed[place] ^= 1 << int(random.integers(8))
            case 1 if changed:
                changed[place] = int(random.choice([0, 1, 127, 128, 255]))
            case 2:
                del changed[place:]
            case 3:
                del changed[place : place + int(random.integers(1, 64))]
            case 4:
                changed[place:place] = changed[place : place + int(random.integers(1, 256))]
            case 5:
                changed[place:place] = random.bytes(int(random.integers(1, 16)))
            case 6:
                found = list(re.finditer(rb"\d+", bytes(changed)))
                if found:
                    one = found[int(random.integers(len(found)))]
                    changed[one.start() : one.end()] = NUMBERS[int(random.integers(len(NUMBERS)))]
    return bytes(changed)


def worker(connection: Connection, folder: Path) -> None:
    """Read files as asked, under a limit of memory, and say what came of each."""
    files = samples(folder)
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    resource.setrlimit(resource.RLIMIT_DATA, (BYTES + used, BYTES + used))
    connection.send(None)
    while True:
        kind, path = connection.recv()
        try:
            files[kind][1](path)
            connection.send(("read", ""))
        except (InputError, MissingExtraError) as error:
            connection.send(("refused", str(error)))
        except MemoryError:
            connection.send(("too much memory", traceback.format_exc()))
        except Exception:  # it is these that are counted
            connection.send(("exception", traceback.format_exc()))


def started(folder: Path) -> tuple[Any, Connection]:
    """A worker that is ready."""
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=worker, args=(theirs, folder), daemon=True)
    process.start()
    ours.recv()
    return process, ours


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="folder for the files that were neither read nor refused")
    given = parser.parse_args()
    random, console = np.random.default_rng(given.seed), Console()
    counts: dict[str, Counter[str]] = {}
    slowest = 0.0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = samples(folder)
        for path, read in files.values():
            read(path)  # as they are all can be read
        process, connection = started(folder)
        for number in track(range(given.count), "reading", console=console):
            kind = list(files)[number % len(files)]
            path = files[kind][0].with_name(f"damaged{''.join(files[kind][0].suffixes)}")
            path.write_bytes(damaged(files[kind][0].read_bytes(), random))
            begin = time.perf_counter()
            connection.send((kind, path))
            outcome, text = connection.recv() if connection.poll(SECONDS) else ("too long", "")
            slowest = max(slowest, time.perf_counter() - begin)
            counts.setdefault(kind, Counter())[outcome] += 1
            if outcome not in ("read", "refused"):
                console.print(f"{kind}: {outcome}\n{text}", markup=False, highlight=False)
                if given.keep:
                    given.keep.mkdir(parents=True, exist_ok=True)
                    (given.keep / f"{number}_{kind}").write_bytes(path.read_bytes())
            if outcome in ("too long", "too much memory"):
                process.kill()
                process, connection = started(folder)
        process.kill()
    table = Table("file", *OUTCOMES, title=f"{given.count} damaged files, slowest {slowest:.2f} s", title_justify="left")
    for kind, found in counts.items():
        table.add_row(kind, *(str(found[outcome]) for outcome in OUTCOMES))
    total: Counter[str] = sum(counts.values(), Counter())
    table.add_section()
    table.add_row("all", *(str(total[outcome]) for outcome in OUTCOMES))
    console.print(table)
    sys.exit(any(total[outcome] for outcome in OUTCOMES[2:]))


if __name__ == "__main__":
    main()
