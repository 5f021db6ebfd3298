"""Pure functions on masks: crops, full frames, run-length codes, polygons, label images, overlaps.

A *crop* is a boolean array that covers exactly its box; a box is `(x0, y0, x1, y1)` in pixels, half-open, so that
`crop.shape == (y1 - y0, x1 - x0)`. Run lengths are kept as *runs*: two int64 arrays, 0-based starts and lengths, over
the pixels of the full frame, in column-major ("F", COCO) or row-major ("C", Kaggle) order.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Literal

import numpy as np
from faster_coco_eval.core import mask as coco_mask
from numpy.typing import NDArray
from scipy import ndimage, sparse

Size = tuple[int, int]


Order = Literal["C", "F"]


Mask = NDArray[np.bool_]


Boxes = NDArray[np.int32]


Runs = tuple[NDArray[np.int64], NDArray[np.int64]]


EMPTY_BOX = (0, 0, 0, 0)


MOST_VALUES = 1 << 22


def crop_from_mask(mask: NDArray[Any]) -> tuple[tuple[int, int, int, int], Mask]:
    """Cut a full-frame mask (H, W) to its tight box; an empty mask gives `EMPTY_BOX` and a (0, 0) crop."""
    mask = np.asarray(mask, dtype=bool)
    rows, columns = np.logical_or.reduce(mask, axis=1), np.logical_or.reduce(mask, axis=0)
    if not rows.any():
        return EMPTY_BOX, np.zeros((0, 0), bool)
    x0, y0 = int(columns.argmax()), int(rows.argmax())
    x1, y1 = len(columns) - int(columns[::-1].argmax()), len(rows) - int(rows[::-1].argmax())
    return (x0, y0, x1, y1), mask[y0:y1, x0:x1].copy()


def paste(crop: Mask, box: Sequence[int] | Boxes, size: Size) -> Mask:
    """Put a crop back into an empty full frame of `size` (height, width)."""
    full = np.zeros(size, bool)
    x0, y0, x1, y1 = box
    full[y0:y1, x0:x1] = crop
    return full


def runs_from_crop(crop: Mask, box: Sequence[int] | Boxes, size: Size, order: Order) -> Runs:
    """Runs of a crop over the pixels of its full frame, sorted, touching runs joined."""
    height, width = size
    x0, y0 = int(box[0]), int(box[1])
    if order == "F":
        columns, rows = np.nonzero(crop.T)
        pixels = (columns + x0) * height + rows + y0
    else:
        rows, columns = np.nonzero(crop)
        pixels = (rows + y0) * width + columns + x0
    return runs_from_pixels(pixels)


def runs_from_pixels(pixels: NDArray[np.int64]) -> Runs:
    """Runs of sorted, distinct pixel numbers."""
    if not len(pixels):
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    ends = np.flatnonzero(np.diff(pixels) != 1)
    first = np.concatenate([[0], ends + 1])
    last = np.concatenate([ends, [len(pixels) - 1]])
    return pixels[first].astype(np.int64), (last - first + 1).astype(np.int64)


def counts_from_runs(runs: Runs, total: int) -> NDArray[np.int64]:
    """COCO's uncompressed counts (background first) of sorted runs over `total` pixels."""
    starts, lengths = runs
    counts = np.zeros(2 * len(starts) + 1, np.int64)
    ends = starts + lengths
    counts[0:-1:2] = starts - np.concatenate([[0], ends[:-1]]) if len(starts) else 0
    counts[1::2] = lengths
    counts[-1] = total - (ends[-1] if len(ends) else 0)
    return counts[:-1] if len(counts) > 1 and counts[-1] == 0 else counts


def coco_rle_from_crop(crop: Mask, box: Sequence[int] | Boxes, size: Size) -> dict[str, Any]:
    """COCO compressed RLE `{"size": [H, W], "counts": str}` of a crop."""
    counts = counts_from_runs(runs_from_crop(crop, box, size, "F"), size[0] * size[1])
    rle = coco_mask.frPyObjects({"size": list(size), "counts": counts.tolist()}, *size)
    text = rle["counts"]
    return {"size": [int(size[0]), int(size[1])], "counts": text.decode() if isinstance(text, bytes) else text}


def label_image(crops: Sequence[Mask], boxes: Boxes, size: Size) -> tuple[NDArray[np.uint32], int]:
    """Draw crop i with the value i + 1; where crops overlap the first one wins.

    Returns:
        The label image (H, W), uint32, and the number of pixels that later crops lost to earlier ones.
    """
    if 0 in size:
        return np.zeros(size, np.uint32), 0
    return next(label_tiles(crops, boxes, size, size))


