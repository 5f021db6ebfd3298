"""How tuning is shown: the verdict, the picture of the response to each threshold."""

import numpy as np
import pytest

from jitter import CLASSES, culture
from somaseg.config import PostprocessSettings, SegmentSettings, TuneRunSettings
from somaseg.evaluation.map_iou import summarise
from somaseg.tuning.cross_fitting import Tuning, TuningResult, tune
from somaseg.tuning.report import response_figure, tuning_table, verdict
from somaseg.tuning.search import Studies
from somaseg.tuning.thresholds import with_values
from somaseg.tuning.trials import Case


def result(gains, cell_types) -> TuningResult:
    """Images that score .3 before."""
    before = np.full((len(gains), 10), 0.3)
    after = before + np.array(gains)[:, None]
    return TuningResult(
        images=len(gains), start=summarise(before, cell_types), cross_fitted=summarise(after, cell_types),
        gain=summarise(after - before, cell_types), before={}, chosen={}, by_fold=(), settings=SegmentSettings(),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("gains", "cell_types", "words"),
    [
        ([0.1] * 10, "a" * 10, "The gain is outside the noise."),
        ([0.2, -0.2] * 5, "a" * 10, "The gain is inside the noise"),
        ([-0.1] * 10, "a" * 10, "Tuning made it worse"),
        ([0.1] * 9, "a" * 9, "too few images to tell a gain from noise: give 10 or more"),
        ([0.1] * 10, "abcdefghij", "No cell type has two images, so that nothing tells a gain from noise."),
    ],
)
def test_the_verdict(gains, cell_types, words):
    tuned = result(gains, list(cell_types))
    assert words in verdict(tuned)
    assert tuned.is_sure == (words == "The gain is outside the noise.")


def test_a_type_of_one_image_has_no_interval():
    tuned = result([0.1, 0.2, 0.2], ["a", "b", "b"])
    assert list(tuning_table(tuned).columns[4].cells) == ["+0.1000 [one image]", "+0.2000 [+0.2000, +0.2000]"]


THRESHOLDS = PostprocessSettings(score_thresh={"default": 0.85}, min_area={"default": 20})
BAD_START, SETTINGS = SegmentSettings(postprocess=THRESHOLDS), TuneRunSettings(postprocess=THRESHOLDS)
COUNT = 12


def cases():
    return [Case(f"i{n}", (culture(n, n % 2)[0],), culture(n, n % 2)[1], CLASSES[n % 2]) for n in range(COUNT)]


def test_few_images_are_no_proof():
    tuned, _ = tune(Tuning(cases()[:4], np.array([0, 0, 1, 1]), BAD_START, 6, 0), Studies(None, {}), processes=1)
    assert tuned.gain.overall.low > 0
    assert not tuned.is_sure
    assert "too few images to tell a gain from noise: give 10 or more" in verdict(tuned)


def test_the_picture_has_a_panel_a_threshold():
    _, found = tune(Tuning(cases(), np.arange(COUNT) % 2, BAD_START, 6, 0), Studies(None, {}), processes=1)
    written = with_values(BAD_START, found.tuned, found.chosen.values | {"postprocess.score_thresh.small": 0.5})
    figure = response_figure(found, written)
    shown = [axes for axes in figure.axes if axes.get_visible()]
    assert [axes.get_xlabel() for axes in shown] == ["nms_iou", "max_covered", *("score_thresh", "mask_thresh", "min_area") * 2]
    trials, best, start, chosen, held = shown[2].lines
    assert trials.get_xdata().tolist() == [trial.values["postprocess.score_thresh.small"] for trial in found.trials]
    assert trials.get_ydata().tolist() == [trial.by_class["small"] for trial in found.trials]
    assert max(best.get_ydata()) == max(trials.get_ydata())
    assert start.get_xdata() == [0.85, 0.85]
    assert chosen.get_xdata() == [found.chosen.values["postprocess.score_thresh.small"]] * 2
    held_by_panel = [axes.lines[4].get_xdata()[0] for axes in shown]
    assert (held.get_xdata()[0], held.get_label()) == (0.5, "in the settings file")
    assert held_by_panel == pytest.approx([threshold.value_in(written) for threshold in found.tuned])
