"""The logistic beside published fits, and data that hold none."""

import numpy as np
import pytest

from somaseg.plates.dose import fit

# Root length of perennial ryegrass (cm) at concentrations of ferulic acid (mM): Inderjit, J. C. Streibig, M. Olofsdotter, Physiologia
# Plantarum 114 (2002) 422-428; the data set `ryegrass` of R's package drc. Estimates of its model LL.4 as published by C. Ritz, F. Baty,
# J. C. Streibig, D. Gerhard, Dose-Response Analysis Using R, PLoS ONE 10 (2015) e0146021.
RYEGRASS = {
    0: (7.58, 8.0, 8.328571429, 7.25, 7.375, 7.9625),
    0.94: (8.355555556, 6.914285714, 7.75),
    1.88: (6.871428571, 6.45, 5.922222222),
    3.75: (1.925, 2.885714286, 4.233333333),
    7.5: (1.1875, 0.857142857, 1.057142857),
    15: (0.6875, 0.525, 0.825),
    30: (0.25, 0.22, 0.44),
}
PUBLISHED = {"slope": 2.98, "lower": 0.48, "upper": 7.79, "ec50": 3.06}

# Mean root length (cm) at doses of secalonic acids (mM), without replicates: X. Gong, R. Zeng, S. Luo, C. Yong, Q. Zheng, Proceedings of
# the International Symposium on Allelopathy Research and Application 2004, 209-217; the data set `secalonic` of drc. Estimates as the
# reference manual of drc prints them below its example.
SECALONIC = {0: (5.5,), 0.01: (5.7,), 0.019: (5.4,), 0.038: (4.6,), 0.075: (3.3,), 0.15: (0.7,), 0.3: (0.4,)}


def flat(data: dict[float, tuple[float, ...]]) -> tuple[list[float], list[float]]:
    return [dose for dose, values in data.items() for _ in values], [value for values in data.values() for value in values]


DOSES = np.repeat([0, 0.1, 0.3, 1, 3, 10, 30], 3)


def test_ryegrass_as_published():
    curve = fit(*flat(RYEGRASS))
    assert not curve.why
    assert {name: round(getattr(curve, name), 2) for name in PUBLISHED} == PUBLISHED
    assert (curve.doses, curve.wells) == (7, 24)
    # drc's interval from the standard error 0.19 is 2.67 to 3.45
    assert curve.interval == pytest.approx((2.67, 3.45), abs=0.12)
    assert curve.at(np.array([0, 3.05795, 1e9])) == pytest.approx([7.79, (7.79 + 0.48) / 2, 0.48], abs=0.01)


def test_secalonic_as_published():
    curve = fit(*flat(SECALONIC))
    assert (curve.slope, curve.lower, curve.upper, curve.ec50) == pytest.approx((2.6542086, 0.0917852, 5.5297495, 0.0803547), rel=2e-4)


def test_a_rising_curve_has_a_slope_below_0_and_its_limits_in_order():
    curve = fit(DOSES, 10 * DOSES / (DOSES + 3) + np.random.default_rng(5).normal(0, 0.2, len(DOSES)))
    assert (curve.slope, curve.lower, curve.upper, curve.ec50) == pytest.approx((-1, 0, 10, 3), abs=0.8)
    assert curve.interval[0] < 3 < curve.interval[1]


def test_exact_data_give_their_curve():
    curve = fit(DOSES, 2 + 6 / (1 + (DOSES / 2) ** 1.5))
    assert (curve.slope, curve.lower, curve.upper, curve.ec50) == pytest.approx((1.5, 2, 8, 2))
    assert curve.interval == pytest.approx((2, 2))


@pytest.mark.parametrize("scale", [1e-9, 1.0, 1e12])
def test_units_change_nothing(scale):
    dose, value = flat(RYEGRASS)
    curve = fit(np.array(dose) * scale, np.array(value) * scale)
    assert curve.ec50 / scale == pytest.approx(3.058, abs=0.001)
    assert curve.upper / scale == pytest.approx(7.793, abs=0.001)


NOISE = np.random.default_rng(1).normal(0, 0.3, len(DOSES))


@pytest.mark.parametrize(
    ("dose", "value", "why"),
    [
        ([0, 1, 2, 3] * 3, range(12), "4 different doses, a curve needs 5"),
        ([], [], "0 different doses"),
        (DOSES, np.full(len(DOSES), 5.0), "all values are equal"),
        (DOSES, 5 + NOISE, "no rise or fall beyond the noise"),
        (DOSES, 5 - 3 * np.exp(-(np.log(DOSES + 0.01) ** 2)) + NOISE / 3, "do not follow a curve that only rises or only falls"),
        (DOSES, 5 - DOSES / 10 + NOISE / 5, "the EC50 would lie above the doses, 0.1 to 30"),
        (DOSES, np.where(DOSES > 0, 1, 5) + NOISE / 5, "the EC50 would lie below the doses"),
        (DOSES, np.where(DOSES > 1, 1, 5) + NOISE / 9, "the values jump between two doses"),
    ],
)
def test_no_curve_where_the_data_hold_none(dose, value, why):
    curve = fit(list(dose), list(value))
    assert why in curve.why
    assert np.isnan(curve.ec50)
    assert curve.interval == (None, None)


def test_the_interval_holds_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(2)
    truth = 1 + 9 / (1 + (DOSES / 2) ** 1.2)
    held = 0
    for seed in range(20):
        low, high = fit(DOSES, truth + rng.normal(0, 0.6, len(DOSES)), seed, resamples=60).interval
        held += low is not None and high is not None and low < 2 < high
    assert held >= 16


def test_an_end_that_the_data_do_not_hold_is_missing():
    dose = np.array([0, 0.1, 0.3, 1, 3, 10] * 2)
    value = 10 - 4 * dose / (dose + 9) + np.random.default_rng(8).normal(0, 0.35, len(dose))
    curve = fit(dose, value)
    assert not curve.why
    assert curve.interval[1] is None
