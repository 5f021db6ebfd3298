"""Half-pixel aligned ROI pooling (RoIAlign) in NumPy and SciPy: what `models.pooling` does in torch, for features that lie as rows.

Pooling is linear in the features, so it is a sparse matrix of bilinear weights times the features. A bin's weights along x and y are
found one by one and multiplied, and samples that share a pixel are added before, which leaves about half of them.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from somaseg.runtimes.detector import Floats

Indices = NDArray[np.int64]


def level_of(boxes: Floats, canonical_level: int, canonical_size: float, levels: int) -> Indices:
    """The level of a pyramid from which each box (R, 4) is pooled, by its size (FPN, Lin et al. 2017)."""
    side = np.sqrt(np.maximum((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]), 0))
    level = np.floor(np.float32(canonical_level) + np.log2(side / np.float32(canonical_size) + np.float32(1e-8)))
    return np.clip(level, 0, levels - 1).astype(np.int64)


def roi_pool(features: Sequence[Floats], level: Indices, boxes: Floats, size: int, ratio: int = 0) -> Floats:
    """Average bilinear samples over each of `size` x `size` bins of every box.

    Args:
        features: levels (H, W, C).
        level: the one that each box reads (R,).
        boxes: (R, 4) x0 y0 x1 y1 in pixels of that level (a pixel's centre lies at +.5).
        size: bins along a side.
        ratio: samples along a side of a bin; 0 takes ceil(box side / size) for every box.

    Returns:
        (R, size, size, C).
    """
    sides = np.maximum(boxes[:, 2:] - boxes[:, :2], 0)
    counts = np.full(sides.shape, ratio) if ratio else np.maximum(np.ceil(sides / np.float32(size)), 1).astype(np.int64)
    pooled = np.empty((len(boxes), size, size, features[0].shape[2]), np.float32)
    kinds, kind = np.unique(np.column_stack([level, counts]), axis=0, return_inverse=True)
    for number, (of_level, nx, ny) in enumerate(kinds.tolist()):
        chosen = np.flatnonzero(kind.reshape(-1) == number)
        height, width, channels = features[of_level].shape
        x_at, x_weight = _taps(boxes[chosen, 0], sides[chosen, 0], size, nx, width, ratio > 0)
        y_at, y_weight = _taps(boxes[chosen, 1], sides[chosen, 1], size, ny, height, ratio > 0)
        at = y_at[:, :, None, :, None] * np.int32(width) + x_at[:, None, :, None, :]
        weight = y_weight[:, :, None, :, None] * x_weight[:, None, :, None, :]
        each = at.shape[3] * at.shape[4]
        starts = np.arange(0, at.size + 1, each, dtype=np.int32)
        matrix = sparse.csr_matrix((weight.reshape(-1), at.reshape(-1), starts), shape=(len(starts) - 1, height * width))
        pooled[chosen] = (matrix @ features[of_level].reshape(-1, channels)).reshape(len(chosen), size, size, channels)
    return pooled


def _taps(start: Floats, side: Floats, size: int, samples: int, length: int, apart: bool) -> tuple[NDArray[np.int32], Floats]:
    """The pixels that each bin reads along an axis of `length` pixels, and their weights: (R, size, taps).

    `apart`: samples may lie more than a pixel apart, as they do where their number does not go by the size of the box.
    """
    fraction = (np.arange(size * samples, dtype=np.float32) + np.float32(0.5)) / np.float32(size * samples)
    at = start[:, None] - np.float32(0.5) + fraction * side[:, None]
    inside = (at >= -1) & (at <= length)
    at = np.clip(at, 0, length - 1)
    low = np.floor(at)
    share = at - low
    shape = (len(start), size, samples)
    low, high_weight = low.astype(np.int32).reshape(shape), (share * inside / np.float32(samples)).reshape(shape)
    low_weight = ((1 - share) * inside / np.float32(samples)).reshape(shape)
    if samples == 1 or apart:
        pixels = np.concatenate([low, low + 1], axis=2)
        weights = np.concatenate([low_weight, high_weight], axis=2)
    else:  # a bin of n samples reads at most n + 2 pixels
        first = low[:, :, :1]
        taps = np.arange(samples + 2, dtype=np.int32)
        pixels = first + taps
        behind = (low - first)[..., None]
        weights = ((behind == taps) * low_weight[..., None] + (behind + 1 == taps) * high_weight[..., None]).sum(axis=2)
    return np.minimum(pixels, length - 1), weights.astype(np.float32)
