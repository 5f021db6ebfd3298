"""Stacks of planes in a TIFF, each plane read only when it is asked for."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from somaseg.errors import InputError
from somaseg.images.decoders.tiff_pages import check_page, decode_page, native
from somaseg.images.limits import check_planes, check_size
from somaseg.images.regions.lazy import Reader
from somaseg.images.regions.segments import Cache, has_regions, page_regions, plain_regions

INNER = "YXCS"  # axes that stay within a frame
WIDEST = 64  # of an axis without a name that may be channels


@dataclass(frozen=True)
class Stack:
    """Planes that belong together.

    Attributes:
        axes: of the whole, outermost first; the last of them are those of a plane.
        shape: steps along them.
        inner: how many axes a plane has.
        plane: pixels of a plane by its number.
        regions: what reads regions of a plane by its number, with a cache and its number in the frame; None where only wholes are read.
        page: tells what the samples mean.
        channels: names.
    """

    axes: str
    shape: tuple[int, ...]
    inner: int
    plane: Callable[[int], NDArray[Any]]
    page: Any
    channels: tuple[str, ...] = ()
    regions: Callable[[int, Cache, int], Reader] | None = None

    def names(self, count: int) -> tuple[str, ...]:
        """Names of so many channels, empty where it does not have as many."""
        return self.channels if len(self.channels) == count else ()

    @property
    def planes(self) -> int:
        """Planes that it has, of all channels."""
        return math.prod(n for axis, n in zip(self.axes, self.shape, strict=True) if axis not in "YXS")

    @property
    def frames(self) -> int:
        """Frames that it has."""
        return math.prod(n for axis, n in zip(self.axes, self.shape, strict=True) if axis not in INNER)


def channels_last(array: NDArray[Any], axes: str) -> NDArray[Any]:
    """Move Y and X to the front; several channel axes become one, and one of a single step goes."""
    array = np.moveaxis(array, (axes.index("Y"), axes.index("X")), (0, 1))
    if array.ndim > 2:
        array = array.reshape(*array.shape[:2], -1)
    return array[..., 0] if array.ndim == 3 and array.shape[2] == 1 else array


def stored_together(page: Any) -> bool:
    """Whether ImageJ wrote all planes one behind the other, and a list of only one page."""
    return bool(page.is_contiguous and page.compression == 1 and page.predictor == 1 and page.fillorder == 1)


def imagej_stack(path: Path, tif: tifffile.TiffFile, promised: int) -> Stack:
    """The planes of an ImageJ file, as many as its description promises."""
    about, page = tif.imagej_metadata or {}, tif.pages.first
    steps = {axis: about.get(name, 1) for axis, name in (("T", "frames"), ("Z", "slices"), ("C", "channels"))}
    if page.samplesperpixel == steps["C"] > 1:  # the samples of a pixel, counted as channels
        steps["C"] = 1
    shape = tuple(steps.values())
    axes = "TZC"
    if math.prod(shape) != promised and steps["C"] * steps["Z"] * steps["T"] == 1:
        axes, shape = "I", (promised,)
    return _behind_each_other(path, axes + page.axes, (*shape, *page.shape), page)


def _behind_each_other(path: Path, axes: str, shape: tuple[int, ...], page: Any) -> Stack:
    """The planes of a shape that lie one behind the other from a page on."""
    planes = math.prod(shape[: len(shape) - page.ndim])
    dtype = np.dtype(page.dtype).newbyteorder(page.parent.byteorder)
    size = math.prod(page.shape)

    def place(number: int) -> int:
        start = int(page.dataoffsets[0]) + number * size * dtype.itemsize
        room = path.stat().st_size
        if start + size * dtype.itemsize > room:
            whole = max(0, (room - page.dataoffsets[0]) // (size * dtype.itemsize))
            raise InputError(f"{path}: promises {planes} planes, holds {whole}: the file is cut off")
        return int(start)

    def plane(number: int) -> NDArray[Any]:
        return native(np.fromfile(path, dtype, size, offset=place(number)).reshape(page.shape))

    regions = (lambda number, cache, of_frame: plain_regions(path, page, place(number))) if has_regions(page) else None
    return Stack(axes, shape, page.ndim, plane, page, regions=regions)


def series_stack(path: Path, series: Any, pages: int) -> Stack:
    """A series of tifffile as a stack of planes, checked before any is decoded."""
    axes, shape = _axes(series), tuple(int(n) for n in series.shape)
    if "Y" not in axes or "X" not in axes or 0 in shape:
        raise InputError(f"{path}: the TIFF has axes {axes} and shape {shape}: expected an image with height and width")
    if len(set(axes)) != len(axes):
        axes = _unique(axes)
    keyframe = series.keyframe
    inner = len(keyframe.shape)
    planes = math.prod(shape[: len(shape) - inner])
    check_planes(path, planes, "description")
    if set(axes[-inner:]) <= set(INNER):
        if planes == len(series.pages):
            return Stack(
                *(axes, shape, inner, lambda n: read_page(path, series.pages[n], n, pages), keyframe, ()),
                regions_of(path, keyframe, lambda n: (path, series.pages[n], n, pages)),
            )
        if stored_together(keyframe) and shape[-inner:] == keyframe.shape:
            return _behind_each_other(path, axes, shape, keyframe)
    # One page holds a volume, or the description fits no order of pages: all of it is read at once.
    check_size(path, math.prod(shape), 1, np.dtype(keyframe.dtype).itemsize)
    for number, page in enumerate(series.pages):
        if page is not None:
            check_page(path, page.keyframe if number == 0 else page, number, pages)
    held = math.prod(keyframe.shape) * len(series.pages)
    if held < math.prod(shape) and not stored_together(keyframe):
        raise InputError(f"{path}: promises shape {shape}, holds {len(series.pages)} pages of {keyframe.shape}: it is cut off or damaged")
    return _volume(path, series, axes, shape)


def _volume(path: Path, series: Any, axes: str, shape: tuple[int, ...]) -> Stack:
    """A series whose pages do not line up with its planes, read as a whole when the first plane is asked for."""
    outer = [n for n, axis in enumerate(axes) if axis not in INNER]
    order = [*outer, *(n for n, axis in enumerate(axes) if axis in INNER)]
    moved = tuple(shape[n] for n in order)
    inner = len(order) - len(outer)
    held: list[NDArray[Any]] = []

    def plane(number: int) -> NDArray[Any]:
        if not held:
            held.append(native(np.asarray(series.asarray())).reshape(shape).transpose(order).reshape(-1, *moved[len(outer) :]))
        return np.asarray(held[0][number])

    return Stack("".join(axes[n] for n in order), moved, inner, plane, series.keyframe)


def _axes(series: Any) -> str:
    """Axes of a series; a short last axis of an image that tifffile took for a stack of lines is channels."""
    axes, shape = str(series.axes), series.shape
    nameless = len(axes) >= 3 and axes[-3] in "QIZ" and axes[-2:] == "YX" and series.kind == "shaped"
    if nameless and axes[-3] != "Z" and (shape[-1] <= 4 < min(shape[-3:-1]) or shape[-1] * 2 <= min(*shape[-3:-1], 2 * WIDEST)):
        return axes[:-3] + "YXC"
    return axes


def _unique(axes: str) -> str:
    """Axes with each letter once; tifffile gives Q to all that have no name."""
    free = iter(letter for letter in "ABDEFGHIJKLMNOPRTUVWZabcdefghij" if letter not in axes)
    return "".join(axis if axes.index(axis) == n else next(free) for n, axis in enumerate(axes))


def read_page(path: Path, page: Any, number: int, pages: int) -> NDArray[Any]:
    """Pixels of a page as they are stored, after it was checked.

    Raises:
        InputError: naming the file and the page, see `check_page` and `decode_page`.
    """
    _check_page(path, page, number, pages)
    return decode_page(path, page)


def regions_of(
    path: Path, keyframe: Any, page_at: Callable[[int], tuple[Path, Any, int, int]]
) -> Callable[[int, Cache, int], Reader] | None:
    """What reads regions of the planes of a stack, see `Stack.regions`.

    Args:
        path: the file.
        keyframe: a page that has all but its data in common with the others.
        page_at: file, page, its number and the number of pages of a plane.
    """
    if not has_regions(keyframe):
        return None

    def regions(plane: int, cache: Cache, of_frame: int) -> Reader:
        file, page, number, pages = page_at(plane)
        _check_page(file, page, number, pages, by_region=True)
        if page.keyframe.shaped != keyframe.shaped or not has_regions(page):
            raise InputError(f"{path}: pages of one stack differ in how they are stored: save it again in tiles")
        return page_regions(file, page, of_frame, cache)

    return regions


def _check_page(path: Path, page: Any, number: int, pages: int, by_region: bool = False) -> None:
    if page is None:
        raise InputError(f"{path}: has no page {number} of {pages}: the file is damaged")
    full = page if isinstance(page, tifffile.TiffPage) else page.keyframe
    check_page(path, full if full is page else _Frame(full, page), number, pages, by_region)


def promised_planes(tif: tifffile.TiffFile) -> int:
    """Planes that the description of an ImageJ file promises."""
    about = tif.imagej_metadata or {}
    counts = [about.get(name, 1) for name in ("channels", "slices", "frames")]
    images = about.get("images", 1)
    if not all(isinstance(n, int) and n >= 1 for n in [*counts, images]):
        return 1
    return int(max(images, math.prod(counts)))


class _Frame:
    """The data of a page that has all else in common with another one."""

    def __init__(self, keyframe: Any, page: Any) -> None:
        self._keyframe = keyframe
        self.dataoffsets, self.databytecounts = page.dataoffsets, page.databytecounts

    def __getattr__(self, name: str) -> Any:
        return getattr(self._keyframe, name)
