"""Score a way from predictions to cells on images that its thresholds were not chosen on (shared by the scripts beside it)."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from somaseg.config import PostprocessSettings
from somaseg.data.samples import Sample
from somaseg.data.splits import make_folds
from somaseg.instances import Instances, Prediction
from somaseg.metrics import THRESHOLDS, match_counts, precision

GRID = {
    "score_thresh": np.round(np.arange(0.1, 0.71, 0.05), 2).tolist(),
    "mask_thresh": [0.35, 0.4, 0.45, 0.5, 0.55],
    "min_area": [0.0, 30.0, 45.0, 60.0, 80.0, 100.0, 130.0, 160.0],
}
Case = tuple[Sequence[Prediction], Sample]
"""The predictions of one image, one a model, and its truth."""
Way = Callable[[Sequence[Prediction], PostprocessSettings], Instances]
"""From the predictions of one image to its cells."""


def precisions(cases: Sequence[Case], way: Way, settings: PostprocessSettings) -> NDArray[np.float64]:
    """TP / (TP + FP + FN) of each image at each threshold (images, T)."""
    table = [precision(*match_counts(way(predictions, settings), sample.instances)) for predictions, sample in cases]
    return np.array(table).reshape(-1, len(THRESHOLDS))


def choose(
    cases: Sequence[Case], way: Way, settings: PostprocessSettings, fields: Sequence[str] = tuple(GRID), rounds: int = 2
) -> PostprocessSettings:
    """Thresholds by class that score best on these images, by coordinate descent on `map_iou` of each cell type.

    Of one field alone there is nothing to come back to, so it takes one round.
    """
    for cell_type in sorted(set(cell_types(cases))):
        own = [case for case in cases if case[1].cell_type == cell_type]
        for field in tuple(fields) * (rounds if len(fields) > 1 else 1):
            tried = [(precisions(own, way, _with_class(settings, field, cell_type, value)).mean(), value) for value in GRID[field]]
            settings = _with_class(settings, field, cell_type, max(tried)[1])
    return settings


def cross_fitted(
    cases: Sequence[Case], fit: Callable[[Sequence[Case]], Way], start: PostprocessSettings, fields: Sequence[str] = tuple(GRID)
) -> NDArray[np.float64]:
    """`precisions` (images, T) in the order of the cases, with all that is chosen chosen on the other half of the fields of view.

    Args:
        cases: predictions and truth by image.
        fit: the way that some cases suggest; it may choose what is not a threshold of post-processing.
        start: thresholds to start from.
        fields: which thresholds are chosen.
    """
    halves = np.array(halved(cases))
    table = np.zeros((len(cases), len(THRESHOLDS)))
    for half in (0, 1):
        seen = [cases[i] for i in np.flatnonzero(halves == half)]
        unseen = [cases[i] for i in np.flatnonzero(halves != half)]
        way = fit(seen)
        table[halves != half] = precisions(unseen, way, choose(seen, way, start, fields))
    return table


def halved(cases: Sequence[Case]) -> list[int]:
    """0 or 1 for each case, one for each field of view, cell types parted evenly."""
    halves = make_folds([sample for _, sample in cases], 2, seed=1)
    return [halves[sample.name] for _, sample in cases]


def cell_types(cases: Sequence[Case]) -> list[str]:
    """The cell type of each case."""
    return [sample.cell_type or "" for _, sample in cases]


def _with_class(settings: PostprocessSettings, field: str, cell_type: str, value: float) -> PostprocessSettings:
    return settings.model_copy(update={field: getattr(settings, field) | {cell_type: value}})
