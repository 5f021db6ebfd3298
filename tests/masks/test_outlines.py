"""Outlines of masks, and back."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from skimage.draw import polygon
from skimage.measure import find_contours

from drawing import RING
from somaseg.masks import crops as mk
from somaseg.masks.outlines import crop_from_outlines, outlines_from_crop

SIDES = array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=12)
MASKS = arrays(bool, SIDES)


def test_outlines_of_a_ring_with_a_pixel_inside():
    box, crop = mk.crop_from_mask(RING)
    outlines = outlines_from_crop(crop, box)
    assert len(outlines) == 3
    outer = max(outlines, key=np.ptp)
    assert (outer.min(), outer.max()) == (0.5, 5.5)
    back_box, back = crop_from_outlines(outlines, RING.shape)
    assert back_box == box
    np.testing.assert_array_equal(back, crop)


@given(MASKS)
def test_outlines_round_trip(mask):
    box, crop = mk.crop_from_mask(mask)
    back_box, back = crop_from_outlines(outlines_from_crop(crop, box), mask.shape)
    assert back_box == box
    np.testing.assert_array_equal(back, crop)


def from_its_first_point(outline):
    """The closed outline with its least point first, so that outlines that begin elsewhere are equal."""
    points = outline[:-1].tolist()
    first = points.index(min(points))
    return points[first:] + points[:first]


@given(MASKS)
def test_outlines_are_those_of_scikit_image(mask):
    theirs = [contour[:, ::-1] - 1 for contour in find_contours(np.pad(mask, 1).astype(float), 0.5)]
    ours = outlines_from_crop(mask, (0, 0, mask.shape[1], mask.shape[0]))
    assert all((outline[0] == outline[-1]).all() for outline in ours)
    assert sorted(map(from_its_first_point, ours)) == sorted(map(from_its_first_point, theirs))


QUARTERS = st.integers(-12, 60).map(lambda n: n / 4)


@given(st.lists(st.tuples(QUARTERS, QUARTERS), min_size=1, max_size=7))
def test_an_outline_holds_the_pixels_that_scikit_image_draws(points):
    xy = np.array(points)
    full = np.zeros((11, 13), bool)
    rows, columns = polygon(xy[:, 1], xy[:, 0], full.shape)
    full[rows, columns] = True
    box, crop = crop_from_outlines([xy], full.shape)
    ours = mk.paste(crop, box, full.shape)
    # A centre on a slanted line is inside or not as rounding has it.
    near = np.zeros_like(full)
    grid = np.stack(np.meshgrid(np.arange(13), np.arange(11)), axis=-1)
    for a, b in zip(xy, np.roll(xy, -1, axis=0), strict=True):
        side, to = b - a, grid - a
        along = np.clip((to @ side) / max(side @ side, 1e-9), 0, 1)
        near |= np.linalg.norm(to - along[..., None] * side, axis=-1) < 1e-6
    np.testing.assert_array_equal(ours[~near], full[~near])
