"""Outlines of masks, and masks of outlines."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from somaseg.masks.crops import Boxes, Mask, Size, crop_from_mask

# An outline crosses the square between four pixels' centres from the middle of one side to that of another, so that what is inside
# lies to its left as y grows upwards. By what is inside (bits: above left 1, above right 2, below left 4, below right 8), two such
# steps at most; pixels that touch by a corner alone stay apart.
TOP, LEFT, RIGHT, BOTTOM = (0, 1), (1, 0), (1, 2), (2, 1)  # (row, column) from the pixel above left, in half pixels
STEPS = {
    1: [(TOP, LEFT)],
    2: [(RIGHT, TOP)],
    3: [(RIGHT, LEFT)],
    4: [(LEFT, BOTTOM)],
    5: [(TOP, BOTTOM)],
    6: [(RIGHT, TOP), (LEFT, BOTTOM)],
    7: [(RIGHT, BOTTOM)],
    8: [(BOTTOM, RIGHT)],
    9: [(TOP, LEFT), (BOTTOM, RIGHT)],
    10: [(BOTTOM, TOP)],
    11: [(BOTTOM, LEFT)],
    12: [(LEFT, RIGHT)],
    13: [(TOP, RIGHT)],
    14: [(LEFT, TOP)],
}


def outlines_from_crop(crop: Mask, box: Sequence[int] | Boxes) -> list[NDArray[np.float64]]:
    """Outlines of a crop, one a piece or hole: (n, 2) of x, y where pixel (0, 0) has its centre at (0, 0).

    They run half-way between the pixels inside and those outside, so never through a pixel's centre, and end where they begin.
    """
    corner = np.asarray(box[:2], np.float64) - 1
    padded = np.pad(crop, 1).astype(np.uint8)
    width = 2 * padded.shape[1]
    case = padded[:-1, :-1] + 2 * padded[:-1, 1:] + 4 * padded[1:, :-1] + 8 * padded[1:, 1:]
    after: dict[int, int] = {}
    for number, steps in STEPS.items():
        at = np.argwhere(case == number) * 2
        for begin, end in steps:
            keys = ((at + step) @ np.array([width, 1]) for step in (begin, end))
            after.update(zip(*(key.tolist() for key in keys), strict=True))
    outlines = []
    for first in sorted(after):
        if first in after:
            path, here = [first], after.pop(first)
            while here != first:
                path.append(here)
                here = after.pop(here)
            rows, columns = np.divmod(np.array([*path, first]), width)
            outlines.append(np.stack([columns, rows], axis=1) / 2 + corner)
    return outlines


def crop_from_outlines(outlines: Sequence[NDArray[np.float64]], size: Size) -> tuple[tuple[int, int, int, int], Mask]:
    """Tight box and crop of the pixels whose centres lie inside an odd number of outlines, so that holes stay holes.

    A centre on an outline is inside of it.
    """
    full = np.zeros(size, bool)
    for xy in outlines:
        points = np.asarray(xy, np.float64).reshape(-1, 2)
        if len(points):
            # A row that runs through a corner takes its lines once as ending there and once as beginning there.
            full ^= _filled(points, size, 0) | _filled(points, size, 1)
    return crop_from_mask(full)


def _filled(points: NDArray[np.float64], size: Size, last: int) -> Mask:
    """The pixels (H, W) between the lines of an outline, row by row; a line has the row of its lower end, or of its upper one (`last`)."""
    x0, y0 = points.T
    x1, y1 = np.roll(points, -1, axis=0).T
    low, high = np.minimum(y0, y1), np.maximum(y0, y1)
    begin, end = (np.floor(edge) + 1 if last else np.ceil(edge) for edge in (low, high))
    begin, end = (edge.clip(0, size[0]).astype(np.int64) for edge in (begin, end))
    counts = end - begin
    line = np.repeat(np.arange(len(points)), counts)
    row = np.arange(counts.sum()) - np.repeat(counts.cumsum() - counts, counts) + begin[line]
    x = x0[line] + (row - y0[line]) * (x1 - x0)[line] / (y1 - y0)[line]
    order = np.lexsort((x, row))
    row, x = row[order], x[order]
    change = np.zeros((size[0], size[1] + 1), np.int64)
    enter, leave = np.ceil(x[::2]), np.floor(x[1::2]) + 1
    np.add.at(change, (row[::2], enter.clip(0, size[1]).astype(np.int64)), 1)
    np.add.at(change, (row[1::2], leave.clip(0, size[1]).astype(np.int64)), -1)
    return np.asarray(change.cumsum(axis=1)[:, :-1] > 0)
