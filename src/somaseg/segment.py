"""The batch run: images to masks, tables and pictures, one by one, so that it can be stopped and resumed.

Beside the files of each image (see `somaseg.results`) it leaves `instances.json`, `cells.csv` and `run.json` of the whole run,
made anew from those of the images at its end.
"""

import hashlib
import os
import platform
import time
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol

import orjson
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from somaseg import export
from somaseg.config import PostprocessSettings
from somaseg.data.images import find_images, frame_name, image_stem, read_frames
from somaseg.errors import InputError, MissingExtraError
from somaseg.instances import Prediction
from somaseg.postprocess import check_classes, postprocess_with_report
from somaseg.results import ResultFolder

PACKAGES = ("somaseg", "torch", "torchvision", "timm", "numpy")


class Segmenter(Protocol):
    """What the run needs of a trained model."""

    @property
    def name(self) -> str:
        """What to call the weights."""

    @property
    def sha256(self) -> str:
        """Of the weights' file."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names."""

    def predict(self, image: NDArray[Any]) -> Prediction:
        """Raw detections of an image (H, W) or (H, W, C)."""


@dataclass(frozen=True)
class RunSummary:
    """What a run did.

    Attributes:
        out: the folder with the results.
        images: images with results, made now or before.
        skipped: how many of them were made before and are unchanged.
        cells: cells by class, over all images.
        failures: what went wrong, by image file.
        warnings: what to look at, by image.
        seconds: of the whole run.
    """

    out: Path
    images: int
    skipped: int
    cells: dict[str, int]
    failures: dict[str, str]
    warnings: dict[str, list[str]]
    seconds: float

    def text(self) -> str:
        """The same for people, a line a fact."""
        counts = ", ".join(f"{count} {name}" for name, count in self.cells.items() if count) or "no cell"
        before = f", {self.skipped} of them unchanged since an earlier run" if self.skipped else ""
        lines = [f"warning: {image}: {message}" for image, messages in self.warnings.items() for message in messages]
        lines += [f"failed: {reason}" for reason in self.failures.values()]
        lines.append(f"{self.images} images in {self.seconds:.1f} s{before}: {counts}")
        if self.failures:
            lines.append(f"{len(self.failures)} files failed, see above and run.json")
        return "\n".join([*lines, f"results in {self.out}"])


@dataclass
class _Gathered:
    """The images of a run so far: name in the results, file, id of a submission."""

    names: list[str] = field(default_factory=list)
    files: list[Path] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    skipped: int = 0
    failures: dict[str, str] = field(default_factory=dict)


def run(
    paths: Sequence[str | Path],
    out: Path,
    segmenter: Segmenter,
    settings: PostprocessSettings,
    kaggle: Path | None = None,
    overlay: bool = True,
    console: Console | None = None,
) -> RunSummary:
    """Segment images and write the results of each as soon as it is done.

    An image that was done before with the same content, settings, weights and version of somaseg is skipped. One that cannot
    be read or segmented is reported in the summary and in `run.json`, and the others go on.

    Args:
        paths: files, folders (searched recursively) and globs; what lies in `out` is left aside.
        out: folder for the results.
        segmenter: gives the raw detections.
        settings: of post-processing.
        kaggle: where to write a `submission.csv`; its ids are the stems of the files.
        overlay: whether to draw pictures.
        console: where to show a progress bar; None shows none.

    Raises:
        InputError: when there is no image, `out` is a file, the settings name an unknown class, or `kaggle` is given and is a
            folder or two images have one name.
    """
    begin = time.perf_counter()
    check_classes(settings, segmenter.classes)
    files = _images(paths, out, kaggle)
    results = ResultFolder(out, overlay)
    gathered = _Gathered()
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), _Rate(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=console is None) as bar:
        task = bar.add_task("", total=len(files))
        for path in files:
            try:
                for name, page, skipped in _segment_file(path, results, segmenter, settings):
                    gathered.names.append(name)
                    gathered.files.append(path)
                    gathered.ids.append(frame_name(path, page))
                    gathered.skipped += skipped
                    bar.update(task, description=name)
            except (InputError, MissingExtraError, RuntimeError, MemoryError) as error:
                reason = str(error) if isinstance(error, InputError | MissingExtraError) else f"{type(error).__name__}: {error}"
                gathered.failures[str(path)] = reason if str(path) in reason else f"{path}: {reason}"
            bar.advance(task)
    return _summarise(gathered, results, segmenter, settings, kaggle, begin)


