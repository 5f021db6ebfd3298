"""Dose-response curves: the four-parameter logistic, where the data hold one."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares
from scipy.stats import f as f_distribution

LEAST_DOSES = 5  # different ones, 0 among them: one more than the curve has parameters
ALPHA = 0.05  # of the test against no effect
ALPHA_FIT = 0.01  # of the test of the curve against the means of the doses
RESAMPLES = 500
LEVEL = 95.0  # percent that the interval of the EC50 holds
STEEPEST = 30.0

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Curve:
    """y = c + (d - c) / (1 + (x / e)^b), the LL.4 of R's drc; or why there is none.

    Attributes:
        slope: b, above 0 where y falls with the dose.
        lower: c, the lower limit of y.
        upper: d, the upper one.
        ec50: e, the dose half-way between them, in the unit of the doses.
        interval: ends of the bootstrap interval of the EC50; None where it does not end within a hundred times the range of the doses.
        p_effect: of the F test against a line without effect; None where none was made.
        doses: different doses.
        wells: number of values.
        why: why there is no curve; empty where there is one. The parameters are NaN then.
    """

    slope: float = np.nan
    lower: float = np.nan
    upper: float = np.nan
    ec50: float = np.nan
    interval: tuple[float | None, float | None] = (None, None)
    p_effect: float | None = None
    doses: int = 0
    wells: int = 0
    why: str = ""

    def at(self, dose: Values) -> Values:
        """The curve at doses of 0 or more."""
        return logistic(np.array([self.slope, self.lower, self.upper, np.log(self.ec50)]), dose)


def logistic(parameters: Values, dose: Values) -> Values:
    """The curve of b, c, d and log e at doses of 0 or more."""
    slope, lower, upper, log_e = parameters
    return np.asarray(lower + (upper - lower) * _share(slope, log_e, dose))


def fit(dose: Sequence[float], value: Sequence[float], seed: int = 0, resamples: int = RESAMPLES) -> Curve:
    """Fit the curve by least squares, and say so where the data do not hold one.

    There is none where there are fewer than `LEAST_DOSES` doses, where it explains no more than noise does (F test against the
    mean), where the means of the doses do not follow it (F test of lack of fit, where doses have replicates), or where the EC50 lies
    outside of the doses. The interval comes from resampled residuals: percentiles of the EC50 of curves that are fitted to the curve
    plus residuals that are drawn from those of the fit, enlarged by the degrees of freedom that the fit took.

    Args:
        dose: of each well, 0 or more.
        value: of each well.
        seed: another one draws other residuals.
        resamples: curves for the interval.
    """
    x, y = np.asarray(dose, np.float64), np.asarray(value, np.float64)
    levels = np.unique(x)

    def no_curve(why: str, p_effect: float | None = None) -> Curve:
        return Curve(p_effect=p_effect, doses=len(levels), wells=len(y), why=why)

    if len(levels) < LEAST_DOSES or len(y) <= 4:
        return no_curve(f"{len(levels)} different doses, a curve needs {LEAST_DOSES}")
    if np.ptp(y) <= 1e-12 * np.abs(y).max():
        return no_curve("all values are equal")
    parameters = _best(x, y)
    if parameters is None:
        return no_curve("no curve could be fitted")
    residuals = y - logistic(parameters, x)
    p_effect = _p_effect(y, residuals)
    why = _objection(x, y, parameters, residuals, p_effect)
    if why:
        return no_curve(why, p_effect)
    slope, lower, upper, log_e = _ordered(parameters).tolist()
    interval = _interval(x, parameters, residuals, seed, resamples)
    return Curve(slope, lower, upper, float(np.exp(log_e)), interval, p_effect, len(levels), len(y))


def _share(slope: float, log_e: float, dose: Values) -> Values:
    """1 / (1 + (x / e)^b)."""
    with np.errstate(divide="ignore"):
        power = np.where(dose > 0, slope * (np.log(dose) - log_e), -np.inf if slope > 0 else np.inf)
    return np.asarray(1 / (1 + np.exp(np.clip(power, -500, 500))))


def _jacobian(parameters: Values, x: Values) -> Values:
    slope, lower, upper, log_e = parameters
    share = _share(slope, log_e, x)
    steep = (upper - lower) * share * (1 - share)
    with np.errstate(divide="ignore"):
        log_x = np.where(x > 0, np.log(x) - log_e, 0.0)
    return np.column_stack([-steep * log_x, 1 - share, share, np.where(x > 0, steep * slope, 0.0)])


def _refine(x: Values, y: Values, start: Values) -> tuple[Values, float] | None:
    def distance(parameters: Values) -> Values:
        return np.asarray(logistic(parameters, x) - y)

    def slope(parameters: Values) -> Values:
        return _jacobian(parameters, x)

    try:
        found = least_squares(distance, start, jac=slope, method="lm", x_scale="jac", max_nfev=200)
    except (ValueError, np.linalg.LinAlgError):
        return None
    return (found.x, float(found.cost)) if np.isfinite(found.x).all() else None


def _best(x: Values, y: Values) -> Values | None:
    """The parameters of least squares: limits follow from slope and EC50, so these are tried on a grid, and the best are refined."""
    log_x = np.log(x[x > 0])
    tries: list[tuple[float, int, Values]] = []
    for log_e in np.linspace(log_x.min(), log_x.max(), 25):
        for slope in (0.5, 1, 2, 4, 8):
            share = _share(slope, log_e, x)
            limits, *_ = np.linalg.lstsq(np.column_stack([1 - share, share]), y, rcond=None)
            start = np.array([slope, *limits, log_e])
            tries.append((float(((logistic(start, x) - y) ** 2).sum()), len(tries), start))
    found = [refined for _, _, start in sorted(tries)[:5] if (refined := _refine(x, y, start)) is not None]
    return min(found, key=lambda one: one[1])[0] if found else None


def _ordered(parameters: Values) -> Values:
    """The same curve with its lower limit first: b and the limits change sign and place."""
    slope, lower, upper, log_e = parameters
    return parameters if lower <= upper else np.array([-slope, upper, lower, log_e])


def _p_effect(y: Values, residuals: Values) -> float:
    """Of the F test of four parameters against one."""
    unexplained, total = float((residuals**2).sum()), float(((y - y.mean()) ** 2).sum())
    free = len(y) - 4
    if unexplained <= 1e-12 * total:
        return 0.0
    return float(f_distribution.sf((total - unexplained) / 3 / (unexplained / free), 3, free))


def _objection(x: Values, y: Values, parameters: Values, residuals: Values, p_effect: float) -> str:
    """Why the data do not hold the curve; empty where they do."""
    p_fit = _p_fit(x, y, residuals)
    if p_fit is not None and p_fit < ALPHA_FIT:
        return f"the means of the doses do not follow a curve that only rises or only falls (lack of fit, p = {p_fit:.2g})"
    if p_effect >= ALPHA:
        return f"no rise or fall beyond the noise (F test, p = {p_effect:.2g})"
    if abs(parameters[0]) > STEEPEST:
        return "the values jump between two doses, so that the EC50 may be anywhere between them: add doses there"
    doses, log_e = x[x > 0], parameters[3]
    if not np.log(doses.min()) <= log_e <= np.log(doses.max()):
        end = "above" if log_e > np.log(doses.max()) else "below"
        return f"the EC50 would lie {end} the doses, {doses.min():g} to {doses.max():g}"
    return ""


def _p_fit(x: Values, y: Values, residuals: Values) -> float | None:
    """Of the F test of the curve against a mean for each dose; None without replicates."""
    levels, number = np.unique(x, return_inverse=True)
    free = len(y) - len(levels)
    if free < 1 or len(levels) <= 4:
        return None
    means = np.bincount(number, y) / np.bincount(number)
    pure = float(((y - means[number]) ** 2).sum())
    lack = float((residuals**2).sum()) - pure
    if pure <= 1e-12 * float(((y - y.mean()) ** 2).sum()):
        return None
    return float(f_distribution.sf(lack / (len(levels) - 4) / (pure / free), len(levels) - 4, free))


def _interval(x: Values, parameters: Values, residuals: Values, seed: int, resamples: int) -> tuple[float | None, float | None]:
    rng = np.random.default_rng(seed)
    centred = (residuals - residuals.mean()) * np.sqrt(len(x) / (len(x) - 4))
    curve = logistic(parameters, x)
    doses = x[x > 0]
    least, most = np.log(doses.min() / 100), np.log(doses.max() * 100)
    found = []
    for _ in range(resamples):
        refined = _refine(x, curve + rng.choice(centred, len(x)), parameters)
        found.append(refined[0][3] if refined else np.nan)
    log_e = np.where(np.isfinite(found), np.clip(found, least, most), np.nan)
    missing = np.isnan(log_e)  # may lie on either side
    ends = []
    for percent, filler, limit in (((100 - LEVEL) / 2, least, least), ((100 + LEVEL) / 2, most, most)):
        end = float(np.percentile(np.where(missing, filler, log_e), percent))
        ends.append(None if abs(end - limit) < 1e-9 else float(np.exp(end)))
    return ends[0], ends[1]
