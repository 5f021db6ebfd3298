"""The shapes of synthetic cells: smooth unions of tapering branches, as signed distances in pixels.

A cell is a skeleton of branches, each a line with a radius at every point. Joining their distances with a smooth minimum gives
the concave outlines between processes that adherent cells have, and a continuous distance gives edges finer than a pixel.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Random = np.random.Generator
Tip = tuple[float, float, float]


@dataclass(frozen=True)
class Shape:
    """One cell about the origin; lengths in pixels, x to the right and y down.

    Attributes:
        branches: float32 (K, 3) each, x y and radius along a line.
        tips: float32 (T, 3), x, y and heading (rad) where neurites leave the cell.
        blend: how far the joins between branches are rounded, px.
        angle: direction of the long axis and of the texture, rad.
        phase: optical delay of the thick part, rad.
        edge: width of the thin margin inside the outline, on which the bright rim lies, and width over which the cell then
            rises to its thickness, px.
        nucleus: radius of the nucleus, px.
        grain: length and width (px) and strength (share of the phase) of the texture inside the cell.
    """

    branches: tuple[Floats, ...]
    tips: Floats
    blend: float
    angle: float
    phase: float
    edge: tuple[float, float]
    nucleus: float
    grain: tuple[float, float, float]

    def bounds(self) -> tuple[float, float, float, float]:
        """x0, y0, x1, y1 that hold the cell and its rounded joins."""
        points = np.concatenate(self.branches)
        reach = points[:, 2:] + self.blend
        low, high = (points[:, :2] - reach).min(axis=0), (points[:, :2] + reach).max(axis=0)
        return float(low[0]), float(low[1]), float(high[0]), float(high[1])

    def distance(self, x: Floats, y: Floats) -> Floats:
        """Signed distance (px) of points to the outline, negative inside; x and y broadcast against each other."""
        total = _branch_distance(self.branches[0], x, y)
        for branch in self.branches[1:]:
            one = _branch_distance(branch, x, y)
            near = np.maximum(self.blend - np.abs(total - one), 0)
            total = np.minimum(total, one) - near * near / (4 * self.blend)
        return total


def shsy5y(rng: Random) -> Shape:
    """A small angular body, drawn out into one to four short processes."""
    scale = float(np.exp(rng.normal(0.05, 0.27)))
    angle = rng.uniform(0, 2 * np.pi)
    half, radius = scale * rng.uniform(2.5, 8.5), scale * rng.uniform(5.0, 6.8)
    branches = [_body(angle, half, radius, 0.45)]
    turns = [0, np.pi, *rng.uniform(0, 2 * np.pi, rng.integers(0, 3))][rng.integers(0, 2) :]
    tips = []
    for turn in turns:
        heading, length = angle + turn + rng.normal(0, 0.4), scale * rng.gamma(3, 2.6)
        tips.append(_grow(branches, rng, (np.cos(turn) * half * 0.6, angle), heading, length, (0.55 * radius, 2.0), 2))
    return Shape(
        tuple(branches),
        _tips(tips),
        blend=4.0,
        angle=angle,
        phase=rng.uniform(0.09, 0.25),
        edge=_edge(rng),
        nucleus=0.45 * radius,
        grain=(1.3, 1.0, rng.uniform(0.1, 0.3)),
    )


def cort(rng: Random) -> Shape:
    """A small round or pear-shaped body with short corners, where many thin neurites leave."""
    scale = float(np.exp(rng.normal(-0.05, 0.24)))
    angle = rng.uniform(0, 2 * np.pi)
    half, radius = scale * rng.uniform(0.5, 5.5), scale * rng.uniform(7.4, 8.8)
    branches = [_body(angle, half, radius, rng.uniform(0.5, 0.9))]
    for heading in rng.uniform(0, 2 * np.pi, rng.integers(0, 4)):
        _grow(branches, rng, (0.0, 0.0), heading, radius * rng.uniform(1.1, 1.7), (0.5 * radius, 1.8), 1)
    tips = [(radius * np.cos(t), radius * np.sin(t), t) for t in rng.uniform(0, 2 * np.pi, rng.integers(8, 28))]
    return Shape(
        tuple(branches),
        _tips(tips),
        blend=3.0,
        angle=angle,
        phase=rng.uniform(0.15, 0.4),
        edge=_edge(rng),
        nucleus=0.5 * radius,
        grain=(1.1, 1.0, rng.uniform(0.08, 0.22)),
    )


def astro(rng: Random) -> Shape:
    """One of three: a star with long processes, a spindle with two, or a wide and almost flat sheet."""
    return (_star, _spindle, _sheet)[rng.choice(3, p=[0.42, 0.33, 0.25])](rng)


def _star(rng: Random) -> Shape:
    scale = float(np.exp(rng.normal(0.04, 0.4)))
    angle = rng.uniform(0, 2 * np.pi)
    half, radius = scale * rng.uniform(2, 12), scale * rng.uniform(5, 7)
    branches = [_body(angle, half, radius, 0.6)]
    tips = []
    for turn in np.linspace(0, 2 * np.pi, int(rng.integers(3, 6)), endpoint=False):
        heading, length = angle + turn + rng.normal(0, 0.4), scale * (6 + rng.gamma(1.6, 11.0))
        tips.append(_grow(branches, rng, (np.cos(turn) * half * 0.6, angle), heading, length, (0.6 * radius, rng.uniform(2.3, 3.0)), 5))
        for _ in range(rng.poisson(0.7)):
            x, y, width = branches[-1][rng.integers(1, len(branches[-1]))]
            side = heading + rng.choice([-1, 1]) * rng.uniform(0.5, 1.2)
            tips.append(_grow(branches, rng, (np.hypot(x, y), np.arctan2(y, x)), side, scale * rng.uniform(5, 16), (float(width), 2.0), 2))
    return Shape(
        tuple(branches),
        _tips(tips),
        blend=4.0,
        angle=angle,
        phase=rng.uniform(0.06, 0.25),
        edge=_edge(rng),
        nucleus=0.45 * radius,
        grain=(1.6, 1.0, rng.uniform(0.08, 0.25)),
    )


def _spindle(rng: Random) -> Shape:
    scale = float(np.exp(rng.normal(0.04, 0.42)))
    angle = rng.uniform(0, 2 * np.pi)
    half, radius = scale * rng.uniform(10, 22), scale * rng.uniform(4.8, 6.8)
    branches = [_body(angle, half, radius, 0.5)]
    tips = [
        _grow(branches, rng, (side * half * 0.8, angle), angle + turn, scale * rng.uniform(8, 42), (0.5 * radius, rng.uniform(2.3, 3.0)), 6)
        for side, turn in ((1, 0.0), (-1, np.pi))
    ]
    return Shape(
        tuple(branches),
        _tips(tips),
        blend=4.0,
        angle=angle,
        phase=rng.uniform(0.06, 0.25),
        edge=_edge(rng),
        nucleus=0.5 * radius,
        grain=(2.0, 1.0, rng.uniform(0.08, 0.25)),
    )


def _sheet(rng: Random) -> Shape:
    scale = float(np.exp(rng.normal(0.06, 0.5)))
    angle = rng.uniform(0, 2 * np.pi)
    half, radius = scale * rng.uniform(8, 28), scale * rng.uniform(8, 13)
    branches = [_body(angle, half, radius, 0.6)]
    tips = []
    for turn in np.linspace(0, 2 * np.pi, int(rng.integers(3, 7)), endpoint=False):
        heading, length = angle + turn + rng.normal(0, 0.3), radius + scale * rng.uniform(2, 16)
        tips.append(_grow(branches, rng, (np.cos(turn) * half * 0.7, angle), heading, length, (0.7 * radius, rng.uniform(2, 5)), 2))
    return Shape(
        tuple(branches),
        _tips(tips),
        blend=9.0,
        angle=angle,
        phase=rng.uniform(0.03, 0.09),
        edge=_edge(rng),
        nucleus=min(0.4 * radius, 6.0),
        grain=(3.0, 1.0, rng.uniform(0.12, 0.3)),
    )


CELLS: dict[str, Callable[[Random], Shape]] = {"shsy5y": shsy5y, "astro": astro, "cort": cort}


def _body(angle: float, half: float, radius: float, taper: float) -> Floats:
    """A straight branch of length 2 `half` through the origin, `radius` in the middle and `taper` of it at the ends."""
    x, y = half * np.cos(angle), half * np.sin(angle)
    return np.array([[-x, -y, taper * radius], [0, 0, radius], [x, y, taper * radius]], np.float32)


def _grow(
    branches: list[Floats], rng: Random, start: tuple[float, float], heading: float, length: float, radii: tuple[float, float], bends: int
) -> Tip:
    """Add a winding process that tapers from the first radius to the second, to `branches`; returns its tip.

    `start` is a distance from the origin and its direction (rad).
    """
    headings = heading + np.cumsum(np.concatenate([[0], rng.normal(0, 0.35 / np.sqrt(bends), bends - 1)]))
    x = start[0] * np.cos(start[1]) + np.concatenate([[0], np.cumsum(np.cos(headings))]) * length / bends
    y = start[0] * np.sin(start[1]) + np.concatenate([[0], np.cumsum(np.sin(headings))]) * length / bends
    radius = radii[1] + (radii[0] - radii[1]) * np.linspace(1, 0, bends + 1) ** 1.5
    branches.append(np.stack([x, y, radius], axis=1).astype(np.float32))
    return float(x[-1]), float(y[-1]), float(headings[-1])


def _tips(tips: list[Tip]) -> Floats:
    return np.array(tips, np.float32).reshape(-1, 3)


def _edge(rng: Random) -> tuple[float, float]:
    return rng.uniform(0.4, 1.7), rng.uniform(1.5, 2.5)


def _branch_distance(branch: Floats, x: Floats, y: Floats) -> Floats:
    total = np.full(np.broadcast_shapes(x.shape, y.shape), np.inf, np.float32)
    for (x0, y0, r0), (x1, y1, r1) in pairwise(branch):
        dx, dy = x1 - x0, y1 - y0
        along = np.clip(((x - x0) * dx + (y - y0) * dy) / max(dx * dx + dy * dy, 1e-6), 0, 1)
        total = np.minimum(total, np.hypot(x - x0 - along * dx, y - y0 - along * dy) - (r0 + along * (r1 - r0)))
    return total
