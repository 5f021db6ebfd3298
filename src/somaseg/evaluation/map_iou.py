"""`map_iou`, the competition's score: the mean of TP / (TP + FP + FN) over IoU thresholds, then over images.

Cells match without regard to class, by mask IoU strictly above the threshold, one to one. At each threshold TP is the size of the
largest possible one-to-one matching. Above .5 and without overlaps inside a set, each cell has at most one partner and that matching is
unique; where cells overlap, the largest matching is the only count that depends neither on the order of cells nor on their scores
(a greedy choice by IoU can lose a pair that another choice keeps).
"""

from collections.abc import Collection, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from somaseg.config import EvaluationSettings
from somaseg.errors import InputError
from somaseg.evaluation.matching import THRESHOLDS, Pair, Record, match_counts, pair_counts, precision
from somaseg.instances import Instances


def image_map_iou(pred: Instances, truth: Instances, ignored: Instances | None = None) -> float:
    """`map_iou` of one image, in [0, 1]: nothing predicted where nothing is gives 1, one of the two empty gives 0."""
    return float(precision(*match_counts(pred, truth, ignored=ignored)).mean())


class Score(Record):
    """`map_iou` over a set of images.

    Attributes:
        images: number of images.
        value: the mean over thresholds and images, in [0, 1].
        low: lower end of the 95 % bootstrap interval over images; None where no cell type has two images to draw from, so that nothing
            is known of the spread.
        high: upper end of it, or None.
        by_threshold: the mean over images at each of `THRESHOLDS`.
    """

    images: int
    value: float
    low: float | None
    high: float | None
    by_threshold: tuple[float, ...]

    @property
    def sign(self) -> int:
        """1 or -1 where the whole interval lies above or below 0, else 0; of a difference the one that is more than chance."""
        if self.low is None or self.high is None:
            return 0
        return int(self.low > 0) - int(self.high < 0)


class MapIou(Record):
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
    pairs: Sequence[Pair],
    cell_types: Sequence[str],
    weights: Mapping[str, float] | None = None,
    draws: int = 1000,
    seed: int = 0,
) -> MapIou:
    """Score predictions against truth, image by image.

    Args:
        pairs: (prediction, truth) or (prediction, truth, ignored regions) of each image; see `matching` for what these do.
        cell_types: cell type of each image's truth.
        weights: proportions of the cell types in the set that the score shall stand for, see `EvaluationSettings`.
        draws: bootstrap draws of images for the 95 % intervals. Images are drawn within each cell type, as the types' shares are fixed;
            where none has two of them there is no interval.
        seed: of the bootstrap.

    Raises:
        InputError: without any image, or when `weights` do not name exactly the cell types that there are.
    """
    table = np.array([precision(*pair_counts(pair)) for pair in pairs]).reshape(-1, len(THRESHOLDS))
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
        spread = sum((share[n] * drawn[n] for n in names), np.zeros(draws)) if len(precisions) > len(names) else None
        return _score(len(precisions), by_threshold, spread)

    return MapIou(
        overall=mixed({name: len(table) for name, table in tables.items()}),
        by_class={name: _score(len(table), table.mean(axis=0), drawn[name] if len(table) > 1 else None) for name, table in tables.items()},
        weighted=None if weights is None else mixed(weights),
        weights=None if weights is None else dict(weights),
    )


def present_weights(weights: Mapping[str, float], cell_types: Collection[str]) -> dict[str, float] | None:
    """The weights of those types that some images are of, as `map_iou` takes them; None where there are no weights."""
    return {name: weights[name] for name in sorted(set(cell_types))} if weights else None


def check_type_weights(settings: EvaluationSettings, cell_types: Collection[str], classes: Collection[str], source: str) -> None:
    """Refuse weights of the cell types that do not fit the images.

    Args:
        settings: with the weights, or none.
        cell_types: of the images.
        classes: of the model; they may be named though no image is of them.
        source: where the images come from, for the message.

    Raises:
        InputError: when one of the types has no weight, or the weights name another.
    """
    weights, there = settings.type_weights, sorted(set(cell_types))
    if weights and (set(there) - weights.keys() or weights.keys() - {*there, *classes}):
        raise InputError(
            f"evaluation.type_weights: found {weights}, the images of {source} are of the cell types {', '.join(there)}: "
            "give each of these a weight, and no other, or none at all (--set evaluation.type_weights={})"
        )


def _bootstrap_means(values: NDArray[np.float64], draws: int, random: np.random.Generator) -> NDArray[np.float64]:
    means: NDArray[np.float64] = values[random.integers(len(values), size=(draws, len(values)))].mean(axis=1)
    return means


def _score(images: int, by_threshold: NDArray[np.float64], drawn: NDArray[np.float64] | None) -> Score:
    low, high = (None, None) if drawn is None else map(float, np.quantile(drawn, [0.025, 0.975]))
    return Score(images=images, value=float(by_threshold.mean()), low=low, high=high, by_threshold=tuple(map(float, by_threshold)))
