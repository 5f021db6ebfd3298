"""Which images crops show, and the weight of pseudo-labelled ones."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from somaseg.annotations.samples import UNKNOWN_TYPE, Sample
from somaseg.config import PseudoTrainSettings, TrainSettings
from somaseg.errors import InputError
from somaseg.instances import Instances
from somaseg.training.draws import Draws, pseudo_weight

CLASSES = ("round", "long")
SHARES = st.tuples(st.floats(0, 1), st.floats(0, 1)).map(sorted)


def sample(name, cell_type, source="manual"):
    return Sample(Path(name), Instances.empty((8, 8), CLASSES), name, cell_type=cell_type, source=source)


ANNOTATED = [sample("a", "round"), sample("b", "long"), sample("c", "round")]
PSEUDO = [sample("p", "long", "pseudo"), sample("q", "long", "pseudo")]


def drawn(samples, step, count=200, **settings):
    """What many crops of a step show and count."""
    draws = Draws(samples, CLASSES, TrainSettings(steps=100, **settings))
    return [draws.draw(step, np.random.default_rng(seed)) for seed in range(count)]


def test_the_weight_of_pseudo_labels_rises_in_a_line():
    settings = PseudoTrainSettings()
    found = [pseudo_weight(settings, step, 100) for step in (0, 59, 60, 61, 75, 89, 90, 99)]
    assert found == pytest.approx([0, 0, 0, 0.1, 1.5, 2.9, 3, 3])


@pytest.mark.parametrize(("start", "full", "expected"), [(0, 0, [2, 2, 2, 2]), (0.5, 0.5, [0, 0, 2, 2]), (0, 1, [0, 0.5, 1, 1.5])])
def test_ramps_without_a_slope_and_over_the_whole_run(start, full, expected):
    settings = PseudoTrainSettings(weight=2, start=start, full=full)
    assert [pseudo_weight(settings, step, 4) for step in range(4)] == expected


@given(SHARES, st.integers(1, 50))
def test_the_weight_never_falls(shares, steps):
    weights = [pseudo_weight(PseudoTrainSettings(weight=3, start=shares[0], full=shares[1]), step, steps) for step in range(steps + 1)]
    assert weights == sorted(weights)
    assert min(weights) >= 0
    assert weights[-1] == 3


def test_pseudo_labelled_images_are_drawn_with_their_share_once_they_count():
    samples = [*PSEUDO, *ANNOTATED]
    assert drawn(samples, 60) == [(t, number + 2, weight) for t, number, weight in drawn(ANNOTATED, 60)]
    late = drawn(samples, 75)
    pseudo = [draw for draw in late if draw[1] < 2]
    assert set(pseudo) == {("long", 0, 1.5), ("long", 1, 1.5)}
    assert 80 <= len(pseudo) <= 120
    assert {draw for draw in late if draw not in pseudo} == {("round", 2, 1.0), ("long", 3, 1.0), ("round", 4, 1.0)}


@pytest.mark.parametrize(
    "settings", [{"pseudo": PseudoTrainSettings(share=0)}, {"pseudo": PseudoTrainSettings(weight=0)}, {"type_weights": {"long": 0.0}}]
)
def test_pseudo_labelled_images_that_are_not_wanted(settings):
    assert {weight for _, _, weight in drawn([*ANNOTATED, *PSEUDO], 99, **settings)} == {1.0}


def test_types_are_weighed_among_pseudo_labelled_images_too():
    pseudo = [*PSEUDO, sample("r", "round", "pseudo")]
    draws = Draws([*ANNOTATED, *pseudo], CLASSES, TrainSettings(type_weights={"long": 3.0}))
    assert draws.pseudo.chances.tolist() == [0.75, 0.25]
    assert Draws([*ANNOTATED, *pseudo], CLASSES, TrainSettings(draw="images")).pseudo.chances.tolist() == pytest.approx([2 / 3, 1 / 3])


def test_pseudo_labels_alone_are_not_enough():
    with pytest.raises(InputError, match="no image that a person annotated is left to learn from"):
        Draws(PSEUDO, CLASSES, TrainSettings())
    with pytest.raises(InputError, match=r"train\.type_weights: found .* the cell types are round, long"):
        Draws([ANNOTATED[0], PSEUDO[0]], CLASSES, TrainSettings(type_weights={"round": 0.0}))


def test_images_without_a_type_are_drawn_as_one():
    draws = Draws([*ANNOTATED, sample("d", None), sample("e", None)], CLASSES, TrainSettings(type_weights={UNKNOWN_TYPE: 2.0}))
    assert draws.annotated.of_type == {UNKNOWN_TYPE: [3, 4], "long": [1], "round": [0, 2]}
    assert draws.annotated.chances.tolist() == [0.5, 0.25, 0.25]
