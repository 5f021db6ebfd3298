"""Shapes of synthetic cells as signed distances."""

import numpy as np
import pytest

from somaseg.synth.cells import CELLS, Shape


def capsule(half: float, radius: float, *more: list[list[float]]) -> Shape:
    """A straight branch along x."""
    branch = [[-half, 0, radius], [half, 0, radius]]
    return Shape(
        tuple(np.array(b, np.float32) for b in (branch, *more)),
        np.zeros((0, 3), np.float32), 2.0, 0.0, 1.0, (1.0, 2.0), 3.0, (1.0, 1.0, 0.1),
    )  # fmt: skip


def at(shape: Shape, *points: tuple[float, float]) -> list[float]:
    x, y = np.array(points, np.float32).T
    return shape.distance(x, y).tolist()


def test_the_distance_of_a_capsule_is_exact():
    assert at(capsule(10, 4), (0, 0), (0, 4), (0, 9), (14, 0), (13, 4)) == pytest.approx([-4, 0, 5, 0, 1])


def test_joins_are_rounded_outwards_and_never_inwards():
    cross = [[0, -10, 4], [0, 10, 4]]
    one, other, both = capsule(10, 4), Shape(**{**vars(capsule(10, 4)), "branches": (np.array(cross, np.float32),)}), capsule(10, 4, cross)
    grid = np.meshgrid(np.arange(-16, 17, dtype=np.float32), np.arange(-16, 17, dtype=np.float32))
    least = np.minimum(one.distance(*grid), other.distance(*grid))
    joined = both.distance(*grid)
    assert (joined <= least + 1e-5).all()
    assert (joined < least - 0.1).any()
    assert (least - joined).max() <= both.blend / 4 + 1e-5


@pytest.mark.parametrize("cell_type", sorted(CELLS))
@pytest.mark.parametrize("seed", range(5))
def test_a_drawn_cell_lies_inside_its_bounds(cell_type, seed):
    shape = CELLS[cell_type](np.random.default_rng(seed))
    x0, y0, x1, y1 = shape.bounds()
    x, y = np.meshgrid(np.arange(x0 - 5, x1 + 5, dtype=np.float32), np.arange(y0 - 5, y1 + 5, dtype=np.float32))
    inside = shape.distance(x, y) < 0
    assert inside.any()
    assert not (inside & ((x < x0) | (x > x1) | (y < y0) | (y > y1))).any()
    again = CELLS[cell_type](np.random.default_rng(seed))
    assert all(np.array_equal(a, b) for a, b in zip(again.branches, shape.branches, strict=True))
