"""Which of the boxes that a detector refined are detections."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torchvision.ops import batched_nms, nms

from somaseg.config import DetectSettings
from somaseg.masks.crops import Size
from somaseg.models import boxes as bx


@dataclass(frozen=True)
class Detections:
    """Detections of one image, best first.

    Attributes:
        boxes: float32 (N, 4), inside the image.
        scores: (N,).
        labels: int64 (N,).
        origins: int64 (N,), which of the refined boxes each is.
    """

    boxes: Tensor
    scores: Tensor
    labels: Tensor
    origins: Tensor


def select(boxes: Tensor, probabilities: Tensor, size: Size, cfg: DetectSettings) -> Detections:
    """Boxes (R, 4) with class probabilities (R, K + 1) above the threshold, after NMS, at most `max_detections`."""
    boxes = bx.clip(boxes, size)
    if cfg.per_class:
        keep, labels = torch.nonzero((probabilities[:, :-1] > cfg.score_thresh) & bx.nonempty(boxes)[:, None], as_tuple=True)
        scores = probabilities[keep, labels]
        order = batched_nms(boxes[keep], scores, labels, cfg.nms_iou)
    else:
        every, likeliest = 1 - probabilities[:, -1], probabilities[:, :-1].argmax(dim=1)
        keep = torch.nonzero((every > cfg.score_thresh) & bx.nonempty(boxes))[:, 0]
        scores, labels = every[keep], likeliest[keep]
        order = nms(boxes[keep], scores, cfg.nms_iou)
    order = order[: cfg.max_detections]
    return Detections(boxes[keep[order]], scores[order], labels[order], keep[order])
