"""`map_iou`, the competition's score: the mean of TP / (TP + FP + FN) over IoU thresholds, then over images.

Cells match without regard to class, by mask IoU strictly above the threshold, one to one. At each threshold TP is the size of the
largest possible one-to-one matching. Above .5 and without overlaps inside a set, each cell has at most one partner and that matching is
unique; where cells overlap, the largest matching is the only count that depends neither on the order of cells nor on their scores
(a greedy choice by IoU can lose a pair that another choice keeps).
"""

from collections.abc import Mapping, Sequence
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
FULL_SET_IMAGES = {"shsy5y": 155, "astro": 131, "cort": 320}
"""Images of each cell type in the competition's full training set, to weigh the types as its score does."""

Counts = NDArray[np.int64]


class Result(BaseModel):
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


def compare(pred: Instances, truth: Instances) -> Comparison:
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
    return comparison_counts(compare(pred, truth), thresholds)


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


def image_map_iou(pred: Instances, truth: Instances) -> float:
    """`map_iou` of one image, in [0, 1]: nothing predicted where nothing is gives 1, one of the two empty gives 0."""
    return float(precision(*match_counts(pred, truth)).mean())


class Score(Result):
    """`map_iou` over a set of images.

    Attributes:
        images: number of images.
        value: the mean over thresholds and images, in [0, 1].
        low: lower end of the 95 % bootstrap interval over images.
        high: upper end of it.
        by_threshold: the mean over images at each of `THRESHOLDS`.
    """

    images: int
    value: float
    low: float
    high: float
    by_threshold: tuple[float, ...]


class MapIou(Result):
    """`map_iou` of a set of images, as a whole and by cell type.

    Attributes:
        overall: mean over all images alike.
        by_class: the same over the images of each cell type, in alphabetical order.
        weighted: mean of the cell types' scores weighted by `weights`; None without weights.
        weights: share of each cell type, as given.
        thresholds: the IoU thresholds of every `by_threshold`.
    """

    overall: Score
    by_class: dict[str, Score]
    weighted: Score | None
    weights: dict[str, float] | None
    thresholds: tuple[float, ...] = THRESHOLDS

    @property
    def headline(self) -> Score:
        """The one number: weighted by cell type where it is."""
        return self.weighted or self.overall


def map_iou(
    pairs: Sequence[tuple[Instances, Instances]],
    cell_types: Sequence[str],
    weights: Mapping[str, float] | None = None,
    draws: int = 1000,
    seed: int = 0,
) -> MapIou:
    """Score predictions against truth, image by image.

    Args:
        pairs: (prediction, truth) of each image.
        cell_types: cell type of each image's truth.
        weights: proportions of the cell types in the set that the score shall stand for, such as `FULL_SET_IMAGES`; any scale.
        draws: bootstrap draws of images for the 95 % intervals. Images are drawn within each cell type, as the types' shares are fixed.
        seed: of the bootstrap.

    Raises:
        InputError: without any image, or when `weights` do not name exactly the cell types that there are.
    """
    table = np.array([precision(*match_counts(pred, truth)) for pred, truth in pairs]).reshape(-1, len(THRESHOLDS))
    return summarise(table, cell_types, weights, draws, seed)


def summarise(
    precisions: NDArray[np.float64],
    cell_types: Sequence[str],
    weights: Mapping[str, float] | None = None,
    draws: int = 1000,
    seed: int = 0,
) -> MapIou:
    """`map_iou` from the precision of each image at each of `THRESHOLDS`, float64 (images, T)."""
    if len(precisions) != len(cell_types) or not len(precisions):
        raise InputError(f"map_iou: {len(precisions)} images and {len(cell_types)} cell types: give one of each for at least one image")
    names = sorted(set(cell_types))
    if weights is not None and (sorted(weights) != names or min(weights.values()) <= 0):
        raise InputError(
            f"weights {dict(weights)}: the truth has the cell types {names}: give each of these, and no other, a weight above 0"
        )
    random = np.random.default_rng(seed)
    types = np.asarray(cell_types)
    tables = {name: precisions[types == name] for name in names}
    drawn = {name: _bootstrap_means(table.mean(axis=1), draws, random) for name, table in tables.items()}

    def mixed(shares: Mapping[str, float]) -> Score:
        share = {name: shares[name] / sum(shares.values()) for name in names}
        by_threshold = sum((share[n] * tables[n].mean(axis=0) for n in names), np.zeros(len(THRESHOLDS)))
        return _score(len(precisions), by_threshold, sum((share[n] * drawn[n] for n in names), np.zeros(draws)))

    return MapIou(
        overall=mixed({name: len(table) for name, table in tables.items()}),
        by_class={name: _score(len(table), table.mean(axis=0), drawn[name]) for name, table in tables.items()},
        weighted=None if weights is None else mixed(weights),
        weights=None if weights is None else dict(weights),
    )


def _bootstrap_means(values: NDArray[np.float64], draws: int, random: np.random.Generator) -> NDArray[np.float64]:
    means: NDArray[np.float64] = values[random.integers(len(values), size=(draws, len(values)))].mean(axis=1)
    return means


def _score(images: int, by_threshold: NDArray[np.float64], drawn: NDArray[np.float64]) -> Score:
    low, high = np.quantile(drawn, [0.025, 0.975])
    return Score(
        images=images, value=float(by_threshold.mean()), low=float(low), high=float(high), by_threshold=tuple(map(float, by_threshold))
    )