def label_tiles(crops: Sequence[Mask], boxes: Boxes, size: Size, tile: Size) -> Iterator[tuple[NDArray[np.uint32], int]]:
    """The label image of `label_image` tile by tile, row by row, each drawn when it is asked for; what lies beyond the image is 0.

    Args:
        crops: N masks, each exactly its box.
        boxes: (N, 4).
        size: (height, width) of the image.
        tile: height and width of a tile.

    Yields:
        A tile, uint32, and the pixels that later crops lost to earlier ones in it.
    """
    x0, y0, x1, y1 = np.asarray(boxes).reshape(-1, 4).T
    for top in range(0, size[0], tile[0]):
        row = np.flatnonzero((y0 < top + tile[0]) & (y1 > top))
        for left in range(0, size[1], tile[1]):
            chosen = row[(x0[row] < left + tile[1]) & (x1[row] > left)]
            yield _drawn(((int(i), crops[i], boxes[i]) for i in chosen), (top, left), tile)


def _drawn(cells: Iterable[tuple[int, Mask, Any]], corner: tuple[int, int], tile: Size) -> tuple[NDArray[np.uint32], int]:
    """Crops with their numbers and boxes in a tile that has its first pixel (y, x) at a corner."""
    labels = np.zeros(tile, np.uint32)
    top, left = corner
    lost = 0
    for number, crop, box in cells:
        x0, y0, x1, y1 = (int(n) for n in box)
        y, x = max(y0, top), max(x0, left)
        view = labels[y - top : y1 - top, x - left : x1 - left]
        part = crop[y - y0 : y - y0 + view.shape[0], x - x0 : x - x0 + view.shape[1]]
        free = part & (view == 0)
        lost += int(part.sum()) - int(free.sum())
        view[free] = number + 1
    return labels, lost


def value_windows(labels: NDArray[Any]) -> list[tuple[int, tuple[slice, slice]]]:
    """The values above 0 of a label image (H, W) of whole numbers from 0, rising, each with the rows and columns of its box."""
    if not labels.size:
        return []
    if labels.dtype == np.bool_:
        labels = labels.view(np.uint8)
    if labels.max() <= MOST_VALUES:  # a table by value; no sorted copy of the image
        found = enumerate(ndimage.find_objects(labels), start=1)
        return [(value, (window[0], window[1])) for value, window in found if window is not None]
    values, numbers = np.unique(labels, return_inverse=True)
    numbers = numbers.reshape(labels.shape) + (0 if values[0] == 0 else 1)
    windows = [(window[0], window[1]) for window in ndimage.find_objects(numbers)]
    return list(zip(values[values > 0].tolist(), windows, strict=True))


def pairwise_iou(crops: Sequence[Mask], boxes: Boxes, other_crops: Sequence[Mask], other_boxes: Boxes, size: Size) -> NDArray[np.float64]:
    """Mask IoU of every pair, dense (N, M) in [0, 1]; two empty masks have IoU 0."""
    left = _incidence(crops, boxes, size)
    right = left if other_crops is crops else _incidence(other_crops, other_boxes, size)
    shared = sparse.coo_array(left @ right.T)
    rows, columns = shared.coords
    union = np.diff(left.indptr)[rows] + np.diff(right.indptr)[columns] - shared.data
    iou = np.zeros(shared.shape)
    iou[rows, columns] = shared.data / union
    return iou


def _incidence(crops: Sequence[Mask], boxes: Boxes, size: Size) -> sparse.csr_array:
    """Sparse (N, H*W) array with a 1 for every pixel of every crop, made for all crops at once."""
    x0, y0, x1, y1 = np.asarray(boxes, np.int64).reshape(-1, 4).T
    widths = x1 - x0
    ends = np.cumsum(widths * (y1 - y0))
    inside = np.flatnonzero(np.concatenate([np.zeros(0, bool), *(crop.ravel() for crop in crops)]))
    bounds = np.concatenate([[0], np.searchsorted(inside, ends)])
    owner = np.repeat(np.arange(len(crops)), np.diff(bounds))
    first = ends - widths * (y1 - y0)
    rows, columns = np.divmod(inside - first[owner], widths[owner])
    pixels = (rows + y0[owner]) * size[1] + columns + x0[owner]
    return sparse.csr_array((np.ones(len(pixels), np.int64), pixels, bounds), shape=(len(crops), size[0] * size[1]))
