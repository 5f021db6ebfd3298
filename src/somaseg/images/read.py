"""Image files: find them, and read them frame by frame (PNG, JPEG, TIFF, OME-TIFF; CZI, LIF and ND2 with the extra `bioio`)."""

import glob
import math
import os
import re
import struct
import xml.etree.ElementTree as ET
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import imageio.v3 as iio
import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image

from somaseg.errors import InputError
from somaseg.images.microscopes import MICROSCOPE_SUFFIXES, read_planes

TIFF_SUFFIXES = (".tif", ".tiff")
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", *TIFF_SUFFIXES, *MICROSCOPE_SUFFIXES)
MICRONS = {"nm": 1e-3, "µm": 1.0, "μm": 1.0, "um": 1.0, "micron": 1.0, "microns": 1.0, "mm": 1e3, "cm": 1e4, "m": 1e6}
# What Pillow and tifffile raise on files that are cut off or were never images.
DECODE_ERRORS = (
    OSError,
    EOFError,
    ValueError,
    TypeError,
    IndexError,
    KeyError,
    SyntaxError,
    RuntimeError,
    struct.error,
    zlib.error,
    tifffile.TiffFileError,
)


@dataclass(frozen=True, eq=False)
class Frame:
    """One two-dimensional image of a file.

    Attributes:
        path: the file.
        page: number of the frame from 0 in a file of several frames, None where the file holds one image.
        array: (H, W) or (H, W, C), in the file's own numbers.
        pixel_size: edge of a pixel in µm where the file tells it, else None.
    """

    path: Path
    page: int | None
    array: NDArray[Any]
    pixel_size: float | None = None

    @property
    def name(self) -> str:
        """The file's stem, with `_p003` behind it for page 3 of a stack."""
        return frame_name(self.path, self.page)


def frame_name(path: Path, page: int | None) -> str:
    """Name of a frame: the stem, or stem and page number."""
    stem = image_stem(path)
    return stem if page is None else f"{stem}_p{page:03d}"


def image_stem(path: str | Path) -> str:
    """File name without its suffix; `.ome.tif` counts as one suffix."""
    stem = os.path.splitext(os.path.basename(path))[0]  # noqa: PTH119, PTH122 - several times faster than Path, for long lists
    return stem[:-4] if stem.lower().endswith(".ome") else stem


def is_image(path: Path) -> bool:
    """Whether the name is that of an image file that can be read and is not hidden."""
    return path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")


def find_images(paths: Sequence[str | Path]) -> list[Path]:
    """Image files named by files, folders (searched recursively) and globs; sorted, each once.

    Raises:
        InputError: when a path matches no image.
    """
    found: dict[Path, Path] = {}
    for given in paths:
        path = Path(given)
        if path.is_dir():
            matches = [p for p in path.rglob("*") if p.is_file() and is_image(p) and not _hidden(p.relative_to(path))]
        elif path.exists():
            matches = [path] if path.suffix.lower() in IMAGE_SUFFIXES else []
        elif glob.has_magic(str(given)):
            pattern = str(path.relative_to(path.anchor))
            matches = [p for p in Path(path.anchor or ".").glob(pattern) if p.is_file() and is_image(p)]
        else:
            raise InputError(f"{given}: no such file or folder: check the path")
        if not matches:
            raise InputError(f"{given}: holds no image: expected files that end in {', '.join(IMAGE_SUFFIXES)}")
        for match in matches:
            found.setdefault(match.resolve(), match)
    return sorted(found.values())


