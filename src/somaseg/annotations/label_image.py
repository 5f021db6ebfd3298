"""Label TIFFs: one image of integers a field, 0 for background and one value a cell."""

from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from somaseg.annotations.image_folder import ImageFolder, sibling_images
from somaseg.annotations.samples import Problem, Sample
from somaseg.errors import InputError
from somaseg.images.read import DECODE_ERRORS, TIFF_SUFFIXES, image_stem
from somaseg.instances import Instances

ENDINGS = ("_labels", "_label", "_masks", "_mask")


def read_label_tiffs(path: Path, images: Path | None = None) -> tuple[list[Sample], list[Problem]]:
    """Samples of one label TIFF or of all in a folder, by name.

    The image of `a_labels.tif` (or `a.tif`) is the one that the file names, else `a.*` in `images`: by default the folder
    `images` beside the labels, or beside their folder, else the folder of the labels or the one above a folder `labels`.
    Classes are those that the file names, else the single class "cell".
    """
    if path.is_file():
        files = [path]
    else:
        files = sorted(p for p in path.iterdir() if p.suffix.lower() in TIFF_SUFFIXES and is_label_name(p, images))
    parent = path.parent if path.is_file() else path
    above = parent.parent if parent.name == "labels" else parent
    folder = ImageFolder(images or sibling_images(above, ("images",)), without=parent if parent != above else None)
    return [_read(file, folder, images is not None) for file in files], []


def is_label_name(path: Path, images: Path | None = None) -> bool:
    """Whether a TIFF is a label image: by its ending, by its folder `labels`, or since the images are elsewhere."""
    return images is not None or path.parent.name == "labels" or image_stem(path).endswith(ENDINGS)


def image_name(path: Path) -> str:
    """Name of the image that a label TIFF belongs to."""
    stem = image_stem(path)
    return next((stem.removesuffix(e) for e in ENDINGS if stem.endswith(e)), stem)


def _read(path: Path, folder: ImageFolder, images_given: bool) -> Sample:
    try:
        with tifffile.TiffFile(path) as tif:
            labels = tif.asarray()
            described: dict[str, Any] = (tif.shaped_metadata or ({},))[0]
    except DECODE_ERRORS as error:
        raise InputError(f"{path}: cannot be read as a label TIFF ({error}): the file may be damaged or cut off") from error
    if labels.ndim != 2 or labels.dtype.kind not in "ui" or labels.min(initial=0) < 0:
        raise InputError(
            f"{path}: pixels are {labels.dtype} of shape {labels.shape}, expected one image (height, width) of whole numbers from 0"
        )
    name = image_name(path)
    named = described.get("image")
    image = path.parent / named if named and not images_given else folder.find(name)
    return Sample(image, _instances(path, labels, described), name, described.get("group"), described.get("cell_type"))


def _instances(path: Path, labels: NDArray[Any], described: dict[str, Any]) -> Instances:
    classes = tuple(described.get("classes", ("cell",)))
    instances = Instances.from_label_image(labels, classes)
    if "labels" not in described:
        return instances
    values = np.unique(labels)
    values = values[values > 0].astype(np.int64)
    if len(values) and values[-1] > len(described["labels"]):
        raise InputError(
            f"{path}: has the value {values[-1]}, but its description gives classes for {len(described['labels'])} cells: "
            "save the edited image without the old description"
        )
    of_value = np.array(described["labels"], np.int64)[values - 1]
    return Instances(instances.size, instances.boxes, instances.masks, of_value, instances.scores, classes)
