"""Pages of a TIFF: whole or not, decoded, and in grey values or colours."""

import math
from pathlib import Path
from typing import Any, NamedTuple

import imagecodecs
import numpy as np
import tifffile
from numpy.typing import NDArray

from somaseg.errors import InputError
from somaseg.images.decoders.colour import from_ink, from_ycbcr, inverted, table_of_tiff, through_table
from somaseg.images.frame import Alpha, Meaning, turned
from somaseg.images.limits import MAX_PLANES, check_size

MIN_IS_WHITE, RGB, PALETTE, SEPARATED, YCBCR = 0, 2, 3, 5, 6
GREY = (0, 1, 2, 3, 4)  # and what becomes grey or colours by itself
PREMULTIPLIED, STRAIGHT = 1, 2  # of ExtraSamples
CMYK = 1  # of InkSet
JPEG = (6, 7, 34892, 33007)  # compressions that bring their own colours
BT601 = (0.299, 0.587, 0.114)


class Samples(NamedTuple):
    """Pixels (H, W) or (H, W, C), and what their channels mean; see `Frame`."""

    array: NDArray[Any]
    meaning: Meaning
    alpha: Alpha | None = None
    warnings: tuple[str, ...] = ()


def count_pages(path: Path, tif: tifffile.TiffFile) -> int:
    """Pages of a TIFF, none of them decoded.

    Raises:
        InputError: naming the file, when the list of pages is broken off, runs in a circle, or is longer than any.
    """
    if tif.is_ndpi:  # its offsets have more bits than the format says
        return len(tif.pages)
    form, handle = tif.tiff, tif.filehandle
    size = path.stat().st_size
    handle.seek(4 if form.offsetsize == 4 else 8)
    offset = _number(handle.read(form.offsetsize), form.byteorder)
    seen: set[int] = set()
    while offset:
        handle.seek(offset)
        tags = _number(handle.read(form.tagnosize), form.byteorder)
        after = offset + form.tagnosize + tags * form.tagsize
        if offset in seen:
            raise InputError(f"{path}: its list of pages comes back to page {list(seen).index(offset)}: the file is damaged")
        if len(seen) > MAX_PLANES:
            raise InputError(f"{path}: has more than {MAX_PLANES:,} pages: the file may be damaged")
        if offset >= size or after > size:
            if not seen:
                raise InputError(f"{path}: the list of its pages is at byte {offset:,}, the file has {size:,}: it is cut off")
            return -len(seen)
        seen.add(offset)
        handle.seek(after)
        offset = _number(handle.read(form.offsetsize), form.byteorder)
    return len(seen)


def check_page(path: Path, page: Any, number: int, pages: int, by_region: bool = False) -> None:
    """Refuse a page that claims too many pixels, or whose data reach beyond the file; `by_region` as in `check_size`.

    Raises:
        InputError: naming the file and the page.
    """
    shape = page.shaped  # planes of samples, depth, height, width, samples
    itemsize = np.dtype(page.dtype).itemsize if page.dtype is not None else 1
    check_size(path, shape[3], shape[2], itemsize * shape[0] * shape[4], shape[1], by_region)
    if not (by_region and page.is_contiguous):
        check_size(path, math.prod(page.chunks), 1, itemsize)
    what = f"page {number} of {pages}" if pages > 1 else "its page"
    size = path.stat().st_size
    end = max((at + count for at, count in zip(page.dataoffsets, page.databytecounts, strict=False)), default=0)
    if end > size:
        raise InputError(f"{path}: the data of {what} reach to byte {end:,}, the file has {size:,}: it is cut off")
    parts = math.prod(page.chunked)
    if not page.is_contiguous and not page.is_jfif and len(page.dataoffsets) < parts and 273 not in page.tags:
        raise InputError(f"{path}: {what} has {len(page.dataoffsets)} of {parts} tiles: the file is damaged")


def decode_page(path: Path, page: Any) -> NDArray[Any]:
    """Pixels of a page as they are stored, in its own axes and in this machine's byte order.

    Raises:
        InputError: naming file, compression and bits, where imagecodecs has no decoder for them. Other errors are passed on.
    """
    keyframe = page.keyframe
    if keyframe.dtype is None:
        raise InputError(f"{path}: has {describe(keyframe)}, which is not read: save it with 8, 16 or 32 bits")
    try:
        array = np.asarray(page.asarray(squeeze=True))
    except (ValueError, NotImplementedError, ImportError, AttributeError) as error:
        text = str(error)
        if isinstance(error, tifffile.TiffFileError) or not any(word in text for word in UNSUPPORTED):
            raise
        raise InputError(
            f"{path}: has {describe(keyframe)}, which the package imagecodecs {imagecodecs.__version__} does not decode "
            f"({text.splitlines()[0]}): install a newer one, or save the image without compression"
        ) from error
    return native(array)


UNSUPPORTED = ("COMPRESSION", "compression", "imagecodecs", "not supported", "PREDICTOR", "cannot decode", "DelayedImportError")


