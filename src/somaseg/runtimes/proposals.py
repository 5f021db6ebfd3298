"""From objectness and deltas of anchors to proposals, in NumPy: what `models.rpn` does in torch (Faster R-CNN, Ren et al. 2015)."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from somaseg.config import RpnSettings
from somaseg.masks.crops import Size
from somaseg.runtimes import boxes as bx
from somaseg.runtimes.detector import Floats


def propose(
    objectness: Sequence[Floats],
    deltas: Sequence[Floats],
    shapes: Sequence[Size],
    strides: Sequence[int],
    size: Size,
    cfg: RpnSettings,
    fields: float = 1.0,
) -> tuple[Floats, Floats]:
    """The best boxes of each level, clipped, after NMS within each level; in an image of several fields in parts of about a field each.

    Args:
        objectness: logits of a level's anchors (H * W * A,), by level.
        deltas: of the same (H * W * A, 4).
        shapes: (H, W) of the levels.
        strides: of the levels.
        size: (height, width) of the image.
        cfg: anchors and limits.
        fields: how many fields of view the image shows, for which there are as often the limits.

    Returns:
        Boxes (R, 4) and logits (R,), best first.
    """
    boxes, logits, levels = [], [], []
    for level, (score, move) in enumerate(zip(objectness, deltas, strict=True)):
        top = _highest(score, round(cfg.pre_nms * fields))
        anchors = anchors_at(top, cfg.sizes[level], cfg.ratios, strides[level], shapes[level][1])
        boxes.append(bx.clip(bx.decode(anchors, move[top], (1.0, 1.0, 1.0, 1.0)), size))
        logits.append(score[top])
        levels.append(np.full(len(top), level))
    box, logit, level_of = np.concatenate(boxes), np.concatenate(logits), np.concatenate(levels)
    full = bx.nonempty(box)
    box, logit, level_of = box[full], logit[full], level_of[full]
    groups = _parts(box, size, math.ceil(fields**0.5)) * len(shapes) + level_of
    kept = bx.nms_by_group(box, logit, groups, cfg.nms_iou)[: round(cfg.post_nms * fields)]
    return box[kept], logit[kept]


def anchors_at(numbers: NDArray[np.int64], sizes: Sequence[float], ratios: Sequence[float], stride: int, width: int) -> Floats:
    """The anchors (N, 4) with these numbers; a level `width` wide has them row by row, centred at multiples of its stride."""
    sides = np.array([((s * s / r) ** 0.5, (s * s / r) ** 0.5 * r) for s in sizes for r in ratios], np.float32)
    place, kind = np.divmod(numbers, len(sides))
    centres = np.stack([place % width, place // width], axis=1).astype(np.float32) * np.float32(stride)
    return np.concatenate([centres - sides[kind] / 2, centres + sides[kind] / 2], axis=1)


def _parts(boxes: Floats, size: Size, side: int) -> NDArray[np.int64]:
    """In which of side x side parts of an image of `size` the centre of each box lies (N,)."""
    x, y = ((boxes[:, axis] + boxes[:, axis + 2]) / np.float32(2) * np.float32(side) / np.float32(size[1 - axis]) for axis in (0, 1))
    numbers: NDArray[np.int64] = x.astype(np.int64).clip(0, side - 1) + side * y.astype(np.int64).clip(0, side - 1)
    return numbers


def _highest(scores: Floats, most: int) -> NDArray[np.int64]:
    """Where the highest scores stand, the highest first, of equal ones the first."""
    if len(scores) <= most:
        return np.argsort(-scores, kind="stable")
    least = np.partition(scores, len(scores) - most)[len(scores) - most]
    above = np.flatnonzero(scores >= least)
    return above[np.argsort(-scores[above], kind="stable")][:most]
