"""The exact boundary of a mask along the edges of its pixels, and masks of polygons by ImageJ's rule.

Coordinates are those of pixel corners: pixel (0, 0) is the square from (0, 0) to (1, 1). So ImageJ, QuPath and GeoJSON have it.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from somaseg.masks.crops import EMPTY_BOX, Boxes, Mask, Size, crop_from_mask

Ring = NDArray[np.int64]
Polygon = list[Ring]  # the outer ring, then holes
Point = tuple[int, int]

# By the pixels round a corner, upper left 1, upper right 2, lower left 4, lower right 8: how often the boundary turns there.
TURNS = np.array([0, 1, 1, 0, 1, 0, 2, 1, 1, 2, 0, 1, 0, 1, 1, 0])
RISING = 6  # upper right and lower left alone, which touch in the corner
LOWER_RIGHT = 8


def polygons_from_crop(crop: Mask, box: Sequence[int] | Boxes) -> list[Polygon]:
    """The polygons of a crop, one for each piece whose pixels share edges: its outer ring, then its holes.

    Rings are (n, 2) of x, y, not closed, without points in the middle of a straight line, and visit no point twice: pieces, holes
    and their like may touch in corners. Outer rings run clockwise as the image is seen (y down), holes the other way.
    """
    if not crop.size:
        return []
    shift = np.array([int(box[0]), int(box[1])])
    rings = _simple(_rings(crop))
    outer = [np.array(ring) for ring in rings if _doubled_area(ring) > 0]
    holes = [np.array(ring) for ring in rings if _doubled_area(ring) < 0]
    if len(outer) == 1:
        return [[ring + shift for ring in (*outer, *holes)]]
    pieces = np.asarray(ndimage.label(crop)[0])
    polygons = {_piece(ring, pieces): [ring + shift] for ring in outer}
    for hole in holes:
        polygons[_piece(hole, pieces)].append(hole + shift)
    return list(polygons.values())


def _rings(crop: Mask) -> list[list[Point]]:
    """Closed lines along the boundary, each with the mask on its right; pixels that touch in a corner alone are apart there."""
    padded = np.zeros((crop.shape[0] + 2, crop.shape[1] + 2), np.uint8)
    padded[1:-1, 1:-1] = crop
    around = padded[:-1, :-1] + 2 * padded[:-1, 1:] + 4 * padded[1:, :-1] + LOWER_RIGHT * padded[1:, 1:]
    turns = TURNS[around]
    y, x = np.nonzero(turns)
    twice = turns[y, x]
    corner_code, y, x = np.repeat(around[y, x], twice), np.repeat(y, twice), np.repeat(x, twice)
    # Along a row of the grid corners are the ends of lines in pairs, and so they are along a column. Where two turns share a corner,
    # the first in the row ends the line on its left; it goes down where the pixels rise, else up.
    second = np.zeros(len(x), bool)
    second[1:] = (x[1:] == x[:-1]) & (y[1:] == y[:-1])
    down_columns = np.lexsort((second ^ (corner_code == RISING), y, x))
    vertical = np.empty(len(x), np.int64)
    vertical[down_columns[0::2]], vertical[down_columns[1::2]] = down_columns[1::2], down_columns[0::2]
    below, points, mate = ((corner_code & LOWER_RIGHT) > 0).tolist(), list(zip(x.tolist(), y.tolist(), strict=True)), vertical.tolist()
    left = np.ones(len(x), bool).tolist()
    rings = []
    for start in range(len(points)):
        if not left[start]:
            continue
        ring, at = [], start  # the first point is the leftmost of the highest, so that its line goes to the right
        while left[at]:
            left[at] = left[at ^ 1] = False
            ring += [points[at], points[at ^ 1]]
            at = mate[at ^ 1]
        rings.append(ring if below[start] else ring[::-1])
    return rings


def _simple(rings: list[list[Point]]) -> list[list[Point]]:
    """The rings, parted where they visit a point twice."""
    simple = []
    for ring in rings:
        if len(set(ring)) == len(ring):
            simple.append(ring)
            continue
        open_line: list[Point] = []
        places: dict[Point, int] = {}
        for point in ring:
            if point in places:
                loop = open_line[places[point] :]
                simple.append(loop)
                del open_line[places[point] :]
                for gone in loop:
                    del places[gone]
            places[point] = len(open_line)
            open_line.append(point)
        simple.append(open_line)
    return simple


def _doubled_area(ring: list[Point]) -> int:
    return sum(x * next_y - y * next_x for (x, y), (next_x, next_y) in zip(ring, ring[1:] + ring[:1], strict=True))


def _piece(ring: Ring, pieces: NDArray[Any]) -> int:
    """The number of the piece on the right of a ring's first line."""
    (x, y), (next_x, next_y) = ring[:2].tolist()
    if y == next_y:
        return int(pieces[y, x] if next_x > x else pieces[y - 1, x - 1])
    return int(pieces[y, x - 1] if next_y > y else pieces[y - 1, x])


def crop_from_rings(
    rings: Sequence[NDArray[Any]], size: Size, spend: Callable[[int], None] | None = None, walk: Callable[[float], None] | None = None
) -> tuple[tuple[int, int, int, int], Mask]:
    """Tight box and crop of the pixels that lie inside an odd number of rings, by ImageJ's rule; what lies outside the image goes.

    A pixel is inside when its centre is. A centre on the line itself belongs to what is left of the line or below it.

    Args:
        rings: (n, 2) of finite x, y each, closed or not, of pixel corners.
        size: (height, width) of the image.
        spend: is told the pixels of the box before they are allocated, and raises when they are too many.
        walk: the same for the rows that the lines cross.
    """
    height, width = size
    lines = [np.column_stack([ring, np.concatenate([ring[1:], ring[:1]])]) for ring in rings if len(ring)]
    if not lines:
        return EMPTY_BOX, np.zeros((0, 0), bool)
    x0, y0, x1, y1 = np.concatenate(lines).astype(np.float64).T
    first, last = (np.ceil(y - 0.5).clip(0, height).astype(np.int64) for y in (np.minimum(y0, y1), np.maximum(y0, y1)))
    crossing = last > first
    x0, y0, x1, y1, first, count = (values[crossing] for values in (x0, y0, x1, y1, first, last - first))
    if walk is not None:
        walk(float(count.sum()))
    rows = np.repeat(first - np.cumsum(count) + count, count) + np.arange(count.sum())
    slope = (x1 - x0) / (y1 - y0)
    at = np.repeat(x0, count) + (rows + 0.5 - np.repeat(y0, count)) * np.repeat(slope, count)
    # 1e-8 is ImageJ's, against the rounding of the product above.
    columns = np.floor(at + 0.5 + 1e-8).clip(0, width).astype(np.int64)
    if not len(rows) or columns.min() == columns.max():
        return EMPTY_BOX, np.zeros((0, 0), bool)
    top, left = int(rows.min()), int(columns.min())
    shape = (int(rows.max()) + 1 - top, int(columns.max()) + 1 - left)
    if spend is not None:
        spend(shape[0] * shape[1])
    crossed = np.zeros(shape, np.uint8)
    np.add.at(crossed, (rows - top, columns - left), np.uint8(1))
    (x0_, y0_, x1_, y1_), crop = crop_from_mask(np.add.accumulate(crossed, axis=1, dtype=np.uint8)[:, :-1] & 1)
    return (EMPTY_BOX if not crop.size else (x0_ + left, y0_ + top, x1_ + left, y1_ + top)), crop