def native(array: NDArray[Any]) -> NDArray[Any]:
    """The same numbers in this machine's byte order."""
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def describe(page: Any) -> str:
    """What a page is made of, for people: bits, colours and compression."""
    bits = page.bitspersample
    kind = {"f": " float", "i": " signed", "c": " complex"}.get(getattr(page.dtype, "kind", ""), "")
    colour = getattr(page.photometric, "name", f"photometric {page.photometric}").lower()
    compression = getattr(page.compression, "name", f"number {page.compression}")
    return f"{bits}-bit{kind} pixels ({colour}, compression {compression})"


def as_shown(path: Path, array: NDArray[Any], page: Any, channels: bool, samples: bool, stored: bool) -> Samples:
    """Pixels upright, and in grey values or colours as a viewer shows them.

    Args:
        path: the file, for errors.
        array: (H, W) or (H, W, C) as stored.
        page: the page that says what the samples mean.
        channels: whether the last axis counts channels of its own.
        samples: whether the last axis counts, or ends with, the samples of a pixel.
        stored: whether places in a palette are wanted, and values that are not inverted.
    """
    shown = _colours(path, array, page, channels, samples, stored)
    shown_array = shown.array.astype(np.uint8) if shown.array.dtype == np.bool_ else shown.array
    if shown_array.dtype.kind not in "uif" or shown_array.ndim not in (2, 3):
        raise InputError(
            f"{path}: has pixels of type {shown_array.dtype} and shape {shown_array.shape}, expected real numbers: save as float"
        )
    tag = page.tags.get("Orientation")
    orientation = tag.value if tag is not None and isinstance(tag.value, int) else 1
    return shown._replace(array=turned(shown_array, int(orientation)))


def _colours(path: Path, array: NDArray[Any], page: Any, channels: bool, samples: bool, stored: bool) -> Samples:
    if not isinstance(page.bitspersample, int):
        raise InputError(f"{path}: has samples of different depths ({page.bitspersample} bits): save it with one")
    if not isinstance(page.photometric, int) or not isinstance(page.compression, int):
        raise InputError(
            f"{path}: says several things of its colours or compression ({page.photometric}, {page.compression}): it is damaged"
        )
    photometric, bits = int(page.photometric), page.bitspersample
    count = 1 if array.ndim == 2 else array.shape[2]
    if channels or photometric in (0, 1, 4) or (photometric == PALETTE and (stored or samples)):
        if photometric == MIN_IS_WHITE and not stored:
            array = inverted(array, bits)
        alpha = _alpha(page) if samples and not channels and count == 2 else None
        return Samples(array, "grey" if count == 1 or alpha else "channels", alpha)
    if photometric == PALETTE and page.colormap is not None:
        return Samples(through_table(array, table_of_tiff(page.colormap)), "colour")
    if int(page.compression) in JPEG and count == 3:
        return Samples(array, "colour")  # the decoder made them red, green and blue
    if photometric == RGB and count >= 3:
        return _with_extra(array, page, count)
    if photometric == SEPARATED and count == 4 and _value(page, "InkSet", CMYK) == CMYK and array.dtype.kind == "u":
        return Samples(from_ink(array), "colour")
    if photometric == YCBCR and count == 3 and array.dtype == np.uint8:
        return Samples(from_ycbcr(array, _luma(page)), "colour")
    if photometric == RGB and count < 3:
        return Samples(array, "grey" if count == 1 else "channels")
    kind = {SEPARATED: "CMYK or other inks", 8: "CIELab", 9: "ICCLab", 10: "ITULab", 32803: "raw colours of a camera"}.get(photometric, "")
    raise InputError(
        f"{path}: has {describe(page)} with {count} samples{f', {kind}' if kind else ''}, which are not turned into grey values: "
        "save it as RGB or grey"
    )


def _with_extra(array: NDArray[Any], page: Any, count: int) -> Samples:
    """Red, green and blue with what may stand behind them."""
    if count == 3:
        return Samples(array, "colour")
    if count > 4:
        return Samples(array, "channels")
    alpha = _alpha(page)
    told = () if alpha else ("the fourth sample of a pixel has no stated meaning and is left out",)
    return Samples(array, "colour", alpha, told)


def _alpha(page: Any) -> Alpha | None:
    extra = [int(one) for one in page.extrasamples]
    found: dict[int, Alpha] = {PREMULTIPLIED: "premultiplied", STRAIGHT: "straight"}
    return found.get(extra[-1]) if extra else None


def _value(page: Any, name: str, default: int) -> int:
    tag = page.tags.get(name)
    return default if tag is None or not isinstance(tag.value, int) else int(tag.value)


def _luma(page: Any) -> tuple[float, ...]:
    tag = page.tags.get("YCbCrCoefficients")
    numbers = tag.value if tag is not None else ()
    pairs = list(zip(numbers[::2], numbers[1::2], strict=False)) if isinstance(numbers, tuple) else []
    return tuple(a / b for a, b in pairs) if len(pairs) == 3 and all(b for _, b in pairs) else BT601


def _number(data: bytes, byteorder: str) -> int:
    return int.from_bytes(data, "little" if byteorder == "<" else "big")
