"""Histograms by class, as numbers that a template draws as SVG."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

BINS, SHOWN_PERCENT = 25, 99  # bins at most, and percentile of the values where the last bin begins to gather what is larger
WIDTH, HEIGHT = 360, 150  # of the area of bars, in the SVG's units
MOST = 6  # classes with a colour of their own; the others share the last


@dataclass(frozen=True)
class Bar:
    """A part of a stacked bar: place and size in the SVG, number of its class's colour, and what it says."""

    x: float
    y: float
    width: float
    height: float
    colour: int
    text: str


@dataclass(frozen=True)
class Chart:
    """A histogram.

    Attributes:
        title: what the values are.
        counted: what has the values.
        bars: parts of bars, from the axis upwards.
        ticks: place along the axis and label.
        top: the highest count.
        colours: number of each class's colour, by class with any count.
        note: what the last bar gathers; empty where there is nothing to say.
    """

    title: str
    counted: str
    bars: Sequence[Bar]
    ticks: Sequence[tuple[float, str]]
    top: int
    colours: Mapping[str, int]
    note: str


def histogram(
    title: str, values: NDArray[np.float64], groups: NDArray[np.str_], names: Sequence[str], counted: str = "cells", whole: bool = False
) -> Chart | None:
    """Counts of values in equal bins, stacked by group; None without values.

    Args:
        title: what the values are.
        values: (N,), those that are not finite do not count.
        groups: name of each value's group, (N,).
        names: all groups, in the order of their colours.
        counted: what has the values.
        whole: the values are whole numbers, so bins are.
    """
    finite = np.isfinite(values)
    values, groups = values[finite], groups[finite]
    if not len(values):
        return None
    edges, gathers = _edges(values, whole)
    known = list(dict.fromkeys([*names, *np.unique(groups).tolist()]))
    inside = np.clip(values, edges[0], edges[-1])
    by_group = {name: np.histogram(inside[groups == name], edges)[0] for name in known}
    by_group = {name: counts for name, counts in by_group.items() if counts.any()}
    colours = {name: min(known.index(name), MOST - 1) for name in by_group}
    top = int(np.sum(list(by_group.values()), axis=0).max())
    spans = [_span(edges[i], edges[i + 1], whole, gathers and i == len(edges) - 2) for i in range(len(edges) - 1)]
    bars = list(_bars(by_group, colours, spans, top))
    note = f"the last bar holds all from {edges[-2]:.5g} up to {values.max():.5g}" if gathers else ""
    return Chart(title, counted, bars, _ticks(edges), top, colours, note)


def _bars(by_group: Mapping[str, NDArray[np.int64]], colours: Mapping[str, int], spans: Sequence[str], top: int) -> Iterator[Bar]:
    step = WIDTH / len(spans)
    for i, span in enumerate(spans):
        base = float(HEIGHT)
        for name, counts in by_group.items():
            if count := int(counts[i]):
                height = HEIGHT * count / top
                base -= height
                yield Bar(i * step, base, step * 0.9, height, colours[name], f"{name}, {span}: {count}")


def _edges(values: NDArray[np.float64], whole: bool) -> tuple[NDArray[np.float64], bool]:
    """Edges of bins, round numbers from 0 or below, and whether the last bin gathers larger values."""
    low, high = min(0.0, float(values.min())), float(values.max())
    if low == 0 and high <= 1 and not whole:
        return np.linspace(0, 1, BINS + 1), False
    end = high + 1 if whole else float(np.percentile(values, SHOWN_PERCENT))
    gathers = high > end * 1.2
    step = _round_step(((end if gathers else max(high, end)) - low) / BINS, whole)
    first = np.floor(low / step)
    count = max(1, int(np.ceil((end if gathers else max(high, end)) / step - first)))
    return (first + np.arange(count + 1 + gathers)) * step, gathers


def _round_step(least: float, whole: bool) -> float:
    """The smallest of 1, 2, 5, 10, ... times a power of ten that is not less."""
    if least <= 0:
        return 1.0
    power = 10.0 ** np.floor(np.log10(least))
    step = float(power * next(factor for factor in (1, 2, 5, 10) if factor * power >= least * (1 - 1e-9)))
    return max(step, 1.0) if whole else step


def _ticks(edges: NDArray[np.float64]) -> list[tuple[float, str]]:
    bins = len(edges) - 1
    return [(WIDTH * i / bins, f"{edges[i]:.5g}") for i in range(0, bins + 1, max(1, round(bins / 5)))]


def _span(low: float, high: float, whole: bool, last: bool) -> str:
    if last:
        return f"{low:.5g} and more"
    if whole:
        return f"{low:.5g}" if high - low == 1 else f"{low:.5g} to {high - 1:.5g}"
    return f"{low:.5g} to {high:.5g}"
