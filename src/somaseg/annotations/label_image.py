"""Annotations in a file of their own for each image: label images in any container, and what other programs save of their cells.

A label image has whole numbers, 0 for background and one value a cell.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray
from scipy import ndimage

from somaseg.annotations.coco import file_problems
from somaseg.annotations.foreign.cellpose import read_array_file
from somaseg.annotations.foreign.imagej import read_rois
from somaseg.annotations.foreign.kinds import kind_of
from somaseg.annotations.foreign.ome_zarr import read_zarr_labels
from somaseg.annotations.foreign.outlined import cells_of
from somaseg.annotations.foreign.qupath import read_geojson
from somaseg.annotations.foreign.records import Record, record_of
from somaseg.annotations.image_folder import Found, ImageFolder, is_file, sibling_images
from somaseg.annotations.samples import Problem, Sample
from somaseg.errors import InputError, shown
from somaseg.images.read import DECODE_ERRORS, IMAGE_SUFFIXES, TIFF_SUFFIXES, image_stem, read_frames, read_planes
from somaseg.instances import Instances
from somaseg.limits import MaskBudget, check_pixels
from somaseg.masks.crops import Size, value_windows

ENDINGS = ("_cp_masks", "_labels", "_label", "_masks", "_mask")
FOREIGN_ENDINGS = (*ENDINGS, "_seg", "_rois", "_RoiSet", "_annotations")
LABEL_SUFFIXES = (*TIFF_SUFFIXES, ".png")
FEW = 5  # classes that a mask of classes may have, each in many pieces
EIGHT = np.ones((3, 3), bool)


def read_label_images(path: Path, images: Path | None = None) -> tuple[list[Sample], list[Problem]]:
    """Samples of one such file or of all in a folder, by name, and what is wrong with them.

    The image of `a_labels.tif`, `a_cp_masks.png`, `a.zip` or `a.geojson` (or `a.tif`) is the one that the file names, or the record
    `coco/a.json` of somaseg beside its folder; else `a.*` in `images`: by default the folder `images` beside the annotations, or beside
    their folder, else the folder of the annotations or the one above a folder `labels`. Classes are those that the file names, else the
    single class "cell". One value in several pieces, or a few values in many, are taken for a mask of cells or classes and no label
    image: a fatal problem.

    Raises:
        InputError: when a file cannot be read, or does not say how large its image is and that is not there.
    """
    single = path.is_file() or kind_of(path) is not None
    files = [path] if single else label_files(path, images)
    parent = path.parent if single else path
    above = parent.parent if parent.name == "labels" else parent
    skip = frozenset(file.name for file in files) if images is None else frozenset()
    folder = ImageFolder(images or sibling_images(above, ("images",)), parent if parent != above else None, skip)
    samples: dict[str, Sample] = {}
    problems: list[Problem] = []
    for file in files:
        sample, found = _read(file, folder, images is not None)
        if sample.name in samples:
            raise InputError(f"{file}: is a second label image of {sample.name}: keep one of them in {parent}")
        samples[sample.name] = sample
        problems += found
    return list(samples.values()), problems


def label_files(folder: Path, images: Path | None = None) -> list[Path]:
    """The annotations of single images in a folder, sorted: label images, and what other programs save, told by its content.

    Label images are those whose names end as such; else TIFFs, else PNGs, where all images are elsewhere.
    """
    entries = sorted(p for p in folder.iterdir() if not p.name.startswith("."))
    files = [p for p in entries if p.suffix.lower() in LABEL_SUFFIXES and p.is_file()]
    foreign = [p for p in entries if p.suffix.lower() not in IMAGE_SUFFIXES and kind_of(p) is not None]
    named = [p for p in files if image_stem(p).endswith(ENDINGS)]
    elsewhere = images is not None and images.resolve() != folder.resolve()
    if not named and (elsewhere or folder.name == "labels"):
        named = [p for p in files if p.suffix.lower() in TIFF_SUFFIXES] or files
    return sorted([*named, *foreign])


def image_name(path: Path) -> str:
    """Name of the image that annotations in a file of their own belong to."""
    stem = image_stem(path)
    endings = ENDINGS if path.suffix.lower() in IMAGE_SUFFIXES else FOREIGN_ENDINGS
    return next((stem.removesuffix(e) for e in endings if stem.endswith(e) and stem != e), stem)


def read_labels(path: Path) -> tuple[NDArray[Any], dict[str, Any]]:
    """The values of a label image (H, W), 0 or more, and what its description tells (see `export.labels`).

    Whole numbers of any type, floats that are whole numbers, one plane of a stack, equal channels; places in a palette.

    Raises:
        InputError: when it cannot be read or is no image of whole numbers.
    """
    array, described = _stored(path)
    if array.ndim == 3:
        colours = array[..., :3] if array.shape[2] == 4 else array
        if not (colours == colours[..., :1]).all():
            raise InputError(f"{path}: is a colour image, expected one whole number a pixel, 0 for background and one a cell")
        array = colours[..., 0]
    if array.dtype.kind == "f":
        with np.errstate(all="ignore"):
            whole = np.isfinite(array) & (array == np.floor(array)) & (np.abs(array) < 2**53)
        if not whole.all():
            raise InputError(f"{path}: found the value {array[~whole][0]}, expected whole numbers from 0, one a cell")
    if array.dtype.kind not in "uifb" or array.min(initial=0) < 0 or (array.dtype.kind == "u" and array.max(initial=0) >= 2**63):
        raise InputError(f"{path}: pixels are {array.dtype} from {array.min(initial=0)}, expected whole numbers from 0, one a cell")
    check_pixels(str(path), *array.shape)
    if array.dtype.kind == "f":
        array = array.astype(np.uint32 if array.max(initial=0) < 2**32 else np.int64)
    return array, described


def _stored(path: Path) -> tuple[NDArray[Any], dict[str, Any]]:
    """The only plane of a file, in any container by its content, and what its description tells."""
    kind = kind_of(path)
    if kind == "cellpose":
        return read_array_file(path)
    if kind == "ome-zarr":
        return read_zarr_labels(path)
    planes = read_planes(path)
    if len(planes) != 1:
        raise InputError(f"{path}: holds {len(planes)} planes, expected one: save the labels of each image as a file of their own")
    return planes[0], _described(path)


def _described(path: Path) -> dict[str, Any]:
    """What the description of a TIFF tells of its cells; nothing for other files."""
    try:
        with tifffile.TiffFile(path) as tif:
            described = (tif.shaped_metadata or ({},))[0]
    except DECODE_ERRORS:
        return {}
    return dict(described) if isinstance(described, dict) else {}


def _read(path: Path, folder: ImageFolder, images_given: bool) -> tuple[Sample, list[Problem]]:
    kind, record = kind_of(path), record_of(path, image_name(path))
    if kind in ("imagej", "qupath"):
        return _read_outlined(path, kind == "imagej", folder, images_given, record)
    labels, described = read_labels(path)
    name, named = _text(path, described, "name") or image_name(path), _text(path, described, "image")
    problems: list[Problem] = []
    found = _image_of(path, folder, images_given, named, record)
    problems += file_problems(str(path), name, named or image_name(path), found)
    if "labels" not in described and (text := mask_of_classes(labels)):
        message = f"{path}: {text}: if so, give each cell a value of its own; `--fix` takes each piece for a cell"
        problems.append(Problem("binary mask", message, name, fatal=True))
    instances = _instances(path, labels, described)
    sample = Sample(found.path, instances, name, _text(path, described, "group"), _text(path, described, "cell_type"))
    return sample, problems


def _read_outlined(
    path: Path, imagej: bool, folder: ImageFolder, images_given: bool, record: Record | None
) -> tuple[Sample, list[Problem]]:
    """The sample of outlines, whose file says nothing of its image."""
    name = image_name(path)
    found = _image_of(path, folder, images_given, None, record)
    objects = read_rois(path) if imagej else read_geojson(path)
    size = _size_of(path, found) if record is None else record.size
    cells = cells_of(path, name, objects, size, () if record is None else record.classes)
    sample = Sample(found.path, cells.instances, name, ignored=cells.ignored)
    return sample, [*file_problems(str(path), name, name, found), *cells.problems]


def _image_of(path: Path, folder: ImageFolder, images_given: bool, named: str | None, record: Record | None) -> Found:
    """The image of a file: the one that it names, that its record names, or that is called as it is."""
    if named and not images_given and is_file(path.parent / named):
        return Found(path.parent / named)
    if record is not None and not named and not images_given and is_file(record.image):
        return Found(record.image)
    found = folder.find(named if named and not images_given else image_name(path))
    if named and not images_given and not is_file(found.path):
        return Found(path.parent / named, found.choices, found.certain)
    return found


def _size_of(path: Path, found: Found) -> Size:
    """Height and width of the image of outlines.

    Raises:
        InputError: when it is not there, or cannot be read.
    """
    if not found.certain or not is_file(found.path):
        several = f"several are called so: {', '.join(found.choices[:3])}" if not found.certain else f"{found.path} is not there"
        raise InputError(f"{path}: does not say how large its image is, so that the image is needed, but {several}: put it beside the file")
    frame = next(read_frames(found.path))
    if frame.page is not None:
        raise InputError(f"{path}: its image {found.path} holds several frames, expected one: save the frames as files of their own")
    return frame.array.shape[0], frame.array.shape[1]


def _text(path: Path, described: dict[str, Any], field: str) -> str | None:
    value = described.get(field)
    if value is not None and (not isinstance(value, str) or "\0" in value):
        raise InputError(f"{path}: description, {field}: found {shown(value)}, expected a text")
    return value or None


def mask_of_classes(labels: NDArray[Any]) -> str | None:
    """Why a label image may be a binary mask, or one of classes; None when its values are cells."""
    found = value_windows(labels)
    if not 0 < len(found) <= FEW:
        return None
    pieces = [int(ndimage.label(labels[window] == value, EIGHT)[1]) for value, window in found]
    if len(found) == 1 and pieces[0] > 1:
        return f"one value ({found[0][0]}) has {pieces[0]} pieces: it may be a binary mask, not a label image"
    if len(found) > 1 and min(pieces) > 2:
        return f"{len(found)} values have {sum(pieces)} pieces: it may be a mask of classes, not a label image"
    return None


def _instances(path: Path, labels: NDArray[Any], described: dict[str, Any]) -> Instances:
    classes = described.get("classes", ["cell"])
    if not isinstance(classes, (list, tuple)) or not classes or not all(isinstance(name, str) for name in classes):
        raise InputError(f"{path}: description, classes: found {shown(classes)}, expected names")
    instances = _from_labels(path, labels, tuple(classes))
    if "labels" not in described:
        return instances
    numbers = described["labels"]
    if not isinstance(numbers, (list, tuple)) or not all(type(n) is int and 0 <= n < len(classes) for n in numbers):
        raise InputError(f"{path}: description, labels: found {shown(numbers)}, expected a number of its {len(classes)} classes a cell")
    values = np.array([value for value, _ in value_windows(labels)], np.int64)
    if len(values) and values[-1] > len(numbers):
        raise InputError(
            f"{path}: has the value {values[-1]}, but its description gives classes for {len(numbers)} cells: "
            "save the edited image without the old description"
        )
    of_value = np.array(numbers, np.int64)[values - 1]
    return Instances(instances.size, instances.boxes, instances.masks, of_value, instances.scores, instances.classes)


def _from_labels(path: Path, labels: NDArray[Any], classes: Sequence[str]) -> Instances:
    """The cells of a label image, after a look at how large their boxes are together."""
    sizes = [(rows.stop - rows.start) * (columns.stop - columns.start) for _, (rows, columns) in value_windows(labels)]
    MaskBudget(path).spend(sum(sizes))
    return Instances.from_label_image(labels, classes)
