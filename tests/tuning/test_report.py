"""How tuning is shown: the verdict, the picture of the response to each threshold."""

import numpy as np
import pytest

from somaseg.config import SegmentSettings
from somaseg.evaluation.map_iou import summarise
from somaseg.tuning.cross_fitting import TuningResult
from somaseg.tuning.report import tuning_table, verdict


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
