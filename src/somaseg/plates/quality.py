"""How well an assay tells its controls apart, and values of wells in terms of the controls."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from somaseg.plates.plate_map import Control
from somaseg.plates.wells import Well


@dataclass(frozen=True)
class Quality:
    """The controls of a plate at a time.

    Attributes:
        negative: mean, standard deviation (n - 1) and number of wells of the negative control; NaN where there are too few.
        positive: the same of the positive one.
        z_prime: 1 - 3 (sd of one + sd of the other) / |difference of the means|; None where it cannot be had.
        why: why it cannot be had; empty where it can.
    """

    negative: tuple[float, float, int]
    positive: tuple[float, float, int]
    z_prime: float | None
    why: str = ""


def quality(wells: Sequence[Well], readout: str) -> Quality:
    """Z'-factor of the wells of a plate at a time.

    J.-H. Zhang, T. D. Y. Chung, K. R. Oldenburg: A simple statistical parameter for use in evaluation and validation of high
    throughput screening assays. Journal of Biomolecular Screening 4 (1999) 67-73.
    """
    negative, positive = _statistics(wells, readout, "negative"), _statistics(wells, readout, "positive")
    for name, (_, _, count) in (("negative", negative), ("positive", positive)):
        if count < 2:
            why = f"{count} well{'' if count == 1 else 's'} of the {name} control, at least 2 are needed"
            return Quality(negative, positive, None, why)
    apart = abs(positive[0] - negative[0])
    if apart == 0:
        return Quality(negative, positive, None, "the means of the controls are equal")
    return Quality(negative, positive, 1 - 3 * (negative[1] + positive[1]) / apart)


def verdict(z_prime: float) -> str:
    """What a Z'-factor means, as its authors put it."""
    if z_prime >= 0.5:
        return "excellent"
    if z_prime > 0:
        return "marginal"
    return "controls overlap"


def normalised(wells: Sequence[Well], readout: str) -> list[float | None]:
    """Each well of a plate at a time in terms of its controls, in percent; None where it cannot be had.

    With both controls 0 is the mean of the negative and 100 that of the positive one; with the negative one alone 100 is its mean.
    """
    negative, positive = _statistics(wells, readout, "negative"), _statistics(wells, readout, "positive")
    values = [well.values.get(readout) for well in wells]
    if negative[2] and positive[2]:
        zero, whole = negative[0], positive[0] - negative[0]
    elif negative[2]:
        zero, whole = 0.0, negative[0]
    else:
        return [None] * len(wells)
    if whole == 0:
        return [None] * len(wells)
    return [None if value is None else 100 * (value - zero) / whole for value in values]


def _statistics(wells: Sequence[Well], readout: str, control: Control) -> tuple[float, float, int]:
    values = [value for well in wells if well.content.control == control and (value := well.values.get(readout)) is not None]
    mean = float(np.mean(values)) if values else math.nan
    return mean, float(np.std(values, ddof=1)) if len(values) > 1 else math.nan, len(values)
