"""Size and shape of cells. Where scikit-image has a property of that kind, the definition is its own."""

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from somaseg.measure.hulls import chains, filled, rows_of
from somaseg.measure.strips import Ints, Strip

Columns = dict[str, NDArray[np.float64]]

# Length of outline that a border pixel stands for, by 1 for itself, 2 for each of four neighbours on the border, 10 for each of four
# diagonal ones. K. Benkrid, D. Crookes: Design and FPGA Implementation of a Perimeter Estimator, Queen's University of Belfast.
OUTLINE = np.zeros(50)
OUTLINE[[5, 7, 15, 17, 25, 27]] = 1
OUTLINE[[21, 33]] = np.sqrt(2)
OUTLINE[[13, 23]] = (1 + np.sqrt(2)) / 2
MOST_PAIRS = 1 << 21  # of corners that are compared at once


def shapes(strip: Strip) -> Columns:
    """Columns (K,) of a strip's cells; see docs/measure.md for each."""
    rows, columns, cell = strip.where(strip.image)
    area = strip.sums(cell)
    around = _perimeter(strip)
    with np.errstate(divide="ignore", invalid="ignore"):
        form_factor = np.where(around > 0, 4 * np.pi * area / around**2, np.nan)
    return {
        "area": area,
        "perimeter": around,
        **_hull(strip, area),
        **_axes(strip, rows, columns, cell, area),
        "form_factor": form_factor,
    }


def border(strip: Strip) -> NDArray[np.bool_]:
    """Pixels of cells with a pixel of the background beside, above or below them."""
    image, inner = strip.image, strip.image.copy()
    inner[1:] &= image[:-1]
    inner[:-1] &= image[1:]
    inner[:, 1:] &= image[:, :-1]
    inner[:, :-1] &= image[:, 1:]
    return image & ~inner


def _perimeter(strip: Strip) -> NDArray[np.float64]:
    edge = border(strip)
    width = edge.shape[1]
    flat = edge.ravel().view(np.uint8)
    pixels = np.flatnonzero(flat)
    near = sum(flat[pixels + step].astype(np.int64) for step in (1, -1, width, -width))
    far = sum(flat[pixels + step].astype(np.int64) for step in (width + 1, width - 1, -width + 1, -width - 1))
    return strip.sums(strip.row_cell[pixels // width], OUTLINE[1 + 2 * near + 10 * far])


def _axes(strip: Strip, rows: Ints, columns: Ints, cell: Ints, area: NDArray[np.float64]) -> Columns:
    """Axes of the ellipse of the same second moments; the direction of the longer one, from the rows' axis, as scikit-image has it."""
    middle = np.rint(strip.sums(cell, rows) / area).astype(np.int64), np.rint(strip.sums(cell, columns) / area).astype(np.int64)
    r, c = rows - middle[0][cell], columns - middle[1][cell]
    sum_r, sum_c = strip.sums(cell, r), strip.sums(cell, c)
    rr = (strip.sums(cell, r * r) - sum_r * sum_r / area) / area
    cc = (strip.sums(cell, c * c) - sum_c * sum_c / area) / area
    rc = (strip.sums(cell, r * c) - sum_r * sum_c / area) / area
    half, spread = (rr + cc) / 2, np.hypot((rr - cc) / 2, rc)
    long = half + spread
    short = np.clip(np.where(long > 0, (rr * cc - rc * rc) / np.where(long > 0, long, 1), 0), 0, None)  # no difference of equals
    ratio = np.where(long > 0, short / np.where(long > 0, long, 1), 1)
    orientation = np.where(rr == cc, np.where(rc > 0, np.pi / 4, -np.pi / 4), 0.5 * np.arctan2(2 * rc, rr - cc))
    return {
        "axis_major": 4 * np.sqrt(long),
        "axis_minor": 4 * np.sqrt(short),
        "orientation": orientation,
        "eccentricity": np.sqrt(np.clip(1 - ratio, 0, None)),
    }


def _hull(strip: Strip, area: NDArray[np.float64]) -> Columns:
    """Solidity, and the Feret diameters of the hull image's outline."""
    rows = rows_of(strip.image)
    hull = filled(chains(rows, strip.row_cell), rows, strip.row_cell)
    width = np.maximum(hull.last - hull.first + 1, 0)
    convex = strip.sums(strip.row_cell, width)
    left, right = chains(hull, strip.row_cell)
    # Around each cell: down the left side, up the right one.
    y, x = np.concatenate([left[0], right[0][::-1]]), np.concatenate([left[1], right[1][::-1]])
    cell = strip.row_cell[y // 2]
    order = np.argsort(cell, kind="stable")
    longest, least = _feret(y[order] / 2, x[order] / 2, cell[order], len(strip))
    return {"feret_max": longest, "feret_min": least, "solidity": area / convex}


def _feret(y: NDArray[np.float64], x: NDArray[np.float64], cell: Ints, count: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Largest distance of two corners, and least distance of two parallel lines with all corners between them (K,)."""
    corners = np.bincount(cell, minlength=count)
    begin = np.cumsum(corners) - corners
    following = np.arange(1, len(cell) + 1)
    following[begin + corners - 1] = begin
    longest, least = np.zeros(count), np.full(count, np.inf)
    cuts = np.searchsorted(np.cumsum(corners[cell]), np.arange(0, int((corners**2).sum()) + 1 + MOST_PAIRS, MOST_PAIRS), side="left")
    for start, stop in pairwise(cuts):
        if start == stop:
            continue
        many = corners[cell[start:stop]]
        one = np.repeat(np.arange(start, stop), many)
        ends = np.cumsum(many)
        other = np.arange(ends[-1]) - np.repeat(ends - many - begin[cell[start:stop]], many)
        dy, dx = y[other] - y[one], x[other] - x[one]
        far = np.maximum.reduceat(dy * dy + dx * dx, ends - many)
        np.maximum.at(longest, cell[start:stop], far)
        ey, ex = (y[following] - y)[one], (x[following] - x)[one]
        across = np.maximum.reduceat(np.abs(ey * dx - ex * dy), ends - many)
        length = np.hypot((y[following] - y)[start:stop], (x[following] - x)[start:stop])
        real = length > 0  # top and bottom corners may stand on both sides
        np.minimum.at(least, cell[start:stop][real], across[real] / length[real])
    return np.sqrt(longest), least