def _hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def read_frames(path: str | Path) -> Iterator[Frame]:
    """Frames of an image file, read one by one, so that a long stack never fills the memory.

    A PNG or JPEG is one frame. In a TIFF each step along an axis other than Y, X, channel and sample (Z, T, unknown
    pages) is a frame; channels come last whatever their place in the file. In a microscope file each depth of each time
    point is a frame, and one scene follows another.

    Raises:
        InputError: naming the file, when it is missing, empty, truncated or of no known format.
        MissingExtraError: when it is a microscope file and the extra `bioio` is not installed.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such image file: check the path")
    if path.stat().st_size == 0:
        raise InputError(f"{path}: the image file is empty (0 bytes): copy it again or leave it out")
    try:
        yield from _frames(path)
    except InputError:
        raise
    except DECODE_ERRORS as error:
        raise InputError(f"{path}: cannot be read as an image ({_first_line(error)}): the file may be damaged or cut off") from error


def _frames(path: Path) -> Iterable[Frame]:
    suffix = path.suffix.lower()
    if suffix in TIFF_SUFFIXES:
        return _read_tiff(path)
    if suffix in MICROSCOPE_SUFFIXES:
        return (Frame(path, page, _pixels(array), pixel_size) for page, array, pixel_size in read_planes(path))
    # Left to choose, imageio hands a file that Pillow refuses to plugins for other formats.
    return [Frame(path, None, _pixels(iio.imread(path, plugin="pillow", index=0)))]


def read_image(path: str | Path) -> Frame:
    """The only frame of a file.

    Raises:
        InputError: when the file cannot be read or holds several frames.
    """
    frames = read_frames(path)
    first = next(frames)
    if first.page is not None:
        raise InputError(f"{path}: holds several frames, expected one: save the frames as files of their own")
    return first


def _read_tiff(path: Path) -> Iterator[Frame]:
    with tifffile.TiffFile(path) as tif:
        series = [s for s in tif.series if not s.keyframe.is_reduced]
        if not series:
            raise InputError(f"{path}: the TIFF holds no image: check the file")
        pixel_size = _pixel_size(tif)
        single = len(series) == 1 and _frame_count(series[0]) == 1
        page = 0
        for one in series:
            for array in _series_frames(one, path):
                yield Frame(path, None if single else page, _pixels(array), pixel_size)
                page += 1


def _axes(series: tifffile.TiffPageSeries) -> str:
    """Axes of a series; a last axis of at most four in an image that tifffile took for a stack of lines is channels."""
    axes, shape = str(series.axes), series.shape
    return "YXC" if axes == "QYX" and shape[2] <= 4 < min(shape[:2]) else axes


def _frame_count(series: tifffile.TiffPageSeries) -> int:
    return math.prod(n for axis, n in zip(_axes(series), series.shape, strict=True) if axis not in "YXCS")


def _series_frames(series: tifffile.TiffPageSeries, path: Path) -> Iterator[NDArray[Any]]:
    """Arrays (H, W) or (H, W, C) of a series."""
    axes, shape = _axes(series), tuple(series.shape)
    if "Y" not in axes or "X" not in axes or 0 in shape:
        raise InputError(f"{path}: the TIFF has axes {axes} and shape {shape}: expected an image with height and width")
    inner = len(series.keyframe.shape)
    lead, lead_shape = axes[: len(axes) - inner], shape[: len(shape) - inner]
    by_page = set(axes[-inner:]) <= set("YXCS") and len(series.pages) == math.prod(lead_shape)
    if not by_page:  # one page holds a volume, or a writer left pages out: map the file rather than load it
        volume = series.asarray(out="memmap")
        lead, lead_shape = axes, shape
    steps = [n if axis not in "YXCS" else 1 for axis, n in zip(lead, lead_shape, strict=True)]
    for place in np.ndindex(*steps):
        index = tuple(i if axis not in "YXCS" else slice(None) for i, axis in zip(place, lead, strict=True))
        if by_page:
            numbers = np.arange(len(series.pages)).reshape(lead_shape)[index]
            pages = [_page_array(series.pages[int(n)], path) for n in np.ravel(numbers)]
            array = np.stack(pages).reshape(*np.shape(numbers), *pages[0].shape)
        else:
            array = np.asarray(volume[index])
        yield _channels_last(array, "".join(a for a in axes if a in "YXCS"))


def _page_array(page: Any, path: Path) -> NDArray[Any]:
    try:
        return np.asarray(page.asarray())
    except ValueError as error:
        if "imagecodecs" not in str(error):
            raise
    # Pillow brings the LZW and JPEG decoders that tifffile takes from a further package.
    with Image.open(path) as image:
        image.seek(page.index)
        return np.asarray(image).reshape(page.shape)


def _channels_last(array: NDArray[Any], axes: str) -> NDArray[Any]:
    """Move Y and X to the front; several channel axes become one."""
    array = np.moveaxis(array, (axes.index("Y"), axes.index("X")), (0, 1))
    return array if array.ndim == 2 else array.reshape(*array.shape[:2], -1)


def _pixels(array: NDArray[Any]) -> NDArray[Any]:
    """Real numbers of two or three axes; a 1-bit image becomes 0 and 1 in uint8."""
    if array.ndim not in (2, 3) or array.dtype.kind not in "buif":
        raise ValueError(f"pixels of type {array.dtype} and shape {array.shape}, expected a real image (height, width[, channels])")
    return array.astype(np.uint8) if array.dtype == np.bool_ else array


def _pixel_size(tif: tifffile.TiffFile) -> float | None:
    """Pixel edge in µm from OME or ImageJ metadata; plain resolution tags are screen settings more often than scales."""
    if tif.ome_metadata:
        for element in ET.fromstring(tif.ome_metadata).iter():
            if element.tag.endswith("Pixels") and "PhysicalSizeX" in element.attrib:
                return _in_microns(float(element.attrib["PhysicalSizeX"]), element.attrib.get("PhysicalSizeXUnit", "µm"))
    if tif.imagej_metadata and "unit" in tif.imagej_metadata:
        tag = tif.pages.first.tags.get("XResolution")
        if tag is not None and tag.value[0]:
            return _in_microns(tag.value[1] / tag.value[0], str(tif.imagej_metadata["unit"]))
    return None


def _in_microns(value: float, unit: str) -> float | None:
    # ImageJ writes the micro sign as the six characters \u00B5
    scale = MICRONS.get(re.sub(r"\\u00B5", "µ", unit.strip(), flags=re.IGNORECASE))
    return value * scale if scale and value > 0 else None


def _first_line(error: BaseException) -> str:
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0]
