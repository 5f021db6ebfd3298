"""Regions of a plane of a TIFF: only the strips and tiles that they meet are decoded, and the last ones are kept."""

import math
from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from somaseg.errors import InputError
from somaseg.images.regions.lazy import Box, Reader

CACHE_BYTES = 128 * 2**20  # of decoded strips and tiles that are kept: a row of network tiles of an image 60,000 pixels wide
JPEG = (6, 7, 34892, 33007)  # compressions with tables apart
AXES = {"YX": (0, 0, slice(None), slice(None), 0), "YXS": (0, 0), "SYX": (slice(None), 0, slice(None), slice(None), 0)}


class Cache:
    """The strips and tiles of a frame that were decoded last, those of all its planes together.

    Args:
        most: bytes that they may take; the last one is kept whatever it takes.
    """

    def __init__(self, most: int = CACHE_BYTES) -> None:
        self.most = most
        self._kept: OrderedDict[tuple[int, int], NDArray[Any]] = OrderedDict()
        self._bytes = 0

    def get(self, key: tuple[int, int], make: Callable[[], NDArray[Any]]) -> NDArray[Any]:
        """What is kept under the numbers of a plane and of a part of it, made where it is not there."""
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        while self._kept and self._bytes >= self.most:
            self._bytes -= self._kept.popitem(last=False)[1].nbytes
        found = self._kept[key] = make()
        self._bytes += found.nbytes
        return found


def has_regions(page: Any) -> bool:
    """Whether parts of a page can be decoded by themselves: flat, with a place in the file for each strip or tile."""
    keyframe = page.keyframe
    if keyframe.dtype is None or keyframe.axes not in AXES or keyframe.imagedepth != 1 or keyframe.tiledepth != 1:
        return False
    if keyframe.is_subsampled and keyframe.compression not in JPEG:
        return False
    if keyframe.is_contiguous and keyframe.predictor == 1 and keyframe.fillorder == 1:
        return True
    whole_strip = keyframe.jpegheader is not None and 273 in keyframe.tags and keyframe.is_tiled  # of Hamamatsu
    return not whole_strip and len(page.dataoffsets) == len(page.databytecounts) == math.prod(keyframe.chunked)


def page_regions(path: Path, page: Any, number: int, cache: Cache) -> Reader:
    """Reads regions of a page, in its own axes and this machine's byte order; the file is opened for each.

    Args:
        path: the file.
        page: one for which `has_regions`.
        number: of the plane in its frame, for the cache.
        cache: of the frame.
    """
    keyframe = page.keyframe
    if keyframe.is_contiguous and keyframe.predictor == 1 and keyframe.fillorder == 1:
        return plain_regions(path, keyframe, page.dataoffsets[0])
    return _Segments(path, page, number, cache).read


def plain_regions(path: Path, keyframe: Any, offset: int) -> Reader:
    """Reads regions of pixels that lie uncompressed one behind the other from a byte of the file on."""
    separate, _, height, width, samples = keyframe.shaped
    dtype, axes = np.dtype(keyframe.dtype).newbyteorder(keyframe.parent.byteorder), AXES[keyframe.axes]
    pixel = samples * dtype.itemsize

    def read(box: Box) -> NDArray[Any]:
        x0, y0, x1, y1 = box
        rows = np.empty((separate, y1 - y0, (x1 - x0) * samples), dtype)
        with path.open("rb", buffering=0) as file:
            for plane in range(separate):
                for row in range(y0, y1):
                    file.seek(offset + ((plane * height + row) * width + x0) * pixel)
                    if file.readinto(memoryview(rows[plane, row - y0]).cast("B")) != (x1 - x0) * pixel:
                        raise InputError(f"{path}: ends before row {row} of {height}: the file is cut off")
        found = rows.reshape(separate, 1, y1 - y0, x1 - x0, samples)[axes]
        return found.astype(dtype.newbyteorder("="), copy=False)

    return read


def segment_bytes(page: Any) -> int:
    """Bytes of a strip or tile of a page when it is decoded, 0 where parts of one can be read."""
    keyframe = page.keyframe
    return 0 if keyframe.is_contiguous else int(math.prod(keyframe.chunks)) * int(np.dtype(keyframe.dtype).itemsize)


class _Segments:
    """Regions of a page in strips or tiles, put together from those that they meet."""

    def __init__(self, path: Path, page: Any, number: int, cache: Cache) -> None:
        keyframe = page.keyframe
        self.path, self.number, self.cache = path, number, cache
        self.offsets, self.counts = page.dataoffsets, page.databytecounts
        self.planes, _, self.height, self.width, self.samples = keyframe.shaped
        tiled = keyframe.is_tiled
        self.part = (keyframe.tilelength, keyframe.tilewidth) if tiled else (min(keyframe.rowsperstrip, self.height), self.width)
        self.grid = (-(-self.height // self.part[0]), -(-self.width // self.part[1]))
        self.decode, self.dtype, self.nodata, self.axes = keyframe.decode, np.dtype(keyframe.dtype), keyframe.nodata, AXES[keyframe.axes]
        is_jpeg = keyframe.compression in JPEG
        self.options = {"jpegtables": page.jpegtables, "jpegheader": keyframe.jpegheader} if is_jpeg else {}

    def read(self, box: Box) -> NDArray[Any]:
        x0, y0, x1, y1 = box
        (height, width), (rows, columns) = self.part, self.grid
        found = np.empty((self.planes, 1, y1 - y0, x1 - x0, self.samples), self.dtype.newbyteorder("="))
        for plane in range(self.planes):
            for row in range(y0 // height, -(-y1 // height)):
                for column in range(x0 // width, -(-x1 // width)):
                    segment = self._segment((plane * rows + row) * columns + column)
                    top, left = row * height, column * width
                    a, b = max(y0, top), min(y1, top + height)
                    c, d = max(x0, left), min(x1, left + width)
                    place = found[plane, 0, a - y0 : b - y0, c - x0 : d - x0]
                    place[...] = segment[a - top : b - top, c - left : d - left] if segment.ndim else segment
        return np.asarray(found[self.axes])

    def _segment(self, index: int) -> NDArray[Any]:
        """The pixels (h, w, samples) of a strip or tile; a single value where the file has none."""
        return self.cache.get((self.number, index), partial(self._decoded, index))

    def _decoded(self, index: int) -> NDArray[Any]:
        offset, count = self.offsets[index], self.counts[index]
        if not offset or not count:
            return np.asarray(self.nodata, self.dtype.newbyteorder("="))
        with self.path.open("rb", buffering=0) as file:
            file.seek(offset)
            data = file.read(count)
        if len(data) < count:
            raise InputError(f"{self.path}: ends within tile or strip {index} of {len(self.offsets)}: the file is cut off")
        segment = self.decode(data, index, **self.options)[0]
        pixels: NDArray[Any] = segment[0]
        return pixels
