"""Grey values in cells and beside them, one column a channel."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from somaseg.images.frame import Channels
from somaseg.instances import Instances
from somaseg.measure.strips import PAD, Ints, Strip

GAP = 2  # pixels round a cell that still have its light, or its halo
TILE = 2048  # px; cells whose centres are in one tile are measured together, and the image is read once for them


@dataclass(frozen=True, eq=False)
class Window:
    """A part of an image that holds some of its cells with what is round them.

    Attributes:
        y0: its first row in the image.
        x0: its first column.
        free: where no cell is (h, w).
        values: (h, w, C); None where the image is not there.
    """

    y0: int
    x0: int
    free: NDArray[np.bool_]
    values: NDArray[Any] | None


def windows(cells: Instances, channels: Channels | None) -> Iterator[tuple[Ints, Window]]:
    """The cells of an image in groups that lie together (indices), each with its part of the image; no pixel is read twice for a group."""
    if not len(cells):
        return
    boxes = cells.boxes.astype(np.int64)
    tile = (boxes[:, :2] + boxes[:, 2:]) // (2 * TILE)
    _, group = np.unique(tile, axis=0, return_inverse=True)
    for number in range(int(group.max()) + 1):
        chosen = np.flatnonzero(group.ravel() == number)
        x0, y0 = np.maximum(boxes[chosen, :2].min(axis=0) - PAD, 0).tolist()
        x1, y1 = np.minimum(boxes[chosen, 2:].max(axis=0) + PAD, cells.size[::-1]).tolist()
        values = None
        if channels is not None:
            values = np.asarray(channels.array[y0:y1, x0:x1])
            values = values[..., None] if values.ndim == 2 else values[..., : len(channels.names)]
        yield chosen, Window(y0, x0, free_pixels(cells, (x0, y0, x1, y1)), values)


def intensities(strip: Strip, window: Window, names: Sequence[str]) -> dict[str, NDArray[np.float64]]:
    """Columns (K,) of the cells of a strip: mean, least, largest value, standard deviation, and the background, of each channel.

    Pixels that are no finite numbers do not count. The background is the median of the pixels of no cell that are more than
    `GAP` and at most `PAD` pixels away, in rows and columns; NaN where there is none.
    """
    assert window.values is not None
    inside, beside = _values(strip, window, strip.image), _values(strip, window, _ring(strip), free=True)
    columns: dict[str, NDArray[np.float64]] = {}
    for number, name in enumerate(names):
        end = f"_{name}" if len(names) > 1 else ""
        found = _statistics(strip, inside[0], inside[1][:, number])
        columns |= {f"intensity_{what}{end}": values for what, values in found.items()}
        columns[f"background{end}"] = _medians(strip, beside[0], beside[1][:, number])
    return columns


def free_pixels(cells: Instances, part: tuple[int, int, int, int]) -> NDArray[np.bool_]:
    """Where no cell is, in a part x0 y0 x1 y1 of the image."""
    left, top, right, bottom = part
    free = np.ones((bottom - top, right - left), bool)
    x0, y0, x1, y1 = cells.boxes.T
    for i in np.flatnonzero((x0 < right) & (x1 > left) & (y0 < bottom) & (y1 > top)).tolist():
        a, b, c, d = cells.boxes[i].tolist()
        u, v, w, z = max(a, left), max(b, top), min(c, right), min(d, bottom)
        free[v - top : z - top, u - left : w - left] &= ~cells.masks[i][v - b : z - b, u - a : w - a]
    return free


def _ring(strip: Strip) -> NDArray[np.bool_]:
    ring = strip.image
    inner = ring
    for reach in (GAP, PAD):
        inner, ring = ring, strip.image.view(np.uint8)
        for axis in (0, 1):
            ring = ndimage.maximum_filter1d(ring, 2 * reach + 1, axis=axis, mode="constant")
        ring = ring.view(bool)
    return ring & ~inner


def _values(strip: Strip, window: Window, chosen: NDArray[np.bool_], free: bool = False) -> tuple[Ints, NDArray[np.float64]]:
    """Cell, rising, and values of the chosen pixels that lie in the window."""
    rows, columns, cell = strip.where(chosen)
    height, width = window.free.shape
    rows += strip.shift[cell, 0] - window.y0
    columns += strip.shift[cell, 1] - window.x0
    if free:
        seen = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
        rows, columns, cell = rows[seen], columns[seen], cell[seen]
        seen = window.free[rows, columns]
        rows, columns, cell = rows[seen], columns[seen], cell[seen]
    assert window.values is not None
    return cell, window.values[rows, columns].astype(np.float64)


def _statistics(strip: Strip, cell: Ints, values: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    finite = np.isfinite(values)
    if not finite.all():
        cell, values = cell[finite], values[finite]
    count = strip.sums(cell)
    least, largest = np.full(len(strip), np.nan), np.full(len(strip), np.nan)
    if len(cell):
        begin = np.flatnonzero(np.diff(cell, prepend=-1))
        least[cell[begin]], largest[cell[begin]] = np.minimum.reduceat(values, begin), np.maximum.reduceat(values, begin)
    with np.errstate(invalid="ignore"):
        mean = strip.sums(cell, values) / count
        spread = np.sqrt(strip.sums(cell, (values - mean[cell]) ** 2) / count)
    return {"mean": mean, "min": least, "max": largest, "std": spread}


def _medians(strip: Strip, cell: Ints, values: NDArray[np.float64]) -> NDArray[np.float64]:
    finite = np.isfinite(values)
    if not finite.all():
        cell, values = cell[finite], values[finite]
    median = np.full(len(strip), np.nan)
    ends = np.searchsorted(cell, np.arange(len(strip)), side="right").tolist()
    begin = 0
    for number, end in enumerate(ends):
        if end > begin:
            half = (end - begin) // 2
            part = np.partition(values[begin:end], (half - 1, half) if half and (end - begin) % 2 == 0 else half)
            median[number] = part[half] if (end - begin) % 2 else (part[half - 1] + part[half]) / 2
        begin = end
    return median
