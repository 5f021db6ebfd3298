"""What `somaseg segment` takes as images grow from a field of view to a whole slide: memory and processor time.

    python benchmarks/image_size.py
    python benchmarks/image_size.py --sides 2000 5000 10000 20000 --cell-type shsy5y

The images are tiled TIFFs, mosaics of four rendered cultures, so that all have as many cells to the area. Each is segmented in a
process of its own, so that the peak of memory is its own. A field is one of 704 x 520 pixels; what it takes is what twelve more in the
same run take. What starting takes is what a run with one of them takes beyond that, and is subtracted before times are compared.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tifffile
from numpy.typing import NDArray

from somaseg.synth.render import CLASSES, SynthSettings, render

PART = 1024  # px of the side of a culture; tiles of the file are half of it


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sides", type=int, nargs="+", default=[1000, 2500, 5000], help="of square images in pixels")
    parser.add_argument("--cell-type", choices=CLASSES, default="shsy5y")
    parser.add_argument("--options", nargs=argparse.REMAINDER, default=[], help="of `somaseg segment`; the last one")
    given = parser.parse_args()
    cultures = [render(SynthSettings(cell_type=given.cell_type, size=(PART, PART)), seed=seed)[0] for seed in range(4)]
    field, area = (520, 704), 520 * 704 / 1e6
    (alone, peak, cells), (thirteen, _, _) = (segmented(field, cultures, given.options, count) for count in (1, 13))
    each = (thirteen - alone) / 12
    start = alone - each
    print("| size | megapixels | cells | memory at the peak | processor time | a megapixel | / a field's |\n|---|---|---|---|---|---|---|")
    print(f"| 704 x 520 | {area:.1f} | {cells:,} | {peak:,.0f} MB | {alone:,.1f} s | {each / area:.2f} s | 1 |", flush=True)
    for side in given.sides:
        seconds, peak, cells = segmented((side, side), cultures, given.options)
        pixel = (seconds - start) / (side * side / 1e6)
        row = f"| {side:,} x {side:,} | {side * side / 1e6:.1f} | {cells:,} | {peak:,.0f} MB | {seconds:,.1f} s"
        print(f"{row} | {pixel:.2f} s | {pixel / each * area:.2f} |", flush=True)


def segmented(size: tuple[int, int], cultures: list[NDArray[np.uint8]], options: list[str], count: int = 1) -> tuple[float, float, int]:
    """Processor time in s and peak memory in MB of segmenting so many mosaics of a size, and their cells."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        form = {"shape": size, "dtype": np.uint8, "tile": (PART // 2, PART // 2), "compression": "zlib"}
        (folder / "images").mkdir()
        for number in range(count):
            turned = [cultures[(number + i) % 4] for i in range(4)]
            tifffile.imwrite(folder / "images" / f"{number}.tif", parts(size, turned), **form)
        command = [sys.executable, "-m", "somaseg", "segment", str(folder / "images"), "--out", str(folder / "out"), *options]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, cwd=folder)
        _, status, usage = os.wait4(process.pid, 0)
        if status:
            sys.exit(f"{size}: `somaseg segment` failed")
        run = json.loads((folder / "out" / "run.json").read_text())
        return usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, sum(run["cells"].values())


def parts(size: tuple[int, int], cultures: list[NDArray[np.uint8]]) -> Iterator[NDArray[np.uint8]]:
    """The tiles of the mosaic, row by row; neighbours are of different cultures."""
    half = PART // 2
    for y in range(0, size[0], half):
        for x in range(0, size[1], half):
            culture = cultures[(x // PART + 2 * (y // PART)) % 4]
            tile = culture[y % PART : y % PART + half, x % PART : x % PART + half]
            yield np.ascontiguousarray(tile[: size[0] - y, : size[1] - x])


if __name__ == "__main__":
    main()
