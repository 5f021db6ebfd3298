"""Convex hulls of all cells of a strip, in whole numbers, so that a pixel on a hull's edge counts as scikit-image counts it.

A pixel at row r and column c is the diamond of (r - .5, c), (r + .5, c), (r, c - .5) and (r, c + .5); a cell's hull is that of its
diamonds, and its hull image has each pixel whose centre is in the hull or on its edge. Coordinates are doubled here.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
NONE = 1 << 40  # stands for no pixel: more than any coordinate


class Rows(NamedTuple):
    """First and last column of the pixels in each row of a strip (R,); rows without pixels have first > last."""

    first: Ints
    last: Ints


class Chains(NamedTuple):
    """Corners of hulls, doubled: those on the left from top to bottom, and those on the right."""

    left: tuple[Ints, Ints]
    right: tuple[Ints, Ints]


def rows_of(image: NDArray[np.bool_]) -> Rows:
    """The rows of an image (R, W)."""
    empty = ~image.any(axis=1)
    first = image.argmax(axis=1).astype(np.int64)
    last = image.shape[1] - 1 - image[:, ::-1].argmax(axis=1).astype(np.int64)
    first[empty], last[empty] = NONE, -NONE
    return Rows(first, last)


def chains(rows: Rows, row_cell: Ints) -> Chains:
    """The hulls of the diamonds of each cell; cells have empty rows between them."""
    y, x = _corners(rows.first, row_cell)
    y_right, x_right = _corners(-rows.last, row_cell)
    return Chains((y, x), (y_right, -x_right))


def filled(hulls: Chains, rows: Rows, row_cell: Ints) -> Rows:
    """The rows of the hull images."""
    count = len(row_cell)
    used = rows.first < NONE
    start = np.full(int(row_cell[-1]) + 1, count)
    stop = np.zeros(len(start), np.int64)
    place = np.flatnonzero(used)
    np.minimum.at(start, row_cell[place], place)
    np.maximum.at(stop, row_cell[place], place)
    row = np.arange(count)
    inside = row[(row >= start[row_cell]) & (row <= stop[row_cell])]
    first, last = np.full(count, NONE), np.full(count, -NONE)
    first[inside] = -_floor(hulls.left[0], -hulls.left[1], inside)
    last[inside] = _floor(*hulls.right, inside)
    thin = first > last  # a hull that passes between two centres
    first[thin], last[thin] = NONE, -NONE
    return Rows(first, last)


def _corners(first: Ints, row_cell: Ints) -> tuple[Ints, Ints]:
    """Left side of the hull of the diamonds of pixels that are the first of their rows: y and x, doubled, y rising."""
    count = len(first)
    x = np.full(2 * count - 1, 2 * NONE)
    x[::2] = 2 * first - 1
    x[1::2] = 2 * np.minimum(first[:-1], first[1:])
    y = np.flatnonzero(x < NONE)
    x = x[y]
    cell = row_cell[y // 2]
    while True:
        between = (cell[:-2] == cell[1:-1]) & (cell[1:-1] == cell[2:])
        # A point on or right of the line between its neighbours is no corner, whichever of these stay.
        needless = between & ((x[1:-1] - x[:-2]) * (y[2:] - y[:-2]) >= (x[2:] - x[:-2]) * (y[1:-1] - y[:-2]))
        if not needless.any():
            return y, x
        stays = np.concatenate([[True], ~needless, [True]])
        y, x, cell = y[stays], x[stays], cell[stays]


def _floor(y: Ints, x: Ints, rows: Ints) -> Ints:
    """The last column that is not right of a line of corners, in each of these rows."""
    after = np.searchsorted(y, 2 * rows, side="right")
    before = after - 1
    rise = y[after] - y[before]
    return np.asarray((x[before] * rise + (x[after] - x[before]) * (2 * rows - y[before])) // (2 * rise))