def _images(paths: Sequence[str | Path], out: Path, kaggle: Path | None) -> list[Path]:
    """The image files of a run, after the checks that need no image to be read."""
    if out.exists() and not out.is_dir():
        raise InputError(f"{out}: is a file, expected a folder for the results: choose another one")
    files = [path for path in find_images(paths) if not path.resolve().is_relative_to(out.resolve())]
    if not files:
        raise InputError(f"{', '.join(map(str, paths))}: all images lie in {out}, the folder of the results: give the folder of the images")
    if kaggle is not None:
        if kaggle.is_dir():
            raise InputError(f"{kaggle}: is a folder, expected the name of a CSV file for the submission")
        twice = [stem for stem, count in Counter(map(image_stem, files)).items() if count > 1]
        if twice:
            raise InputError(f"{kaggle}: several images are called {twice[0]!r}, a submission needs unique ids: rename all but one")
    return files


def _segment_file(
    path: Path, results: ResultFolder, segmenter: Segmenter, settings: PostprocessSettings
) -> Iterator[tuple[str, int | None, bool]]:
    """Segment the images of a file; gives name, page, and whether it was done before, for each."""
    made_from = {
        "image": _content(path),
        "weights": segmenter.sha256,
        "settings": settings.model_dump(mode="json"),
        "somaseg": version("somaseg"),
    }
    name = results.name(path, None)
    if results.is_done(name, made_from):
        results.take(name)
        yield name, None, True
        return
    begin = time.perf_counter()
    for frame in read_frames(path):
        name = results.name(path, frame.page)
        results.take(name)
        done = results.is_done(name, made_from)
        if not done:
            if not frame.array.size:
                raise InputError(f"{path}: image of shape {frame.array.shape} has no pixel: leave it out")
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always", UserWarning)
                prediction = segmenter.predict(frame.array)
            cells, steps = postprocess_with_report(prediction, settings)
            seconds = round(time.perf_counter() - begin, 4)
            info = {"made_from": made_from, "seconds": seconds, "steps": steps, "warnings": [str(w.message) for w in caught]}
            results.write(name, frame, cells, info)
        yield name, frame.page, done
        begin = time.perf_counter()


def _content(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}): check the file and its permissions") from error


def _summarise(
    gathered: _Gathered, results: ResultFolder, segmenter: Segmenter, settings: PostprocessSettings, kaggle: Path | None, begin: float
) -> RunSummary:
    """Make the files of the whole run from those of its images, which are read one at a time."""
    out, names = results.out, gathered.names

    def documents() -> Iterator[dict[str, Any]]:
        for name in names:
            document = results.document(name)
            if document is None:
                raise InputError(f"{out}: the result of {name} disappeared during the run: run again")
            yield document

    files = [path.resolve() for path in gathered.files]
    root = Path(os.path.commonpath([path.parent for path in files])) if files else Path()
    file_names = [path.relative_to(root).as_posix() for path in files]
    export.write_atomic(out / "instances.json", export.merge_coco(documents(), file_names, segmenter.classes))
    export.write_atomic(out / "cells.csv", export.cells_csv(documents(), names))
    if kaggle is not None:
        export.write_atomic(kaggle, export.submission_csv(zip(gathered.ids, map(export.cells_of, documents()), strict=True)))

    by_image = {}
    cells: Counter[int] = Counter()
    steps: Counter[str] = Counter()
    for name, path, document in zip(names, files, documents(), strict=True):
        by_image[name] = {**document["info"], "file": str(path)}
        cells.update(a["category_id"] for a in document["annotations"])
        steps.update(document["info"]["steps"])
    summary = RunSummary(
        out=out,
        images=len(names),
        skipped=gathered.skipped,
        cells={category["name"]: cells[category["id"]] for category in export.categories(segmenter.classes)},
        failures=gathered.failures,
        warnings={name: info["warnings"] for name, info in by_image.items() if info["warnings"]},
        seconds=round(time.perf_counter() - begin, 3),
    )
    manifest = {
        "settings": {"postprocess": settings.model_dump(mode="json"), "overlay": results.overlay},
        "weights": {"name": segmenter.name, "sha256": segmenter.sha256},
        "versions": {"python": platform.python_version(), **{package: version(package) for package in PACKAGES}},
        **{key: value for key, value in asdict(summary).items() if key != "out"},
        "steps": dict(steps),
        "by_image": {
            name: {key: info[key] for key in ("file", "seconds", "steps", "label_pixels_lost")} for name, info in by_image.items()
        },
    }
    export.write_atomic(out / "run.json", orjson.dumps(manifest, option=orjson.OPT_INDENT_2))
    return summary


class _Rate(ProgressColumn):
    """Image files a second."""

    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:.2f}/s" if task.speed else "")
