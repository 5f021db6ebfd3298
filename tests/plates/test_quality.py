import math

import pytest

from somaseg.plates.plate_map import Content
from somaseg.plates.quality import normalised, quality, verdict
from somaseg.plates.wells import Well


def well(value: float | None, control: str | None = None) -> Well:
    return Well("p", "A01", None, Content(control=control), {"cells": value})


NEGATIVE = [well(value, "negative") for value in (10, 12, 14)]  # mean 12, sd 2
POSITIVE = [well(value, "positive") for value in (100, 104, 108)]  # mean 104, sd 4


def test_z_prime_by_hand():
    found = quality([*NEGATIVE, *POSITIVE, well(50)], "cells")
    assert found.negative == (12, 2, 3)
    assert found.positive == (104, 4, 3)
    assert found.z_prime == pytest.approx(1 - 3 * (2 + 4) / 92)
    assert not found.why


@pytest.mark.parametrize(
    ("wells", "why"),
    [
        ([*POSITIVE, NEGATIVE[0]], "1 well of the negative control, at least 2 are needed"),
        (NEGATIVE, "0 wells of the positive control, at least 2 are needed"),
        ([*NEGATIVE, *(well(value, "positive") for value in (11, 13))], "the means of the controls are equal"),
        ([*NEGATIVE, well(None, "positive"), well(3, "positive")], "1 well of the positive control"),
    ],
)
def test_no_z_prime_where_there_is_none(wells, why):
    found = quality(wells, "cells")
    assert found.z_prime is None
    assert why in found.why


def test_verdicts_are_those_of_its_authors():
    assert [verdict(z) for z in (1, 0.5, 0.49, 0.01, 0, -3)] == ["excellent"] * 2 + ["marginal"] * 2 + ["controls overlap"] * 2


def test_normalised_by_hand():
    assert normalised([*NEGATIVE, *POSITIVE, well(58), well(None)], "cells")[6:] == [50, None]
    assert normalised([*NEGATIVE, well(6)], "cells")[3] == 50
    assert normalised([well(6), *POSITIVE], "cells")[0] is None
    assert normalised([well(0, "negative"), well(6)], "cells") == [None, None]
    assert math.isnan(quality([], "cells").negative[0])
