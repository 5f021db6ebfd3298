"""From mask probabilities on the grid of a box to pixels: bilinear interpolation, threshold."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from somaseg.masks import crops as mk

BATCH_PIXELS = 1 << 20  # pixels interpolated at once: 4 MB of float32, which stays in the cache


@dataclass(frozen=True, eq=False)
class SoftMasks:
    """Mask probabilities of N candidates, which are not copied when some of them are chosen: those of a large image take a gigabyte.

    Attributes:
        grids: (M, S, S), the probability inside the box on a grid, of these candidates and others.
        rows: int64 (N,), which of them are whose.
    """

    grids: NDArray[np.floating]
    rows: NDArray[np.int64]

    @classmethod
    def of(cls, grids: NDArray[np.floating]) -> "SoftMasks":
        """One a candidate, in their order."""
        return cls(grids, np.arange(len(grids)))

    @property
    def shape(self) -> tuple[int, int, int]:
        """N, S, S."""
        return len(self.rows), self.grids.shape[1], self.grids.shape[2]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, chosen: NDArray[np.int64]) -> NDArray[np.floating]:
        """The grids of some candidates."""
        return self.grids[self.rows[chosen]]

    def of_some(self, chosen: NDArray[np.int64]) -> "SoftMasks":
        """Those of some candidates, not copied."""
        return SoftMasks(self.grids, self.rows[chosen])


Grids = NDArray[np.floating] | SoftMasks
"""(N, S, S) probabilities, in an array or chosen from one."""


def to_pixels(
    boxes: NDArray[np.float32], mask_probs: Grids, thresholds: NDArray[np.float64], size: mk.Size
) -> tuple[mk.Boxes, list[mk.Mask], NDArray[np.float32]]:
    """Resize soft masks to their boxes and threshold them.

    Args:
        boxes: (N, 4) x0 y0 x1 y1 in pixels of the image.
        mask_probs: (N, S, S) probabilities.
        thresholds: (N,) least probability of a pixel.
        size: (height, width) of the image.

    Returns:
        Tight boxes int32 (N, 4), N crops, and the mean probability over each mask (N,); an empty mask has `EMPTY_BOX` and mean 0.
    """
    count = len(boxes)
    tight = np.zeros((count, 4), np.int32)
    crops: list[mk.Mask] = [np.zeros((0, 0), bool)] * count
    means = np.zeros(count, np.float32)
    reach = _reach(boxes, mask_probs.shape[-1], size)
    for chosen, soft in interpolate(boxes, mask_probs, reach):
        hard = soft >= np.maximum(thresholds[chosen], 1e-6).astype(np.float32)[:, None, None]
        # Beyond its own window a batch member may run out of the image.
        lengths = reach[chosen, 2:] - reach[chosen, :2]
        hard &= (np.arange(soft.shape[1]) < lengths[:, 1:])[:, :, None] & (np.arange(soft.shape[2]) < lengths[:, :1])[:, None, :]
        area = np.count_nonzero(hard, axis=(1, 2))
        means[chosen] = np.einsum("nij,nij->n", soft, hard) / np.maximum(area, 1)
        windows = _tight_windows(hard)
        windows[area == 0] = 0
        tight[chosen] = np.where(area[:, None] > 0, windows + np.tile(reach[chosen, :2], 2), 0)
        for i, mask, (x0, y0, x1, y1) in zip(chosen.tolist(), hard, windows.tolist(), strict=True):
            crops[i] = mask[y0:y1, x0:x1].copy()
    return tight, crops, means


def interpolate(
    boxes: NDArray[np.float32], mask_probs: Grids, windows: NDArray[np.integer]
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
    """The probability at every pixel of a window of each soft mask, in batches of windows of about one size.

    The value at pixel centre (x + .5, y + .5) is the bilinear interpolation of the S x S grid at u = (x + .5 - x0) / (x1 - x0) * S - .5,
    with zeros around the grid: what Detectron2's paste gives with grid_sample(align_corners=False). The interpolation is separable
    and linear, so it is two matrix products, rows @ grid @ columns, for many boxes of about one size at once.

    Args:
        boxes: (N, 4) x0 y0 x1 y1 in pixels of the image, each with a width and a height where its window has pixels.
        mask_probs: (N, S, S) probabilities.
        windows: (N, 4) x0 y0 x1 y1 in pixels, half-open; those without a pixel are left out.

    Yields:
        Indices (n,) of a batch and its probabilities, float32 (n, h, w) with h and w of the largest window in the batch: that of
        member i is [i, : its height, : its width].
    """
    grid = mask_probs.shape[-1]
    windows = np.asarray(windows, np.int64).reshape(-1, 4)
    start = np.asarray(boxes, np.float64).reshape(-1, 4)[:, :2]
    extent = np.asarray(boxes, np.float64).reshape(-1, 4)[:, 2:] - start
    lengths = windows[:, 2:] - windows[:, :2]
    for chosen in _size_batches(lengths):
        width, height = lengths[chosen].max(axis=0).tolist()
        # A row or column of weights has a place on either side for the zeros around the grid, which is cut off.
        rows = np.zeros((len(chosen), height, grid + 2), np.float32)
        columns = np.zeros((len(chosen), grid + 2, width), np.float32)
        member, across, down = np.arange(len(chosen))[:, None], np.arange(width), np.arange(height)
        for cell, weight in _taps(windows[chosen, 1], start[chosen, 1], extent[chosen, 1], height, grid):
            rows[member, down, cell] = weight
        for cell, weight in _taps(windows[chosen, 0], start[chosen, 0], extent[chosen, 0], width, grid):
            columns[member, cell, across] = weight
        yield chosen, rows[:, :, 1:-1] @ mask_probs[chosen].astype(np.float32) @ columns[:, 1:-1]


def _reach(boxes: NDArray[np.float32], grid: int, size: mk.Size) -> NDArray[np.int64]:
    """The window of pixels (N, 4) inside the image that each soft mask can reach; without a pixel for a box that has no area."""
    start = np.asarray(boxes, np.float64).reshape(-1, 4)[:, :2]
    end = np.asarray(boxes, np.float64).reshape(-1, 4)[:, 2:]
    extent = end - start
    sound = (np.isfinite(extent) & (extent > 0)).all(axis=1, keepdims=True)
    margin = extent / (2 * grid)  # interpolation towards the zeros around the grid reaches half a grid cell out of the box
    limit = np.array([size[1], size[0]])
    first = np.clip(np.ceil(np.where(sound, start - margin - 0.5, 0)), 0, limit).astype(np.int64)
    last = np.clip(np.floor(np.where(sound, end + margin - 0.5, -1)) + 1, 0, limit).astype(np.int64)
    return np.concatenate([first, last], axis=1)


def _size_batches(lengths: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Indices of windows (width, height) in batches of about one size; windows without a pixel are left out."""
    inside = np.flatnonzero((lengths > 0).all(axis=1))
    steps = np.ceil(np.log2(lengths[inside])).astype(np.int64)
    _, group = np.unique(steps[:, 0] * 100 + steps[:, 1], return_inverse=True)
    batches = []
    for number in range(int(group.max()) + 1 if len(group) else 0):
        members = inside[group == number]
        most = max(1, BATCH_PIXELS // int(lengths[members].max(axis=0).prod()))
        batches += [members[i : i + most] for i in range(0, len(members), most)]
    return batches


def _taps(
    first: NDArray[np.int64], start: NDArray[np.float64], extent: NDArray[np.float64], length: int, grid: int
) -> list[tuple[NDArray[np.int64], NDArray[np.float32]]]:
    """The two grid cells between which each of `length` pixel centres from `first` on lies, in a grid over start..start + extent.

    Returns:
        Twice the number of the grid cell, from 1, or 0 and grid + 1 for all before and behind, and its weight, (n, length) each.
    """
    step = (grid / extent)[:, None]
    position = ((first + 0.5 - start)[:, None] * step - 0.5 + np.arange(length) * step).astype(np.float32)
    before = np.floor(position)
    return [((np.clip(cell, -1, grid) + 1).astype(np.int64), 1 - np.abs(position - cell)) for cell in (before, before + 1)]


def _tight_windows(masks: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Tight half-open boxes (n, 4), x0 y0 x1 y1, of n masks (n, H, W); meaningless for an empty mask."""
    rows, columns = np.asarray(masks.any(axis=2)), np.asarray(masks.any(axis=1))
    return np.stack(
        [
            columns.argmax(axis=1),
            rows.argmax(axis=1),
            columns.shape[1] - columns[:, ::-1].argmax(axis=1),
            rows.shape[1] - rows[:, ::-1].argmax(axis=1),
        ],
        axis=1,
    )
