"""Which of the boxes that a detector refined are detections."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from somaseg.config import DetectSettings
from somaseg.masks.crops import Size
from somaseg.runtimes import boxes as bx
from somaseg.runtimes.detector import Floats


@dataclass(frozen=True)
class Detections:
    """Detections of one image, best first.

    Attributes:
        boxes: float32 (N, 4), inside the image.
        scores: float32 (N,).
        labels: int64 (N,).
        origins: int64 (N,), which of the refined boxes each is.
    """

    boxes: Floats
    scores: Floats
    labels: NDArray[np.int64]
    origins: NDArray[np.int64]


def select(boxes: Floats, probabilities: Floats, size: Size, cfg: DetectSettings) -> Detections:
    """Boxes (R, 4) with class probabilities (R, K + 1) above the threshold, after NMS, at most `max_detections`."""
    boxes = bx.clip(boxes, size)
    if cfg.per_class:
        keep, labels = np.nonzero((probabilities[:, :-1] > cfg.score_thresh) & bx.nonempty(boxes)[:, None])
        scores = probabilities[keep, labels]
        order = bx.nms_by_group(boxes[keep], scores, labels, cfg.nms_iou)
    else:
        every, likeliest = 1 - probabilities[:, -1], probabilities[:, :-1].argmax(axis=1)
        keep = np.flatnonzero((every > cfg.score_thresh) & bx.nonempty(boxes))
        scores, labels = every[keep], likeliest[keep]
        order = bx.nms(boxes[keep], scores, cfg.nms_iou)
    order = order[: cfg.max_detections]
    return Detections(boxes[keep[order]], scores[order], labels[order], keep[order])
