"""Read annotations of any known format into `Sample`s."""

import gc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from somaseg.annotations.coco import read_coco
from somaseg.annotations.foreign.kinds import kind_of
from somaseg.annotations.kaggle import read_kaggle
from somaseg.annotations.label_image import LABEL_SUFFIXES, label_files, read_label_images
from somaseg.annotations.samples import Problem, Sample
from somaseg.errors import InputError

COCO_NAMES = ("annotations.json", "instances.json")
JSON_SUFFIXES = (".json", ".jsonl", ".ndjson")
TABLE_SUFFIXES = (".csv", ".tsv")


def read_annotations(path: str | Path, images: str | Path | None = None, opened: bool = True) -> list[Sample]:
    """Samples of a `train.csv`, a COCO JSON, label images, what ImageJ, QuPath and Cellpose save, or a folder that holds one of them.

    Image files are located but not opened, and may be absent, save for outlines of ImageJ and QuPath, which need the image's size. A
    folder is searched in this order: `annotations.json`, `instances.json`, `train.csv`, the only JSON file, the folder `labels`, label
    images and files of other programs beside their images.

    Args:
        path: file or folder.
        images: folder of the images; by default `images` or `train` beside the annotations, else their own folder.
        opened: whether the image files will be opened, so that it must be certain which file each name means.

    Raises:
        InputError: when no annotation is found, or one has no meaning; the message names file, row and field.
    """
    samples, problems = inspect_annotations(path, images)
    refuse(path, problems, opened)
    return samples


def refuse(path: str | Path, problems: Sequence[Problem], opened: bool = True) -> None:
    """Refuse annotations with problems that leave one of them without a meaning; see `read_annotations`.

    Raises:
        InputError: with the first of them.
    """
    fatal = [p for p in problems if p.fatal]
    if fatal:
        more = f" ({len(fatal) - 1} more like this)" if len(fatal) > 1 else ""
        raise InputError(f"{fatal[0].message}{more}; `somaseg data check {path} --fix OUT` writes a repaired copy")
    unsure = [p for p in problems if p.kind == "ambiguous image"]
    if opened and unsure:
        raise InputError(unsure[0].message)


def inspect_annotations(path: str | Path, images: str | Path | None = None) -> tuple[list[Sample], list[Problem]]:
    """Samples, and what is wrong with single annotations instead of an error; see `read_annotations`."""
    folder = None if images is None else Path(images)
    source = locate(Path(path), folder)
    if folder is not None and not folder.is_dir():
        raise InputError(f"{folder}: is no folder of images: check the path")
    with _collector_paused():
        if kind_of(source) is not None:
            return read_label_images(source, folder)
        if source.suffix.lower() in TABLE_SUFFIXES:
            return read_kaggle(source, folder)
        if source.suffix.lower() in JSON_SUFFIXES:
            return read_coco(source, folder)
        return read_label_images(source, folder)


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


def locate(path: Path, images: Path | None = None) -> Path:
    """The annotation file, or folder of label images, that `path` means."""
    known = (*TABLE_SUFFIXES, *JSON_SUFFIXES, *LABEL_SUFFIXES)
    if path.is_file():
        if path.suffix.lower() in known or kind_of(path) is not None:
            return path
        raise InputError(f"{path}: is no annotation file: expected one that ends in {', '.join(known)}, or of ImageJ, QuPath or Cellpose")
    if not path.is_dir():
        raise InputError(f"{path}: no such file or folder: check the path")
    if kind_of(path) is not None:
        return path
    files = {p.name.casefold(): p for p in sorted(path.iterdir()) if p.is_file() and not p.name.startswith(".")}
    for name in (*COCO_NAMES, "train.csv"):
        if name in files:
            return files[name]
    found = [file for name, file in files.items() if name.endswith(".json")]
    if len(found) == 1 and kind_of(found[0]) is None:
        return found[0]
    for folder in (path / "labels", path):
        if folder.is_dir() and label_files(folder, images):
            return folder
    raise InputError(
        f"{path}: holds no annotations: expected annotations.json, train.csv, label images (TIFF or PNG) in a folder labels or named "
        "*_labels, *_masks or *_cp_masks, or zips of ImageJ ROIs, GeoJSON of QuPath or *_seg.npy of Cellpose"
    )
