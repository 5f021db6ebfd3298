"""Settings of post-processing."""

from typing import Literal

from somaseg.config.base import AreaByClass, Probability, ProbabilityByClass, Settings


class PostprocessSettings(Settings):
    """From raw detections to cells.

    A field by class maps class names to values; `default` holds for all others, and a plain number for all.

    Attributes:
        one_class_per_image: give every cell the class with the largest sum of scores.
        rank_by_mask: the score becomes score x mean mask probability over the mask (docs/method.md).
        score_thresh: least score of a cell, by class.
        mask_thresh: least probability of a pixel of a cell, by class.
        nms_iou: of two masks with a larger IoU the one with the lower score goes.
        overlaps: "trim" gives a pixel to the cell with the highest score alone; "keep" lets cells share pixels.
        max_covered: with "trim", a cell of which more than this share is taken by better ones is dropped, not trimmed.
        min_area: least area of a cell in pixels, by class.
    """

    one_class_per_image: bool = True
    rank_by_mask: bool = True
    score_thresh: ProbabilityByClass = {"default": 0.3}
    mask_thresh: ProbabilityByClass = {"default": 0.45}
    nms_iou: Probability = 0.3
    overlaps: Literal["trim", "keep"] = "trim"
    max_covered: Probability = 0.3
    min_area: AreaByClass = {"default": 60.0}
