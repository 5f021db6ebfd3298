"""Frames of a TIFF that are too large to be decoded as a whole."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from somaseg.images.decoders.stacks import INNER, Stack
from somaseg.images.decoders.tiff_pages import Samples
from somaseg.images.frame import Frame, stored_box
from somaseg.images.limits import check_size
from somaseg.images.regions.lazy import Box, LazyImage, Reader
from somaseg.images.regions.segments import CACHE_BYTES, Cache, segment_bytes

ONE_PIECE = 256 * 2**20  # bytes; a strip or tile that becomes larger is told

Shown = Callable[[NDArray[Any], list[NDArray[Any]]], Samples]


def by_regions(path: Path, page: int, stack: Stack, wanted: NDArray[Any], shown_of: Shown) -> Frame:
    """A frame whose regions are read when they are asked for; the file is opened for each.

    Args:
        path: the file.
        page: number of the frame.
        stack: that it belongs to, with `regions`.
        wanted: numbers of its planes.
        shown_of: makes what is shown of the numbers of planes and of their pixels.
    """
    assert stack.regions is not None
    numbers = [int(n) for n in np.ravel(wanted)]
    piece = segment_bytes(stack.page)
    separate = int(stack.page.shaped[0])
    cache = Cache(max(CACHE_BYTES, piece * separate * len(numbers)))
    readers = [stack.regions(n, cache, of_frame) for of_frame, n in enumerate(numbers)]
    shape = stack.shape[len(stack.shape) - stack.inner :]
    axes = stack.axes[len(stack.axes) - stack.inner :]
    sizes = dict(zip(axes, shape, strict=True))
    blank = np.zeros([1 if axis in "YX" else n for axis, n in sizes.items()], stack.page.dtype)
    shown = shown_of(wanted, [blank] * len(numbers))
    tag = stack.page.tags.get("Orientation")
    orientation = int(tag.value) if tag is not None and isinstance(tag.value, int) else 1
    size = (sizes["X"], sizes["Y"]) if orientation in (5, 6, 7, 8) else (sizes["Y"], sizes["X"])

    def read(chosen: NDArray[Any], of_frame: list[Reader], box: Box) -> NDArray[Any]:
        place = stored_box(box, orientation, size)
        return shown_of(chosen, [reader(place) for reader in of_frame]).array

    count = 1 if shown.array.ndim == 2 else shown.array.shape[2]
    check = partial(check_size, path, size[1], size[0], shown.array.dtype.itemsize * count)
    image = LazyImage((*size, *shown.array.shape[2:]), shown.array.dtype, partial(read, wanted, readers), check=check)
    if len(numbers) == count > 1 and not any(axis in INNER[2:] and n > 1 for axis, n in sizes.items()):
        image.split_by(lambda n: LazyImage(size, image.dtype, partial(read, wanted.ravel()[n : n + 1], [readers[n]]), check=check))
    told = (f"is stored in pieces of {piece / 1e6:,.0f} MB, decoded one by one: save it in tiles to use less memory",)
    return Frame(
        path, page, image, None, shown.meaning, shown.alpha, stack.names(count), shown.warnings + (told if piece > ONE_PIECE else ())
    )
