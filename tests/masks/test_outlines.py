"""Outlines of masks, and back."""

import numpy as np
from hypothesis import given
from hypothesis.extra.numpy import array_shapes, arrays

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
