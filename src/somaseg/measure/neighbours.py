"""Which cells lie beside a cell, and how far the nearest one is."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree
from scipy.spatial.distance import cdist

from somaseg.instances import Instances
from somaseg.masks.pairs import meeting_boxes, shared_pixels
from somaseg.measure.strips import Ints

NEAR = 5.0  # px, up to which another cell is a neighbour
FIRST = 6  # cells with the nearest centres, among which the nearest cell is sought first
MOST_DISTANCES = 1 << 20  # of two cells that are all measured, some MB


def neighbours(cells: Instances, borders: Sequence[NDArray[np.float64]]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """How many other cells are at most `NEAR` px away (N,), and the distance to the nearest cell in px, NaN for the only one (N,).

    The distance of two cells is that of the centres of their nearest pixels: 1 for cells that touch, 0 for cells that share pixels.

    Args:
        cells: of an image.
        borders: of each cell the pixels (n, 2) with background beside them; a cell without pixels has no neighbour.
    """
    found = _Distances(cells, borders)
    full = np.array([i for i, border in enumerate(borders) if len(border)], np.int64)
    if len(full) > 1:
        boxes = cells.boxes[full].astype(np.float64)
        centre = (boxes[:, :2] + boxes[:, 2:]) / 2
        closest = KDTree(centre).query(centre, k=min(FIRST + 1, len(full)))[1]
        one, other = np.repeat(full, closest.shape[1]), full[closest.ravel()]
        found.look(one[one != other], other[one != other])
        # Whatever is nearer than what was found, or a neighbour, meets a box that is larger by that.
        far = np.maximum(found.nearest[full], NEAR)[:, None]
        one, other = meeting_boxes(np.hstack([boxes[:, :2] - far, boxes[:, 2:] + far]))
        found.look(full[one], full[other])
    return found.count, np.where(np.isfinite(found.nearest), found.nearest, np.nan)


class _Distances:
    """Distances of pairs of cells, each measured once and only where it may count."""

    def __init__(self, cells: Instances, borders: Sequence[NDArray[np.float64]]) -> None:
        self.count, self.nearest = np.zeros(len(cells)), np.full(len(cells), np.inf)
        self._boxes, self._borders = cells.boxes.astype(np.float64), borders
        self._overlap = _overlapping(cells)
        self._known: set[tuple[int, int]] = set()

    def look(self, one: Ints, other: Ints) -> None:
        """Measure pairs, by their boxes the nearest first."""
        first, second = np.minimum(one, other), np.maximum(one, other)
        gap = _box_gap(self._boxes, first, second)
        counts = (gap <= NEAR) | (gap < self.nearest[first]) | (gap < self.nearest[second])
        order = np.flatnonzero(counts)[np.argsort(gap[counts], kind="stable")]
        for a, b, least in zip(first[order].tolist(), second[order].tolist(), gap[order].tolist(), strict=True):
            if (a, b) in self._known or (least > NEAR and least >= self.nearest[a] and least >= self.nearest[b]):
                continue
            self._known.add((a, b))
            distance = 0.0
            if (a, b) not in self._overlap:
                distance = _distance(self._borders[a], self._borders[b])
            for cell in (a, b):
                self.nearest[cell] = min(self.nearest[cell], distance)
                self.count[cell] += distance <= NEAR


def _distance(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """Least distance of two sets of points (n, 2)."""
    if len(one) * len(other) > MOST_DISTANCES:
        return float(np.min(KDTree(one).query(other)[0]))
    return float(np.sqrt(cdist(one, other, "sqeuclidean").min()))


def _overlapping(cells: Instances) -> set[tuple[int, int]]:
    first, second = meeting_boxes(cells.boxes)
    met = shared_pixels(cells.masks, cells.boxes, first, second) > 0
    return set(zip(first[met].tolist(), second[met].tolist(), strict=True))


def _box_gap(boxes: NDArray[np.float64], one: Ints, other: Ints) -> NDArray[np.float64]:
    """Least distance that pixels in two boxes may have."""
    a, b = boxes[one], boxes[other]
    gap = np.maximum(a[:, :2] - b[:, 2:], b[:, :2] - a[:, 2:]) + 1
    return np.asarray(np.hypot(*np.maximum(gap, 0).T))
