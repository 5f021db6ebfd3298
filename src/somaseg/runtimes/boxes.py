"""Boxes around what a network found, in NumPy: coding, clipping, overlaps, suppression. All boxes are float32 (N, 4), x0 y0 x1 y1.

What is written twice, here and in `models.boxes`, is arithmetic of a line or two; tests hold both to the same values.
"""

import math

import numpy as np
from numpy.typing import NDArray

from somaseg.masks.crops import Size

Boxes = NDArray[np.float32]

MAX_LOG = math.log(1000.0 / 16)  # no box grows more than 62.5-fold; keeps exp() finite (Detectron2)
BLOCK = 128  # boxes compared at once with those that stay: their table stays in the cache


def decode(boxes: Boxes, deltas: NDArray[np.float32], weights: tuple[float, ...]) -> Boxes:
    """Boxes (N, 4) moved by deltas (N, 4), each over its weight (R-CNN, Girshick et al. 2014)."""
    deltas = np.asarray(deltas / np.array(weights, np.float32), np.float32)
    sides = boxes[:, 2:] - boxes[:, :2]
    centres = boxes[:, :2] + np.float32(0.5) * sides + deltas[:, :2] * sides
    half = np.float32(0.5) * np.exp(np.minimum(deltas[:, 2:], np.float32(MAX_LOG))) * sides
    return np.concatenate([centres - half, centres + half], axis=1)


def clip(boxes: Boxes, size: Size) -> Boxes:
    """Boxes cut at an image of `size` (height, width)."""
    height, width = size
    return np.clip(boxes, np.float32(0), np.array([width, height, width, height], np.float32))


def nonempty(boxes: Boxes) -> NDArray[np.bool_]:
    """True for boxes with positive sides (N,)."""
    return np.asarray((boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1]))


def iou(left: Boxes, right: Boxes) -> NDArray[np.float32]:
    """IoU (N, M) of every pair; 0 where both are empty."""
    shared = np.minimum(left[:, None, 2], right[None, :, 2])
    shared -= np.maximum(left[:, None, 0], right[None, :, 0])
    np.maximum(shared, 0, out=shared)
    high = np.minimum(left[:, None, 3], right[None, :, 3])
    high -= np.maximum(left[:, None, 1], right[None, :, 1])
    np.maximum(high, 0, out=high)
    shared *= high
    union = np.add(_area(left)[:, None], _area(right)[None], out=high)
    union -= shared
    np.maximum(union, np.float32(1e-9), out=union)
    shared /= union
    return shared


def nms(boxes: Boxes, scores: NDArray[np.float32], most: float) -> NDArray[np.int64]:
    """Which boxes stay when of two with an IoU above `most` the one with the lower score goes; best first, of equal ones the first."""
    order = np.argsort(-scores, kind="stable")
    ranked, limit = boxes[order], np.float64(most)  # a double: in float32 an IoU of just .7 would not be above .7
    kept = np.zeros(len(order), np.int64)
    count = 0
    for start in range(0, len(order), BLOCK):
        block = ranked[start : start + BLOCK]
        gone = np.asarray((iou(ranked[kept[:count]], block) > limit).any(axis=0))
        rivals = iou(block, block) > limit
        for i in range(len(block)):
            if not gone[i]:
                gone |= rivals[i]
                kept[count] = start + i
                count += 1
    return order[kept[:count]]


def nms_by_group(boxes: Boxes, scores: NDArray[np.float32], groups: NDArray[np.int64], most: float) -> NDArray[np.int64]:
    """As `nms`, but boxes of two groups never compete."""
    members = [np.flatnonzero(groups == group) for group in np.unique(groups)]
    kept = [own[nms(boxes[own], scores[own], most)] for own in members]
    together = np.sort(np.concatenate(kept)) if kept else np.zeros(0, np.int64)
    return together[np.argsort(-scores[together], kind="stable")]


def _area(boxes: Boxes) -> NDArray[np.float32]:
    return np.asarray((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]))
