"""Thresholds chosen on the other folds and scored on this one."""

from dataclasses import replace

import numpy as np
import pytest

from jitter import CLASSES, culture
from somaseg.config import PostprocessSettings, SegmentSettings, TuneRunSettings
from somaseg.evaluation.map_iou import present_weights, summarise
from somaseg.tuning.cross_fitting import Tuning, image_weights, tune
from somaseg.tuning.search import Studies
from somaseg.tuning.trials import Case

THRESHOLDS = PostprocessSettings(score_thresh={"default": 0.85}, min_area={"default": 20})
BAD_START, SETTINGS = SegmentSettings(postprocess=THRESHOLDS), TuneRunSettings(postprocess=THRESHOLDS)
COUNT = 12


def cases():
    return [Case(f"i{n}", (culture(n, n % 2)[0],), culture(n, n % 2)[1], CLASSES[n % 2]) for n in range(COUNT)]


def test_each_fold_is_scored_with_thresholds_chosen_without_it():
    tuning = Tuning(cases(), np.arange(COUNT) // 2 % 3, BAD_START, trials=12, seed=0)
    tuned, found = tune(tuning, Studies(None, {}), processes=1)
    assert len(tuned.by_fold) == 3
    # Other truth on a fold changes nothing of what is chosen without it.
    swapped = [replace(case, truth=case.truth[:1]) if fold == 1 else case for case, fold in zip(tuning.cases, tuning.folds, strict=True)]
    other, _ = tune(replace(tuning, cases=swapped), Studies(None, {}), processes=1)
    assert other.by_fold[1] == tuned.by_fold[1]
    assert other.by_fold[0] != tuned.by_fold[0]
    assert other.cross_fitted.overall.value != tuned.cross_fitted.overall.value
    assert tuned.gain.overall.value == pytest.approx(tuned.cross_fitted.overall.value - tuned.start.overall.value)
    assert found.chosen.score >= found.trials[0].score == pytest.approx(tuned.start.overall.value)
    assert found.settings.postprocess.score_thresh.keys() == {"default", *CLASSES}


@pytest.mark.parametrize("mix", [{}, {"astro": 131, "cort": 320, "shsy5y": 155}])
@pytest.mark.parametrize("types", [["astro", "cort", "cort", "shsy5y"], ["cort", "astro", "cort"]])
def test_what_is_maximised_is_what_is_reported(types, mix):
    table = np.random.default_rng(0).random((len(types), 10))
    score = summarise(table, types, present_weights(mix, types))
    assert image_weights(types, mix) @ table.mean(axis=1) == pytest.approx(score.headline.value)
    assert (score.headline == score.overall) == (not mix)  # no name of a class is weighed unasked
