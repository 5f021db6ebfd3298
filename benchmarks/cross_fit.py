"""Score settings on images that their thresholds were not chosen on (shared by the scripts beside it)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from full_set import FULL_SET_IMAGES
from somaseg.annotations.samples import Sample
from somaseg.config import SegmentSettings
from somaseg.data.splits import make_folds
from somaseg.evaluation.matching import THRESHOLDS
from somaseg.tuning.cross_fitting import image_weights
from somaseg.tuning.trials import Case, Scorer

GRID = {
    "score_thresh": np.round(np.arange(0.1, 0.71, 0.05), 2).tolist(),
    "mask_thresh": [0.35, 0.4, 0.45, 0.5, 0.55],
    "min_area": [0.0, 30.0, 45.0, 60.0, 80.0, 100.0, 130.0, 160.0],
}
ROUNDS = 2
"""Of coordinate descent."""
Images = NDArray[np.int64]
"""Numbers of images."""


@dataclass(frozen=True, eq=False)
class CrossFitted:
    """Scores of images, each with thresholds that were chosen on the images of the other half.

    Attributes:
        precisions: TP / (TP + FP + FN) of each image at each IoU threshold (images, T).
        settings: those that the images of half 0 are scored with, chosen on half 1, and those of half 1.
    """

    precisions: NDArray[np.float64]
    settings: tuple[SegmentSettings, SegmentSettings]


def scorer_of(cases: Sequence[Case], settings: SegmentSettings) -> Scorer:
    """The scorer of these images for any thresholds of the grid; in this process."""
    return Scorer(cases, settings, {"default": min(GRID["score_thresh"])}, processes=1)


def choose(
    scorer: Scorer,
    cases: Sequence[Case],
    images: Images,
    settings: SegmentSettings,
    fields: Sequence[str] = tuple(GRID),
    by_class: bool = True,
) -> SegmentSettings:
    """Thresholds that score best on some of the images, by coordinate descent on `map_iou`.

    Of one field alone there is nothing to come back to, so it takes one round.

    Args:
        scorer: of all images.
        cases: all images.
        images: numbers of those to choose on.
        settings: to start from.
        fields: which thresholds of post-processing are chosen.
        by_class: whether each cell type has thresholds of its own, or one value serves all, in the proportions of the full set.
    """
    types = {int(i): cases[i].cell_type for i in images}
    for cell_type in sorted(set(types.values())) if by_class else ["default"]:
        own = [i for i, name in types.items() if not by_class or name == cell_type]
        weights = image_weights([types[i] for i in own], FULL_SET_IMAGES)
        for field in tuple(fields) * (ROUNDS if len(fields) > 1 else 1):
            tried = [_with_value(settings, field, cell_type, value) for value in GRID[field]]
            scores = [float(weights @ scorer.scores(one, own)) for one in tried]
            settings = max(zip(scores, GRID[field], tried, strict=True), key=lambda found: found[:2])[2]
    return settings


def cross_fitted(
    cases: Sequence[Case],
    halves: NDArray[np.int64],
    fit: Callable[[Images], SegmentSettings],
    fields: Sequence[str] = tuple(GRID),
    by_class: bool = True,
) -> CrossFitted:
    """Score each half of the images with what is chosen on the other.

    Args:
        cases: the images.
        halves: 0 or 1 for each of them (images,).
        fit: the settings to start from that some images suggest; it may choose what is not a threshold of post-processing.
        fields: see `choose`.
        by_class: see `choose`.
    """
    table, chosen = np.zeros((len(cases), len(THRESHOLDS))), []
    for half in (0, 1):
        unseen, seen = np.flatnonzero(halves == half), np.flatnonzero(halves != half)
        start = fit(seen)
        with scorer_of(cases, start) as scorer:
            chosen.append(choose(scorer, cases, seen, start, fields, by_class))
            table[unseen] = scorer.precisions(chosen[half], unseen.tolist())
    return CrossFitted(table, (chosen[0], chosen[1]))


def halved(samples: Sequence[Sample]) -> NDArray[np.int64]:
    """0 or 1 for each image, one for each field of view, cell types parted evenly."""
    halves = make_folds(samples, 2, seed=1)
    return np.array([halves[sample.name] for sample in samples])


def _with_value(settings: SegmentSettings, field: str, cell_type: str, value: float) -> SegmentSettings:
    own = settings.postprocess
    changed = own.model_copy(update={field: getattr(own, field) | {cell_type: value}})
    return settings.model_copy(update={"postprocess": changed})
