"""From the predictions of several models to one set of cells (docs/method.md)."""

from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np

from somaseg.classes import by_class
from somaseg.config.fusion import FuseMethod, FuseSettings
from somaseg.config.postprocess import PostprocessSettings, StepName
from somaseg.errors import InputError
from somaseg.fusion.cascade_screening import cascade_screening
from somaseg.fusion.pool import Pool, pool
from somaseg.fusion.weighted_boxes import weighted_boxes
from somaseg.instances import Instances, Prediction
from somaseg.masks.pairs import box_pairs, greedy, mask_pairs
from somaseg.postprocessing.candidates import Candidates
from somaseg.postprocessing.steps import run_steps


def fuse(predictions: Sequence[Prediction], settings: FuseSettings, postprocess: PostprocessSettings) -> tuple[Instances, dict[str, int]]:
    """The cells of one image that several models predicted.

    Args:
        predictions: one a model, of the same image; with method screening the best single model comes first.
        settings: how to fuse.
        postprocess: thresholds of the steps that `settings` lists; its own list of steps plays no part.

    Returns:
        The cells, in falling order of score, and a report in numbers: `detections` of all models, how many candidates each step
        removed in all models together, and `fusion` among them, and `cells`.

    Raises:
        InputError: without a prediction, when predictions differ in size or classes, or when settings do not fit them.
    """
    cells, report = fuse_predictions(predictions, settings, postprocess)
    return cells.to_instances(), report


def fuse_predictions(
    predictions: Sequence[Prediction], settings: FuseSettings, postprocess: PostprocessSettings
) -> tuple[Candidates, dict[str, int]]:
    """As `fuse`, but with what candidates know beyond their masks, such as their quality."""
    before, _ = parted_steps(settings)
    removed: Counter[str] = Counter()
    members = rescored([Candidates.from_prediction(p) for p in predictions], settings)
    for number, member in enumerate(members):
        members[number], by_step = run_steps(member, before, postprocess)
        removed.update(by_step)
    cells, by_step = fuse_members(members, settings, postprocess)
    removed.update(by_step)
    return cells, {"detections": sum(map(len, predictions)), **removed, "cells": len(cells)}


def parted_steps(settings: FuseSettings) -> tuple[tuple[StepName, ...], tuple[StepName, ...]]:
    """The steps on each model's detections before fusion, and those on the fused cells."""
    # Soft masks can be averaged only before they are pasted.
    fused_after = settings.member_steps.index("paste") if settings.method == "weighted" else len(settings.member_steps)
    return settings.member_steps[:fused_after], (*settings.member_steps[fused_after:], *settings.final_steps)


def fuse_members(
    members: Sequence[Candidates], settings: FuseSettings, postprocess: PostprocessSettings
) -> tuple[Candidates, Counter[str]]:
    """Fuse what the steps before fusion left of each model's candidates, and run the steps that follow.

    Returns:
        The cells, and how many candidates fusion (as `fusion`) and each step removed.

    Raises:
        InputError: without a model, or when they differ in size or classes.
    """
    together = pool(members)
    fused = METHODS[settings.method](together, settings)
    removed = Counter({"fusion": len(together.cells) - len(fused)})
    cells, by_step = run_steps(fused, parted_steps(settings)[1], postprocess)
    removed.update(by_step)
    return cells, removed


def rescored(members: Sequence[Candidates], settings: FuseSettings) -> list[Candidates]:
    """Each model's candidates with scores times its weight for their class.

    Raises:
        InputError: when there are weights, but not one entry a model, or they name an unknown class.
    """
    if not settings.member_weights:
        return list(members)
    if len(settings.member_weights) != len(members):
        raise InputError(
            f"fuse.member_weights has {len(settings.member_weights)} entries for {len(members)} models: give one a model, in their order"
        )
    ranked = []
    for number, (member, weights) in enumerate(zip(members, settings.member_weights, strict=True)):
        factors = by_class(weights, member.classes, f"fuse.member_weights.{number}").astype(np.float32)
        ranked.append(member.ranked(member.scores * factors[member.labels]))
    return ranked


def nms_fusion(pool: Pool, iou: float) -> Candidates:
    """Of two candidates of any model whose boxes have an IoU above `iou` the one that comes later in the pool goes."""
    return pool.cells[greedy(len(pool.cells), box_pairs(pool.cells.boxes, iou))]


def mask_nms_fusion(pool: Pool, iou: float) -> Candidates:
    """Of two cells of any model whose masks have an IoU above `iou` the one that comes later in the pool goes."""
    pixels = pool.cells.pasted
    return pool.cells[greedy(len(pool.cells), mask_pairs(pixels.crops, pixels.boxes, iou))]


METHODS: dict[FuseMethod, Callable[[Pool, FuseSettings], Candidates]] = {
    "screening": lambda pool, settings: cascade_screening(pool, settings.support_iou, settings.nms_iou),
    "nms": lambda pool, settings: nms_fusion(pool, settings.nms_iou),
    "mask_nms": lambda pool, settings: mask_nms_fusion(pool, settings.nms_iou),
    "weighted": lambda pool, settings: weighted_boxes(pool, settings.box_iou),
}
