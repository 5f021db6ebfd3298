"""`LazyImage`: an image whose regions are decoded when they are asked for, in place of an array of all its pixels."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
from numpy.typing import NDArray

from somaseg.instances import Pixels

Box = tuple[int, int, int, int]
Reader = Callable[[Box], NDArray[Any]]
WHOLE_BYTES = 64 * 2**20  # a frame of at most so many bytes is decoded as a whole; a field of view has 1 to 32 MB


class LazyImage:
    """An image (H, W) or (H, W, C) that is decoded region by region.

    It takes slices and whole numbers as indices, as an array does, and gives arrays; `np.asarray` gives all of it.

    Args:
        shape: of the image.
        dtype: of its numbers.
        read: the pixels of a box x0 y0 x1 y1 that lies inside the image and is not empty.
        guard: is entered while regions are read; turns what decoders raise into errors that name the file.
        check: is called before all of it is read; raises when that would take too much memory.
    """

    def __init__(
        self,
        shape: Sequence[int],
        dtype: Any,
        read: Reader,
        guard: Callable[[], AbstractContextManager[Any]] = nullcontext,
        check: Callable[[], None] = lambda: None,
    ) -> None:
        self.shape: tuple[int, ...] = tuple(int(n) for n in shape)
        self.dtype: np.dtype[Any] = np.dtype(dtype)
        self._read, self._guard, self.check = read, guard, check
        self._split: Callable[[int], LazyImage] | None = None

    @property
    def ndim(self) -> int:
        """2, or 3 with channels."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Pixels times channels."""
        return int(np.prod(self.shape, dtype=object))

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Any) -> Any:
        """The pixels at slices and whole numbers; the region around them is decoded."""
        places = list(index) if isinstance(index, tuple) else [index]
        if (dots := next((n for n, place in enumerate(places) if place is Ellipsis), None)) is not None:
            places[dots : dots + 1] = [slice(None)] * (self.ndim - len(places) + 1)
        places += [slice(None)] * (self.ndim - len(places))
        if len(places) > self.ndim:
            raise IndexError(f"an image of shape {self.shape} has no {len(places)} axes")
        (y0, y1, rows), (x0, x1, columns) = (_span(place, length) for place, length in zip(places, self.shape[:2], strict=False))
        if y0 == y1 or x0 == x1:
            region = np.zeros((y1 - y0, x1 - x0, *self.shape[2:]), self.dtype)
        else:
            with self._guard():
                region = self._read((x0, y0, x1, y1))
        return region[(rows, columns, *places[2:])]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        if copy is False:
            raise ValueError("an image that is read by region is no array in memory")
        self.check()
        return np.asarray(self[:, :], dtype)

    def map(self, function: Callable[[NDArray[Any]], NDArray[Any]]) -> "LazyImage":
        """The image that a function makes of each pixel by itself, from regions (h, w) or (h, w, C)."""
        probe = function(np.zeros((1, 1, *self.shape[2:]), self.dtype))
        shape = (*self.shape[:2], *probe.shape[2:])
        return LazyImage(shape, probe.dtype, lambda box: function(self._read(box)), self._guard, self.check)

    def channel(self, number: int) -> "LazyImage":
        """One channel of it, (H, W)."""
        if self._split is None:
            return self.map(lambda region: region[..., number])
        return self._split(number).guarded(self._guard)

    def split_by(self, split: Callable[[int], "LazyImage"]) -> None:
        """Take channels by their numbers from a function, where that is cheaper than to read all and take one."""
        self._split = split

    def guarded(self, guard: Callable[[], AbstractContextManager[Any]]) -> "LazyImage":
        """The same with another guard."""
        same = LazyImage(self.shape, self.dtype, self._read, guard, self.check)
        same._split = self._split
        return same


def each_pixel(image: Pixels, function: Callable[[NDArray[Any]], NDArray[Any]]) -> Pixels:
    """What a function makes of each pixel by itself: at once of an array, region by region of a `LazyImage`."""
    return image.map(function) if isinstance(image, LazyImage) else function(np.asarray(image))


def _span(place: Any, length: int) -> tuple[int, int, int | slice]:
    """First and end of what a slice or a number reaches of an axis, and the same slice or number within that."""
    if isinstance(place, slice):
        chosen = range(length)[place]
        if not chosen:
            return 0, 0, slice(None)
        low, high = min(chosen[0], chosen[-1]), max(chosen[0], chosen[-1]) + 1
        return low, high, slice(None, None, chosen.step)
    try:
        number = range(length)[place]
    except TypeError as error:
        raise TypeError(f"an image that is read by region takes slices and whole numbers, found {type(place).__name__}") from error
    return number, number + 1, 0
