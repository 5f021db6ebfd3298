"""Read annotations of any known format into `Sample`s."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from somaseg.annotations.coco import read_coco
from somaseg.annotations.kaggle import read_kaggle
from somaseg.annotations.label_tiff import is_label_name, read_label_tiffs
from somaseg.annotations.samples import Problem, Sample
from somaseg.errors import InputError
from somaseg.images.read import TIFF_SUFFIXES

COCO_NAMES = ("annotations.json", "instances.json")


def read_annotations(path: str | Path, images: str | Path | None = None) -> list[Sample]:
    """Samples of a `train.csv`, a COCO JSON, label TIFFs, or a folder that holds one of them.

    Image files are located but not opened, and may be absent. A folder is searched in this order: `annotations.json`,
    `instances.json`, `train.csv`, the only JSON file, the folder `labels`, label TIFFs beside their images.

    Args:
        path: file or folder.
        images: folder of the images; by default `images` or `train` beside the annotations, else their own folder.

    Raises:
        InputError: when no annotation is found, or one has no meaning; the message names file, row and field.
    """
    samples, problems = inspect_annotations(path, images)
    fatal = [p for p in problems if p.fatal]
    if fatal:
        more = f" ({len(fatal) - 1} more like this)" if len(fatal) > 1 else ""
        raise InputError(f"{fatal[0].message}{more}; `somaseg data check {path} --fix OUT` writes a repaired copy")
    return samples


def inspect_annotations(path: str | Path, images: str | Path | None = None) -> tuple[list[Sample], list[Problem]]:
    """Samples, and what is wrong with single annotations instead of an error; see `read_annotations`."""
    source = locate(Path(path), images is not None)
    folder = None if images is None else Path(images)
    if folder is not None and not folder.is_dir():
        raise InputError(f"{folder}: is no folder of images: check the path")
    with _collector_paused():
        if source.suffix.lower() == ".csv":
            return read_kaggle(source, folder)
        if source.suffix.lower() == ".json":
            return read_coco(source, folder)
        return read_label_tiffs(source, folder)


@contextmanager
def _collector_paused() -> Iterator[None]:
    """Keep the cycle collector from walking a hundred thousand new objects again and again; it took a third of the time."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def locate(path: Path, images_given: bool = False) -> Path:
    """The annotation file, or folder of label TIFFs, that `path` means."""
    known = (".csv", ".json", *TIFF_SUFFIXES)
    if path.is_file():
        if path.suffix.lower() in known:
            return path
        raise InputError(f"{path}: is no annotation file: expected one that ends in {', '.join(known)}")
    if not path.is_dir():
        raise InputError(f"{path}: no such file or folder: check the path")
    for name in (*COCO_NAMES, "train.csv"):
        if (path / name).is_file():
            return path / name
    found = sorted(path.glob("*.json"))
    if len(found) == 1:
        return found[0]
    for folder in (path / "labels", path):
        tiffs = [p for p in folder.glob("*") if p.suffix.lower() in TIFF_SUFFIXES]
        if any(is_label_name(p, path if images_given else None) for p in tiffs):
            return folder
    raise InputError(
        f"{path}: holds no annotations: expected annotations.json, train.csv, or TIFFs in a folder labels or named *_labels.tif"
    )
