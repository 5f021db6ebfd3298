"""Settings of fusion."""

from typing import Annotated, Literal

from pydantic import AfterValidator

from somaseg.config.base import Probability, ProbabilityByClass, Settings
from somaseg.config.postprocess import BEFORE_PASTE, StepName, StepsToMasks

FuseMethod = Literal["screening", "nms", "mask_nms", "weighted"]


def _after_paste(steps: tuple[StepName, ...]) -> tuple[StepName, ...]:
    for name in steps:
        if name in BEFORE_PASTE or name == "paste":
            raise ValueError(f"{name} cannot follow fusion, which gives masks: list it in member_steps")
    return steps


class FuseSettings(Settings):
    """From the raw detections of several models to one set of cells (docs/method.md).

    Attributes:
        method: "screening" is cascade IoU screening; "nms" and "mask_nms" let of cells that overlap the one with the highest score stay,
            by boxes or by masks; "weighted" averages boxes and soft masks of detections that overlap.
        support_iou: screening: a cell of a later model must share more than this mask IoU with one that is there already.
        nms_iou: all but weighted: of two cells with a larger IoU the one with the lower score goes.
        box_iou: weighted: detections of different models with a larger box IoU are one cell.
        member_weights: factors of the scores, by class, one entry a model in the models' order; none leaves the scores as they are.
        member_steps: steps of post-processing on each model's detections before fusion; with "weighted", which averages soft masks,
            `paste` and what comes after it follow fusion.
        final_steps: steps on the fused cells.
    """

    method: FuseMethod = "weighted"
    support_iou: Probability = 0.1
    nms_iou: Probability = 0.3
    box_iou: Probability = 0.55
    member_weights: tuple[ProbabilityByClass, ...] = ()
    member_steps: StepsToMasks = ("vote", "screen", "paste", "rank", "mask_nms")
    final_steps: Annotated[tuple[StepName, ...], AfterValidator(_after_paste)] = ("vote", "fill_holes", "overlaps", "pieces", "min_area")
