"""Boundaries along the edges of pixels: exact for every mask, simple, and filled by ImageJ's rule."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from scipy import ndimage

from drawing import draw
from somaseg.masks.crops import EMPTY_BOX, crop_from_mask
from somaseg.masks.pixel_edges import crop_from_rings, polygons_from_crop

MASKS = arrays(np.bool_, array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=9))


def area(ring):
    x, y = ring.T
    return (x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2


@settings(max_examples=150, deadline=None)
@given(MASKS)
def test_rings_give_the_mask_back_and_are_simple(full):
    box, crop = crop_from_mask(full)
    polygons = polygons_from_crop(crop, box)
    back_box, back = crop_from_rings([ring for polygon in polygons for ring in polygon], full.shape)
    assert back_box == box
    assert np.array_equal(back, crop)
    assert len(polygons) == ndimage.label(full)[1]
    for outer, *holes in polygons:
        assert area(outer) > 0
        assert all(area(hole) < 0 for hole in holes)
        for ring in (outer, *holes):
            steps = np.diff(ring, axis=0, append=ring[:1])
            assert ((steps != 0).sum(axis=1) == 1).all()  # along the grid, and no two points the same
            assert ((steps != 0) != np.roll(steps != 0, 1, axis=0)).all()  # turns at every point
            assert len(np.unique(ring, axis=0)) == len(ring)
        _, piece = crop_from_rings([outer, *holes], full.shape)
        assert ndimage.label(piece)[1] == 1  # each hole lies in its own piece


def test_a_pixel_a_ring_and_a_diagonal():
    assert [ring.tolist() for (ring,) in polygons_from_crop(draw("#"), (3, 5, 4, 6))] == [[[3, 5], [4, 5], [4, 6], [3, 6]]]
    ((outer, hole),) = polygons_from_crop(draw("### #.# ###"), (0, 0, 3, 3))
    assert outer.tolist() == [[0, 0], [3, 0], [3, 3], [0, 3]]
    assert sorted(hole.tolist()) == [[1, 1], [1, 2], [2, 1], [2, 2]]
    assert len(polygons_from_crop(draw("#. .#"), (0, 0, 2, 2))) == 2
    ((outer, hole),) = polygons_from_crop(draw("### #.# .##"), (0, 0, 3, 3))  # the hole touches the outside in a corner
    assert (area(outer), area(hole)) == (8, -1)
    assert polygons_from_crop(np.zeros((0, 0), bool), EMPTY_BOX) == []


@pytest.mark.parametrize(
    ("ring", "expected"),
    [
        ([[0.5, 0], [3, 0], [3, 2], [0.5, 2]], (1, 0, 3, 2)),  # a centre on the left line is outside
        ([[0, 0], [2.5, 0], [2.5, 2], [0, 2]], (0, 0, 3, 2)),  # one on the right line is inside
        ([[0, 0.5], [2, 0.5], [2, 2.5], [0, 2.5]], (0, 0, 2, 2)),
        ([[-5, -5], [50, -5], [50, 50], [-5, 50]], (0, 0, 6, 4)),
        ([[-9, 1], [-2, 1], [-2, 3], [-9, 3]], EMPTY_BOX),
        ([[1, 9], [2, 9], [2, 12]], EMPTY_BOX),
        ([[1.1, 1.1], [1.3, 1.1], [1.3, 1.3]], EMPTY_BOX),
        ([[1, 1], [1, 1]], EMPTY_BOX),
    ],
)
def test_the_rule_of_imagej(ring, expected):
    box, crop = crop_from_rings([np.array(ring)], (4, 6))
    assert box == expected
    assert crop.all()
    assert crop.shape == (box[3] - box[1], box[2] - box[0])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.floats(-3, 12), st.floats(-3, 12)), min_size=3, max_size=8))
def test_pixels_are_those_whose_centres_are_inside(points):
    ring = np.array(points)
    box, crop = crop_from_rings([ring], (9, 9))
    full = np.zeros((9, 9), bool)
    full[box[1] : box[3], box[0] : box[2]] = crop
    for y in range(9):
        crossings = []
        for (ax, ay), (bx, by) in zip(points, points[1:] + points[:1], strict=True):
            if (ay < y + 0.5) != (by < y + 0.5) and ay != y + 0.5 != by:
                crossings.append(ax + (y + 0.5 - ay) * (bx - ax) / (by - ay))
        if any(py == y + 0.5 for _, py in points) or any(abs(c - 0.5 - round(c - 0.5)) < 1e-6 for c in crossings):
            continue
        assert [sum(c < x + 0.5 for c in crossings) % 2 == 1 for x in range(9)] == full[y].tolist()


def test_what_it_costs_is_told_first():
    told = []
    square = np.array([[0, 0], [8, 0], [8, 5], [0, 5]])
    crop_from_rings([square], (100, 100), spend=lambda pixels: told.append(pixels), walk=lambda rows: told.append(rows))
    assert told == [10.0, 45]
