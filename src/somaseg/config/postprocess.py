"""Settings of post-processing."""

from typing import Annotated, Literal, get_args

from pydantic import AfterValidator

from somaseg.config.base import AreaByClass, Probability, ProbabilityByClass, Settings

StepName = Literal["vote", "screen", "box_nms", "paste", "rank", "mask_nms", "fill_holes", "overlaps", "pieces", "min_area", "border"]

ANYWHERE = ("vote", "screen")
BEFORE_PASTE = ("box_nms",)
AFTER_PASTE = tuple(name for name in get_args(StepName) if name not in (*ANYWHERE, *BEFORE_PASTE, "paste"))


def _ordered(steps: tuple[StepName, ...]) -> tuple[StepName, ...]:
    """Refuse an order in which a step lacks what it works on."""
    for name in steps:
        if steps.count(name) > 1:
            raise ValueError(f"{name} is listed {steps.count(name)} times: list each step once")
    if "paste" not in steps:
        raise ValueError("paste is missing: list it, it makes the masks")
    paste = steps.index("paste")
    for name in steps[:paste]:
        if name in AFTER_PASTE:
            raise ValueError(f"{name} comes before paste: put it after, it works on the pixels that paste makes")
    for name in steps[paste:]:
        if name in BEFORE_PASTE:
            raise ValueError(f"{name} comes after paste: put it before, it is there to save pasting")
    return steps


StepsToMasks = Annotated[tuple[StepName, ...], AfterValidator(_ordered)]


class PostprocessSettings(Settings):
    """From raw detections to cells (docs/method.md says what each step does).

    A field by class maps class names to values; `default` holds for all others, and a plain number for all.

    Attributes:
        steps: what is done, in this order; a step that is not listed is not done. `paste` must be there; `box_nms` comes before it,
            `rank`, `mask_nms`, `fill_holes`, `overlaps`, `pieces`, `min_area` and `border` after it, `vote` and `screen` anywhere.
        vote: the class of the image is that with the largest sum of scores, or with the most cells.
        score_thresh: `screen` and `rank`: least score of a cell, by class.
        box_nms_iou: `box_nms`: of two boxes with a larger IoU the one with the lower score goes.
        offset: `paste`: pixels at the weights' own scale, to the right and down, that soft masks are moved by before they are
            thresholded, for weights whose annotators drew outlines beside the cells: training, which turns crops in all ways, learns
            outlines without it.
        mask_thresh: `paste`: least probability of a pixel of a cell, by class.
        nms_iou: `mask_nms`: of two masks with a larger IoU the one with the lower score goes.
        overlaps: who gets a pixel that cells share: the one with the highest score ("trim"), the one with the largest mask
            probability there ("probability"), or all of them ("drop", and "keep", which does nothing at all).
        max_covered: `overlaps`, except "keep": a cell of which better ones cover more than this share is dropped.
        pieces: of a mask in several pieces the largest is kept, or each becomes a cell of its own.
        min_area: least area of a cell in pixels at the weights' own scale, by class.
    """

    steps: StepsToMasks = (
        "vote",
        "screen",
        "paste",
        "rank",
        "mask_nms",
        "fill_holes",
        "overlaps",
        "pieces",
        "min_area",
    )
    vote: Literal["scores", "cells"] = "scores"
    score_thresh: ProbabilityByClass = {"default": 0.3}
    box_nms_iou: Probability = 0.7
    offset: tuple[float, float] = (0.0, 0.0)
    mask_thresh: ProbabilityByClass = {"default": 0.45}
    nms_iou: Probability = 0.3
    overlaps: Literal["trim", "probability", "drop", "keep"] = "trim"
    max_covered: Probability = 0.3
    pieces: Literal["largest", "split"] = "largest"
    min_area: AreaByClass = {"default": 60.0}
