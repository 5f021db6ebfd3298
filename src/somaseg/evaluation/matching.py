"""Predicted and true cells of an image compared: overlaps, one-to-one matches, counts.

Ignored regions (crowds) are neither cell nor background, by COCO's rule: at an IoU threshold t a prediction that has no true cell is
left out, and is no false alarm, when one ignored region holds the share t of the prediction's own pixels or more. True cells count
wherever they lie. Of the largest matchings one counts that leaves fewest false alarms, so the order of cells plays no part.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict
from scipy import sparse
from scipy.sparse.csgraph import maximum_bipartite_matching

from somaseg.errors import InputError
from somaseg.instances import Instances
from somaseg.masks.pairs import meeting_boxes, shared_pixels

Pair = tuple[Instances, Instances] | tuple[Instances, Instances, Instances]
"""The predicted and the true cells of an image, and its ignored regions where there are any."""


THRESHOLDS = (0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)


Counts = NDArray[np.int64]


class Record(BaseModel):
    """A result that cannot be changed and writes itself as JSON (`model_dump_json`)."""

    model_config = ConfigDict(frozen=True, extra="forbid")


@dataclass(frozen=True, eq=False)
class Comparison:
    """Predicted and true cells of one image, compared once for all scores: the P pairs that share any pixel.

    Attributes:
        pred: index of each pair's predicted cell (P,).
        truth: index of each pair's true cell (P,).
        shared: pixels that the two share (P,), above 0.
        pred_area: pixels of each predicted cell (N,).
        truth_area: pixels of each true cell (M,).
        in_ignored: the largest share of each predicted cell's pixels that one ignored region holds (N,), in [0, 1].
    """

    pred: Counts
    truth: Counts
    shared: Counts
    pred_area: Counts
    truth_area: Counts
    in_ignored: NDArray[np.float64]

    @cached_property
    def iou(self) -> NDArray[np.float64]:
        """Mask IoU of each pair (P,), in (0, 1]."""
        ratio: NDArray[np.float64] = self.shared / (self.pred_area[self.pred] + self.truth_area[self.truth] - self.shared)
        return ratio

    def excused(self, threshold: float) -> NDArray[np.bool_]:
        """Which predicted cells (N,) are no false alarms at an IoU threshold, since they lie in an ignored region."""
        return (self.in_ignored >= threshold) & (self.in_ignored > 0)


def compare_cells(pred: Instances, truth: Instances, ignored: Instances | None = None) -> Comparison:
    """Find the overlaps of predicted and true cells of one image, and how far predicted ones lie in ignored regions.

    Raises:
        InputError: when the two are not of one image size.
    """
    if pred.size != truth.size:
        raise InputError(
            f"prediction of size {pred.size}, truth of size {truth.size} (height, width): both must be of the same image at the same scale"
        )
    in_ignored = np.zeros(len(pred))
    if ignored is not None and len(ignored):
        inside, _, pixels = _overlaps(pred, ignored)
        np.maximum.at(in_ignored, inside, pixels / pred.area[inside])
    return Comparison(*_overlaps(pred, truth), pred.area, truth.area, in_ignored)


def _overlaps(pred: Instances, other: Instances) -> tuple[Counts, Counts, Counts]:
    """The pairs of a predicted and another cell that share pixels (P,), and how many."""
    crops, boxes = (*pred.masks, *other.masks), np.concatenate([pred.boxes, other.boxes])
    first, second = meeting_boxes(boxes)
    across = (first < len(pred)) & (second >= len(pred))
    first, second = first[across], second[across]
    shared = shared_pixels(crops, boxes, first, second)
    return first[shared > 0], second[shared > 0] - len(pred), shared[shared > 0]


def match_counts(
    pred: Instances, truth: Instances, thresholds: Sequence[float] = THRESHOLDS, ignored: Instances | None = None
) -> tuple[Counts, Counts, Counts]:
    """True positives, false positives and false negatives at each IoU threshold; three int64 arrays (T,)."""
    return comparison_counts(compare_cells(pred, truth, ignored), thresholds)


def pair_counts(pair: Pair) -> tuple[Counts, Counts, Counts]:
    """`match_counts` of a `Pair` at `THRESHOLDS`."""
    return match_counts(pair[0], pair[1], ignored=pair[2] if len(pair) == 3 else None)


def comparison_counts(comparison: Comparison, thresholds: Sequence[float] = THRESHOLDS) -> tuple[Counts, Counts, Counts]:
    """`match_counts` of cells compared before."""
    near = comparison.iou > min(thresholds)
    partners_of = (np.bincount(comparison.pred[near]), np.bincount(comparison.truth[near]))
    if all(counts.max(initial=0) <= 1 for counts in partners_of):  # no choice between partners: every pair is in the matching
        matches = np.count_nonzero(comparison.iou > np.array(thresholds)[:, None], axis=1)
    else:
        matches = np.array([np.count_nonzero(partners(comparison, t) >= 0) for t in thresholds], np.int64)
    false_alarms = len(comparison.pred_area) - matches
    if comparison.in_ignored.any():
        false_alarms = np.array([_false_alarms(comparison, t) for t in thresholds], np.int64)
    return matches, false_alarms, len(comparison.truth_area) - matches


def _false_alarms(comparison: Comparison, threshold: float) -> int:
    """The fewest cells outside ignored regions that a largest matching leaves alone.

    Whatever cells a matching holds, a largest one holds them too, with other partners; so as many as can be matched among themselves.
    """
    counted = ~comparison.excused(threshold)
    return int(np.count_nonzero(counted)) - int(np.count_nonzero(partners(comparison, threshold, counted) >= 0))


def partners(comparison: Comparison, threshold: float, chosen: NDArray[np.bool_] | None = None) -> Counts:
    """The true cell that each predicted cell has in a largest one-to-one matching (N,), -1 for those without one.

    Args:
        comparison: of the cells.
        threshold: of the IoU, which must be above it.
        chosen: which predicted cells take part (N,); all without it.
    """
    match = comparison.iou > threshold
    if chosen is not None:
        match &= chosen[comparison.pred]
    edges = (np.ones(np.count_nonzero(match), np.int8), (comparison.pred[match], comparison.truth[match]))
    graph = sparse.csr_array(edges, shape=(len(comparison.pred_area), len(comparison.truth_area)))
    return np.asarray(maximum_bipartite_matching(graph, perm_type="column"), np.int64)


def precision(tp: Counts, fp: Counts, fn: Counts) -> NDArray[np.float64]:
    """TP / (TP + FP + FN); 1 where there is nothing and nothing was predicted."""
    total = tp + fp + fn
    shares: NDArray[np.float64] = np.divide(tp, total, out=np.ones(total.shape), where=total > 0)
    return shares
