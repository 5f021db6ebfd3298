"""Choose thresholds on images with truth, and score them on images that they were not chosen on."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from somaseg.config import SegmentSettings
from somaseg.evaluation.map_iou import MapIou, present_weights, summarise
from somaseg.evaluation.matching import Record
from somaseg.tuning.search import Search, Studies, Study, Values, class_means
from somaseg.tuning.thresholds import Threshold, Trial, thresholds, with_values
from somaseg.tuning.trials import Case, Scorer

FEWEST_IMAGES = 10
"""With fewer images an interval from drawing them again and again is too narrow to tell anything."""


@dataclass(frozen=True, eq=False)
class Tuning:
    """What tuning is done on, and how.

    Attributes:
        cases: the images.
        folds: of each image (n,), from 0.
        start: the settings to begin with.
        trials: of each search.
        seed: of the searches.
        type_weights: of the score, see `EvaluationSettings`.
    """

    cases: Sequence[Case]
    folds: NDArray[np.int64]
    start: SegmentSettings
    trials: int
    seed: int
    type_weights: Mapping[str, float] = field(default_factory=dict)

    @property
    def models(self) -> int:
        """How many models' predictions there are of each image."""
        return len(self.cases[0].predictions)

    @property
    def cell_types(self) -> list[str]:
        """The cell type of each image."""
        return [case.cell_type for case in self.cases]


class TuningResult(Record):
    """What tuning found.

    Attributes:
        images: how many there are.
        start: score of the settings to begin with, on all images.
        cross_fitted: score of each fold's images with the settings that were chosen on the other folds.
        gain: the second less the first, image by image.
        before: the settings to begin with, by the thresholds' names.
        chosen: those chosen on all images; no score is claimed for them.
        by_fold: those chosen without the images of each fold.
        settings: all settings with the chosen ones.
    """

    images: int
    start: MapIou
    cross_fitted: MapIou
    gain: MapIou
    before: dict[str, float]
    chosen: dict[str, float]
    by_fold: tuple[dict[str, float], ...]
    settings: SegmentSettings

    @property
    def is_sure(self) -> bool:
        """Whether the 95 % interval of the gain lies above 0, and there are enough images for one."""
        return self.images >= FEWEST_IMAGES and self.gain.headline.sign > 0


@dataclass(frozen=True)
class SearchResult:
    """What a search found.

    Attributes:
        tuned: the thresholds.
        trials: all that was tried.
        chosen: the values that were chosen, and their scores.
        settings: all settings with these values.
    """

    tuned: tuple[Threshold, ...]
    trials: tuple[Trial, ...]
    chosen: Trial
    settings: SegmentSettings


def image_weights(cell_types: Sequence[str], type_weights: Mapping[str, float]) -> NDArray[np.float64]:
    """Weight of each image's score (n,), with sum 1, so that their sum is the headline of `summarise`; without weights of types alike."""
    shares = present_weights(type_weights, cell_types) or {name: cell_types.count(name) for name in set(cell_types)}
    weights: NDArray[np.float64] = np.array([shares[name] / cell_types.count(name) for name in cell_types], np.float64)
    weights /= weights.sum()
    return weights


def choose(tuning: Tuning, images: Sequence[int], scorer: Scorer, study: Study, done: Callable[[], None] = lambda: None) -> SearchResult:
    """Search for the thresholds that score best on some of the images.

    Args:
        tuning: all images.
        images: numbers of those to choose on.
        scorer: of all images.
        study: where trials are kept, those of an earlier run among them.
        done: called after each trial.
    """
    tuned = space(tuning, images)
    types = [tuning.cases[i].cell_type for i in images]
    weights = image_weights(types, tuning.type_weights)

    def score(values: Values) -> tuple[float, dict[str, float]]:
        scores = scorer.scores(with_values(tuning.start, tuned, values), images)
        return float(weights @ scores), class_means(scores, types, tuned)

    search = Search(study, tuned, tuning.seed)
    chosen = search.run(score, tuning.trials, done)
    return SearchResult(tuned, tuple(search.trials[: tuning.trials]), chosen, with_values(tuning.start, tuned, chosen.values))


def space(tuning: Tuning, images: Sequence[int]) -> tuple[Threshold, ...]:
    """The thresholds to choose on some of the images: by class for those whose cells they show."""
    known = tuning.cases[0].predictions[0].classes
    cases = [tuning.cases[i] for i in images if len(tuning.cases[i].truth)]
    areas = {name: [case.truth.area * case.predictions[0].zoom ** 2 for case in cases if case.cell_type == name] for name in known}
    return thresholds(tuning.start, tuning.models, {name: float(np.median(np.concatenate(own))) for name, own in areas.items() if own})


def scorer_of(tuning: Tuning, processes: int | None = None) -> Scorer:
    """The scorer of all images, ready for any thresholds that a search may try; see `Scorer`."""
    lowest = {t.cell_type: t.low for t in space(tuning, range(len(tuning.cases))) if t.field == "score_thresh" and t.cell_type}
    return Scorer(tuning.cases, tuning.start, tuning.start.postprocess.score_thresh | lowest, processes)


def tune(
    tuning: Tuning, studies: Studies, processes: int | None = None, console: Console | None = None
) -> tuple[TuningResult, SearchResult]:
    """Choose thresholds without each fold and score them on it, then choose them on all images.

    Args:
        tuning: images, folds, settings to start from.
        studies: where the trials are kept.
        processes: among which the images are shared out, see `Scorer`.
        console: where to show a progress bar; None shows none.

    Returns:
        What was found, and the search on all images.
    """
    every, folds = range(len(tuning.cases)), sorted(set(tuning.folds.tolist()))
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with scorer_of(tuning, processes) as scorer, Progress(*columns, console=console, disable=console is None) as bar:

        def search(images: Sequence[int], name: str) -> SearchResult:
            study = studies.open(name)
            task = bar.add_task(name, total=tuning.trials, completed=min(len(study.trials), tuning.trials))
            return choose(tuning, images, scorer, study, lambda: bar.advance(task))

        before = scorer.precisions(tuning.start, every)
        after, by_fold = np.zeros_like(before), []
        for fold in folds:
            found = search(np.flatnonzero(tuning.folds != fold).tolist(), f"without fold {fold}")
            held_out = np.flatnonzero(tuning.folds == fold).tolist()
            after[held_out] = scorer.precisions(found.settings, held_out)
            by_fold.append(found.chosen.values)
        found = search(every, "all images")
    types = tuning.cell_types
    weights = present_weights(tuning.type_weights, types)
    tuned = TuningResult(
        images=len(types),
        start=summarise(before, types, weights),
        cross_fitted=summarise(after, types, weights),
        gain=summarise(after - before, types, weights),
        before={t.name: t.start for t in found.tuned},
        chosen=found.chosen.values,
        by_fold=tuple(by_fold),
        settings=found.settings,
    )
    return tuned, found
