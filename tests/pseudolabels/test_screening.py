"""Fates of fused cells, and what speaks for them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from somaseg.config import PseudoSettings
from somaseg.errors import InputError
from somaseg.instances import Instances
from somaseg.pseudolabels.screening import FATES, screen_cells

CLASSES = ("round", "long")
SETTINGS = PseudoSettings(
    ignore_score={"default": 0.2, "long": 0.4},
    accept_score={"default": 0.5, "long": 0.6},
    accept_mask_prob=0.7,
    accept_agreement=0.6,
    min_area={"default": 4},
    max_area={"default": 100},
    max_ignored_share=1,
)


def squares(*cells: tuple[int, int, int], scores=None, labels=None) -> Instances:
    """Square cells (x, y, side) in an image of 40 x 60 pixels."""
    boxes = np.array([(x, y, x + side, y + side) for x, y, side in cells], np.int32).reshape(-1, 4)
    masks = tuple(np.ones((side, side), bool) for _, _, side in cells)
    count = len(cells)
    return Instances((40, 60), boxes, masks, labels or [0] * count, [1.0] * count if scores is None else scores, CLASSES)


def test_each_rule_and_the_first_that_holds():
    cells = squares(
        *[(0, 0, 3)] * 6, (0, 0, 1), (0, 0, 11), scores=[0.5, 0.5, 0.5, 0.25, 0.125, 0.5, 0.1, 0.3], labels=[0, 0, 0, 0, 0, 1, 0, 0]
    )
    screened = screen_cells(cells, np.array([0.7, 0.69, 0.7, 1, 1, 1, 1, 0]), np.array([0.6, 0.1, 0.59, 1, 1, 1, 1, 0]), SETTINGS)
    assert screened.fates == ("accepted", "ignored", "ignored", "ignored", "dropped", "ignored", "dropped", "ignored")
    reasons = ("", "mask unsure", "models disagree", "score unsure", "score too low", "score unsure", "score too low", "too large")
    assert screened.reasons == reasons
    assert screened.where("dropped").tolist() == [4, 6]
    assert screened.left_out == ""
    assert screen_cells(squares((0, 0, 1)), np.ones(1), np.ones(1), SETTINGS).own_reasons == ("too small",)


@pytest.mark.parametrize(
    ("change", "left_out"),
    [
        ({"min_cells": 2}, "1 cells accepted, fewer than min_cells 2"),
        ({"max_cells": 3}, "4 cells not dropped, more than max_cells 3"),
        ({"max_ignored_share": 0.7}, "3 of 4 cells ignored, more than max_ignored_share 0.7"),
        ({"max_ignored_share": 0.75, "max_cells": 4}, ""),
    ],
)
def test_limits_of_an_image(change, left_out):
    cells = squares(*[(0, 0, 3)] * 5, scores=[0.9, 0.3, 0.3, 0.3, 0.1])
    screened = screen_cells(cells, np.ones(5), np.ones(5), SETTINGS.model_copy(update=change))
    assert screened.left_out == left_out
    assert screened.own_fates == ("accepted", "ignored", "ignored", "ignored", "dropped")
    assert screened.fates == (("dropped",) * 5 if left_out else screened.own_fates)
    assert (set(screened.reasons) == {"image left out"}) == bool(left_out)


part = st.floats(0, 1, width=32)


@given(
    st.lists(st.tuples(part, part, part, st.integers(1, 12)), max_size=8), st.tuples(part, part, part), st.tuples(part, part, part), part
)
def test_every_cell_has_one_fate_and_stricter_thresholds_accept_no_more(cells, lax, strict, share):
    instances = squares(*[(0, 0, side) for *_, side in cells], scores=[score for score, *_ in cells])
    values = np.array([cell[1] for cell in cells]), np.array([cell[2] for cell in cells])
    accepted = []
    for score, mask_prob, agree in (np.minimum(lax, strict).tolist(), np.maximum(lax, strict).tolist()):
        settings = PseudoSettings(
            ignore_score=0, accept_score=score, accept_mask_prob=mask_prob, accept_agreement=agree, min_area=4, max_ignored_share=share
        )
        screened = screen_cells(instances, *values, settings)
        assert sorted(np.concatenate([screened.where(fate) for fate in FATES]).tolist()) == list(range(len(cells)))
        assert all((own == "accepted") == (reason == "") for own, reason in zip(screened.own_fates, screened.own_reasons, strict=True))
        accepted.append(set(screened.where("accepted").tolist()))
    assert accepted[1] <= accepted[0]


def test_settings_that_make_no_sense():
    with pytest.raises(ValidationError, match=r"ignore_score.long is 0.7, accept_score.long 0.6"):
        PseudoSettings(ignore_score={"default": 0.1, "long": 0.7}, accept_score=0.6)
    with pytest.raises(InputError, match=r"pseudo.min_area names class 'flat'"):
        screen_cells(squares(), np.ones(0), np.ones(0), SETTINGS.model_copy(update={"min_area": {"default": 1, "flat": 2}}))
    with pytest.raises(InputError, match="agreement has 0 entries for 1 cells"):
        screen_cells(squares((0, 0, 3)), np.ones(1), np.ones(0), SETTINGS)
