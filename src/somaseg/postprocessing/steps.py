"""From what a detector found to cells: the steps of post-processing (docs/method.md), each a function from candidates to candidates.

Masks are crops throughout (boolean arrays, each exactly its half-open box), so nothing here ever makes a full frame a cell.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import takewhile

import numpy as np
from numpy.typing import NDArray

from somaseg.classes import by_class
from somaseg.config import PostprocessSettings
from somaseg.config.postprocess import ANYWHERE, BEFORE_PASTE, StepName
from somaseg.errors import InputError
from somaseg.instances import Instances, Prediction
from somaseg.masks.pairs import box_pairs, greedy, mask_pairs
from somaseg.postprocessing import overlaps as mask_overlaps
from somaseg.postprocessing import pieces as mask_pieces
from somaseg.postprocessing import soft_masks
from somaseg.postprocessing.candidates import Candidates, Pixels
from somaseg.postprocessing.soft_masks import SoftMasks


def postprocess(prediction: Prediction, settings: PostprocessSettings) -> Instances:
    """The cells of one image, in falling order of score, by the steps that the settings list.

    Raises:
        InputError: when the settings name a class that the prediction does not know.
    """
    return postprocess_with_report(prediction, settings)[0]


def postprocess_with_report(prediction: Prediction, settings: PostprocessSettings) -> tuple[Instances, dict[str, int]]:
    """The cells of one image, and a report in numbers.

    Returns:
        The cells, in falling order of score, and `detections`, how many cells each step removed (see `run_steps`), and `cells`.

    Raises:
        InputError: when the settings name a class that the prediction does not know.
    """
    candidates, removed = run_steps(Candidates.from_prediction(prediction), settings.steps, settings)
    return candidates.to_instances(), {"detections": len(prediction), **removed, "cells": len(candidates)}


def run_steps(candidates: Candidates, steps: Sequence[StepName], settings: PostprocessSettings) -> tuple[Candidates, dict[str, int]]:
    """Run steps in their order; `settings.steps` plays no part.

    Returns:
        What is left, and by step how many candidates it removed; below 0 where `pieces` split some.

    Raises:
        InputError: when the settings name an unknown class, or a step meets candidates without the masks or probabilities it needs.
    """
    removed: dict[str, int] = {}
    for name, left in trace(candidates, steps, settings):
        removed[name] = len(candidates) - len(left)
        candidates = left
    return candidates, removed


def trace(candidates: Candidates, steps: Sequence[StepName], settings: PostprocessSettings) -> Iterator[tuple[StepName, Candidates]]:
    """Run steps as `run_steps` does: the name of each, and what it leaves; `Candidates.numbers` tell who is who."""
    for name in steps:
        candidates = STEPS[name](candidates, settings)
        yield name, candidates


def survivors(prediction: Prediction, settings: PostprocessSettings) -> NDArray[np.int64]:
    """Which detections are left when the first step comes that needs masks; only theirs need be drawn. No mask is looked at."""
    before = tuple(takewhile(lambda name: name not in NEEDS_MASKS, settings.steps))
    left, _ = run_steps(Candidates.from_prediction(prediction), before, settings)
    return np.sort(left.numbers)


def check_classes(settings: PostprocessSettings, classes: Sequence[str]) -> None:
    """Raise InputError when the settings name a class that is not among `classes`."""
    for field in ("score_thresh", "mask_thresh", "min_area"):
        by_class(getattr(settings, field), classes, f"postprocess.{field}")


def vote(candidates: Candidates, settings: PostprocessSettings) -> Candidates:
    """Give all candidates the class with the largest sum of scores, or with the most of them; of equal ones the first class."""
    if not len(candidates):
        return candidates
    sums = np.bincount(candidates.labels, weights=candidates.scores if settings.vote == "scores" else None)
    return replace(candidates, labels=np.full_like(candidates.labels, np.argmax(sums)))


def screen(candidates: Candidates, settings: PostprocessSettings) -> Candidates:
    """Remove those below the least score of their class."""
    least = by_class(settings.score_thresh, candidates.classes, "postprocess.score_thresh")
    return candidates[np.flatnonzero(candidates.scores >= least[candidates.labels])]


def box_nms(candidates: Candidates, settings: PostprocessSettings) -> Candidates:
    """Of two boxes that overlap much remove the one with the lower score."""
    return candidates[greedy(len(candidates), box_pairs(candidates.boxes, settings.box_nms_iou))]


def paste(candidates: Candidates, settings: PostprocessSettings) -> Candidates:
    """Bring the soft masks, moved by the offset, to full size, threshold them, and remove those without a pixel inside the image."""
    offset = np.asarray(settings.offset, np.float32) / np.float32(candidates.zoom)
    candidates = replace(candidates, boxes=candidates.boxes + np.tile(offset, 2))
    thresholds = by_class(settings.mask_thresh, candidates.classes, "postprocess.mask_thresh")[candidates.labels]
    boxes, crops, quality = soft_masks.to_pixels(candidates.boxes, _soft(candidates), thresholds, candidates.size)
    pasted = replace(candidates, pixels=Pixels(boxes, tuple(crops), quality))
    filled = np.flatnonzero(quality > 0)
    return pasted if len(filled) == len(pasted) else pasted[filled]


def rank(candidates: Candidates, settings: PostprocessSettings) -> Candidates:
    """Multiply the score with the mean mask probability over the mask, and remove those that are below the least score then."""
    return screen(candidates.ranked(candidates.scores * candidates.pasted.quality), settings)


def mask_nms(candidates: Candidates, settings: PostprocessSettings) -> Candidates:
    """Of two masks that overlap much remove the one with the lower score."""
    pixels = candidates.pasted
    return candidates[greedy(len(candidates), mask_pairs(pixels.crops, pixels.boxes, settings.nms_iou))]


def fill_holes(candidates: Candidates, settings: PostprocessSettings) -> Candidates:
    """Fill the holes of each mask."""
    pixels = candidates.pasted
    return replace(candidates, pixels=replace(pixels, crops=tuple(mask_pieces.fill_holes(pixels.crops))))


def overlaps(candidates: Candidates, settings: PostprocessSettings) -> Candidates:
    """Remove those that better ones cover, and give the pixels that are still shared to one, as `settings.overlaps` says."""
    pixels = candidates.pasted
    if settings.overlaps == "keep":
        return candidates
    kept, crops = mask_overlaps.trim(pixels.crops, pixels.boxes, candidates.size, settings.max_covered)
    visible = candidates[kept]
    if settings.overlaps == "probability":
        pixels = visible.pasted
        crops = mask_overlaps.share_out(pixels.crops, pixels.boxes, visible.size, _probabilities(visible))
    return visible if settings.overlaps == "drop" else visible.with_crops(crops)


def pieces(candidates: Candidates, settings: PostprocessSettings) -> Candidates:
    """Leave of each mask its largest piece, or make every piece a cell with the score of the whole, as `settings.pieces` says."""
    crops: Sequence[NDArray[np.bool_]] = candidates.pasted.crops
    if settings.pieces == "largest":
        return candidates.with_crops(mask_pieces.largest_pieces(crops))
    owners, crops = mask_pieces.split_pieces(crops)
    return candidates[owners].with_crops(crops)


def min_area(candidates: Candidates, settings: PostprocessSettings) -> Candidates:
    """Remove those with fewer pixels, at the weights' own scale, than the least area of their class."""
    least = by_class(settings.min_area, candidates.classes, "postprocess.min_area")
    areas = mask_pieces.areas(candidates.pasted.crops) * candidates.zoom**2
    return candidates[np.flatnonzero(areas >= least[candidates.labels])]


