"""Predicted and true cells of an image compared: overlaps, one-to-one matches, counts."""

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
    """

    pred: Counts
    truth: Counts
    shared: Counts
    pred_area: Counts
    truth_area: Counts

    @cached_property
    def iou(self) -> NDArray[np.float64]:
        """Mask IoU of each pair (P,), in (0, 1]."""
        ratio: NDArray[np.float64] = self.shared / (self.pred_area[self.pred] + self.truth_area[self.truth] - self.shared)
        return ratio


def compare_cells(pred: Instances, truth: Instances) -> Comparison:
    """Find the overlaps of predicted and true cells of one image.

    Raises:
        InputError: when the two are not of one image size.
    """
    if pred.size != truth.size:
        raise InputError(
            f"prediction of size {pred.size}, truth of size {truth.size} (height, width): both must be of the same image at the same scale"
        )
    crops, boxes = (*pred.masks, *truth.masks), np.concatenate([pred.boxes, truth.boxes])
    first, second = meeting_boxes(boxes)
    across = (first < len(pred)) & (second >= len(pred))
    first, second = first[across], second[across]
    shared = shared_pixels(crops, boxes, first, second)
    return Comparison(first[shared > 0], second[shared > 0] - len(pred), shared[shared > 0], pred.area, truth.area)


def match_counts(pred: Instances, truth: Instances, thresholds: Sequence[float] = THRESHOLDS) -> tuple[Counts, Counts, Counts]:
    """True positives, false positives and false negatives at each IoU threshold; three int64 arrays (T,)."""
    return comparison_counts(compare_cells(pred, truth), thresholds)


def comparison_counts(comparison: Comparison, thresholds: Sequence[float] = THRESHOLDS) -> tuple[Counts, Counts, Counts]:
    """`match_counts` of cells compared before."""
    near = comparison.iou > min(thresholds)
    partners_of = (np.bincount(comparison.pred[near]), np.bincount(comparison.truth[near]))
    if all(counts.max(initial=0) <= 1 for counts in partners_of):  # no choice between partners: every pair is in the matching
        matches = np.count_nonzero(comparison.iou > np.array(thresholds)[:, None], axis=1)
    else:
        matches = np.array([np.count_nonzero(partners(comparison, t) >= 0) for t in thresholds], np.int64)
    return matches, len(comparison.pred_area) - matches, len(comparison.truth_area) - matches


def partners(comparison: Comparison, threshold: float) -> Counts:
    """The true cell that each predicted cell has in a largest one-to-one matching (N,), -1 for those without one."""
    match = comparison.iou > threshold
    edges = (np.ones(np.count_nonzero(match), np.int8), (comparison.pred[match], comparison.truth[match]))
    graph = sparse.csr_array(edges, shape=(len(comparison.pred_area), len(comparison.truth_area)))
    return np.asarray(maximum_bipartite_matching(graph, perm_type="column"), np.int64)


def precision(tp: Counts, fp: Counts, fn: Counts) -> NDArray[np.float64]:
    """TP / (TP + FP + FN); 1 where there is nothing and nothing was predicted."""
    total = tp + fp + fn
    shares: NDArray[np.float64] = np.divide(tp, total, out=np.ones(total.shape), where=total > 0)
    return shares
