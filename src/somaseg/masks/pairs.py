"""Which cells of one image meet, how much they share, and which of them stays when only one may.

All pairs are found and counted at once on arrays; time grows with the pairs that meet, not with the square of the cells.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from somaseg.masks.crops import Boxes, Mask

Indices = NDArray[np.int64]
BATCH_ROWS = 1 << 18  # rows of pixels compared at once: some MB of memory


@dataclass(frozen=True, eq=False)
class Pairs:
    """P pairs of cells with their overlap, ordered by `second`, then `first`.

    Attributes:
        first: index of the cell that comes first in the list of cells (P,).
        second: index of the other one (P,), above `first`.
        iou: (P,), in (0, 1].
    """

    first: Indices
    second: Indices
    iou: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.first)

    def __getitem__(self, chosen: NDArray[Any]) -> "Pairs":
        """The chosen pairs, by P booleans or by rising integers."""
        return Pairs(self.first[chosen], self.second[chosen], self.iou[chosen])


def mask_pairs(crops: Sequence[Mask], boxes: Boxes, above: float) -> Pairs:
    """Pairs of masks with an IoU strictly greater than `above`.

    Args:
        crops: N masks, each exactly its box.
        boxes: (N, 4).
        above: in [0, 1].
    """
    area = np.array([np.count_nonzero(crop) for crop in crops], np.int64)
    first, second = meeting_boxes(boxes)
    # shared / (a + b - shared) > iou needs shared > iou / (1 + iou) * (a + b), and the masks share no more than their boxes
    near = _box_overlap(boxes, first, second) * (1 + above) > above * (area[first] + area[second])
    first, second = first[near], second[near]
    shared = shared_pixels(crops, boxes, first, second)
    return _ranked(first, second, shared / np.maximum(area[first] + area[second] - shared, 1), above)


def box_pairs(boxes: NDArray[Any], above: float) -> Pairs:
    """Pairs of boxes (N, 4), whole or broken numbers, with an IoU strictly greater than `above`, in [0, 1]."""
    first, second = meeting_boxes(boxes)
    shared = _box_overlap(boxes, first, second)
    extent = np.asarray(boxes[:, 2:] - boxes[:, :2], np.float64)
    area = extent[:, 0] * extent[:, 1]
    return _ranked(first, second, shared / (area[first] + area[second] - shared), above)


def greedy(count: int, rivals: Pairs) -> Indices:
    """Of `count` cells in falling order of merit, those that meet no rival before them that stays; rising indices."""
    stays = [True] * count
    for first, second in zip(rivals.first.tolist(), rivals.second.tolist(), strict=True):
        if stays[first]:
            stays[second] = False
    return np.flatnonzero(stays)


def meeting_boxes(boxes: NDArray[Any]) -> tuple[Indices, Indices]:
    """Every pair of boxes (N, 4) that share an area, once: smaller and larger index, in no order.

    The image is parted into bands of about the height of a cell. A box is entered into each band that it reaches, and in a
    band a box meets those that start, from left to right, before it ends. A pair counts in the band where its overlap starts.
    """
    x0, y0, x1, y1 = np.asarray(boxes, np.float64).reshape(-1, 4).T
    full = np.flatnonzero(np.isfinite(x1 - x0) & np.isfinite(y1 - y0) & (x1 > x0) & (y1 > y0))
    if len(full) < 2:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    height, width = float(np.median((y1 - y0)[full])), float(x1[full].max() - x0[full].min() + 1)
    top = np.zeros(len(x0), np.int64)
    top[full] = np.floor(y0[full] / height)
    reached = np.ceil(y1[full] / height).astype(np.int64) - top[full]
    owner = np.repeat(full, reached)
    band = top[owner] + _within(reached)
    place = band * width + x0[owner]  # bands lie behind each other on one line
    order = np.argsort(place, kind="stable")
    owner, band, place = owner[order], band[order], place[order]
    after = np.arange(1, len(owner) + 1)
    count = np.maximum(np.searchsorted(place, place + (x1 - x0)[owner], side="left") - after, 0)
    one = np.repeat(owner, count)
    other = owner[_within(count) + np.repeat(after, count)]
    met = np.minimum(y1[one], y1[other]) > np.maximum(y0[one], y0[other])
    met &= np.maximum(top[one], top[other]) == np.repeat(band, count)
    one, other = one[met], other[met]
    return np.minimum(one, other), np.maximum(one, other)


def shared_pixels(crops: Sequence[Mask], boxes: Boxes, first: Indices, second: Indices) -> Indices:
    """Pixels that the masks of each pair share (P,).

    Masks are packed into words of 64 pixels of a row, at the same columns of the image for all; the words of a cell that stand
    below each other are a strip. A pair is then a few strips of words, and its pixels are the bits of `a & b`.

    Args:
        crops: N masks, each exactly its box.
        boxes: (N, 4).
        first: index of each pair's first mask (P,).
        second: of its second, whose box meets that of the first (P,).
    """
    shared = np.zeros(len(first), np.int64)
    if not len(first):
        return shared
    words, start, column = _packed(crops, boxes)
    _, y0, x1, y1 = np.asarray(boxes, np.int64).T
    height = y1 - y0
    top, bottom = np.maximum(y0[first], y0[second]), np.minimum(y1[first], y1[second])
    left = np.maximum(column[first], column[second])
    strips = (np.minimum(x1[first], x1[second]) + 63) // 64 - left
    pair = np.repeat(np.arange(len(first)), strips)
    strip = left[pair] + _within(strips)
    rows = (bottom - top)[pair]
    at = [start[cell] + (strip - column[cell]) * height[cell] + top[pair] - y0[cell] for cell in (first[pair], second[pair])]
    ends = np.cumsum(rows)
    cuts = np.searchsorted(ends, np.arange(0, ends[-1], BATCH_ROWS), side="left")
    for begin, end in zip(cuts, [*cuts[1:], len(rows)], strict=True):
        part = slice(begin, end)
        before = np.cumsum(rows[part]) - rows[part]
        row = np.arange(rows[part].sum())
        one, other = (words[row + np.repeat(a[part] - before, rows[part])] for a in at)
        if len(row):
            bits = np.add.reduceat(np.bitwise_count(one & other), before, dtype=np.int64)
            shared += np.bincount(pair[part], bits, len(shared)).astype(np.int64)
    return shared


def _packed(crops: Sequence[Mask], boxes: Boxes) -> tuple[NDArray[np.uint64], Indices, Indices]:
    """The strips of words of all crops behind each other, where those of each crop start, and its first column of words."""
    x0, y0, x1, y1 = np.asarray(boxes, np.int64).T
    column = x0 // 64
    strips = (x1 + 63) // 64 - column
    ends = np.cumsum(strips * (y1 - y0))
    start = ends - strips * (y1 - y0)
    bits = np.zeros((int(ends[-1]), 64), bool)
    for crop, begin, end, n, lead in zip(crops, start.tolist(), ends.tolist(), strips.tolist(), (x0 % 64).tolist(), strict=True):
        height, width = crop.shape
        rows = bits[begin:end]
        if n == 1:
            rows[:, lead : lead + width] = crop
        elif n > 1:
            padded = np.zeros((height, n * 64), bool)
            padded[:, lead : lead + width] = crop
            rows.reshape(n, height, 64)[:] = padded.reshape(height, n, 64).swapaxes(0, 1)
    return np.packbits(bits.ravel(), bitorder="little").view(np.uint64), start, column


def _box_overlap(boxes: NDArray[Any], first: Indices, second: Indices) -> NDArray[np.float64]:
    """Shared area of the boxes of each pair (P,)."""
    x0, y0, x1, y1 = np.asarray(boxes, np.float64).reshape(-1, 4).T
    width = np.minimum(x1[first], x1[second]) - np.maximum(x0[first], x0[second])
    height = np.minimum(y1[first], y1[second]) - np.maximum(y0[first], y0[second])
    return np.asarray(np.maximum(width, 0) * np.maximum(height, 0))


def _ranked(first: Indices, second: Indices, iou: NDArray[np.float64], above: float) -> Pairs:
    enough = iou > above
    first, second, iou = first[enough], second[enough], iou[enough]
    order = np.lexsort((first, second))
    return Pairs(first[order], second[order], iou[order])


def _within(counts: Indices) -> Indices:
    """0 .. n - 1 for each count n, behind each other."""
    ends = np.cumsum(counts)
    return np.arange(ends[-1] if len(ends) else 0) - np.repeat(ends - counts, counts)