def border(candidates: Candidates, settings: PostprocessSettings) -> Candidates:
    """Remove those that touch the edge of the image, so that only whole cells are counted and measured."""
    boxes, (height, width) = candidates.pasted.boxes, candidates.size
    return candidates[np.flatnonzero((boxes[:, :2] > 0).all(axis=1) & (boxes[:, 2:] < (width, height)).all(axis=1))]


STEPS: dict[StepName, Callable[[Candidates, PostprocessSettings], Candidates]] = {
    "vote": vote,
    "screen": screen,
    "box_nms": box_nms,
    "paste": paste,
    "rank": rank,
    "mask_nms": mask_nms,
    "fill_holes": fill_holes,
    "overlaps": overlaps,
    "pieces": pieces,
    "min_area": min_area,
    "border": border,
}


READS: dict[StepName, tuple[str, ...]] = {
    "vote": ("vote",),
    "screen": ("score_thresh",),
    "box_nms": ("box_nms_iou",),
    "paste": ("offset", "mask_thresh"),
    "rank": ("score_thresh",),
    "mask_nms": ("nms_iou",),
    "fill_holes": (),
    "overlaps": ("overlaps", "max_covered"),
    "pieces": ("pieces",),
    "min_area": ("min_area",),
    "border": (),
}
"""The settings that each step depends on: with the same values of these, the same candidates become the same."""

NEEDS_MASKS: tuple[StepName, ...] = tuple(name for name in STEPS if name not in (*ANYWHERE, *BEFORE_PASTE))
"""Steps that look at masks, or make them from their probabilities; all others go by boxes, scores and labels alone."""

SINGLE: tuple[StepName, ...] = ("screen", "paste")
"""Steps that treat each candidate as if there were no other: what they make of one stays right whichever others are screened away."""


def _soft(candidates: Candidates) -> SoftMasks:
    if candidates.soft is None:
        raise InputError(
            "post-processing: found masks without probabilities, such as fused cells, expected raw detections: leave out the step `paste`, "
            "and set postprocess.overlaps to trim, drop or keep"
        )
    return candidates.soft


def _probabilities(candidates: Candidates) -> list[NDArray[np.float32]]:
    """The mask probability at each pixel of each crop."""
    boxes = candidates.pasted.boxes
    probabilities = [np.zeros((0, 0), np.float32)] * len(candidates)
    for chosen, soft in soft_masks.interpolate(candidates.boxes, _soft(candidates), boxes):
        for i, values, (x0, y0, x1, y1) in zip(chosen.tolist(), soft, boxes[chosen].tolist(), strict=True):
            probabilities[i] = values[: y1 - y0, : x1 - x0]
    return probabilities
