import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from somaseg.images.resize import resize, size_by_edge


@pytest.mark.parametrize(
    ("size", "edge", "longest", "expected"),
    [
        ((520, 704), 520, None, (520, 704)),
        ((520, 704), 800, 1333, (800, 1083)),  # 1083.08
        ((704, 520), 800, 1333, (1083, 800)),
        ((520, 704), 650, 1408, (650, 880)),
        ((520, 704), 1300, 2000, (1300, 1760)),
        ((468, 634), 1040, 1408, (1039, 1408)),  # 1408.89 wide would be too long: 1040 x 1408 / 1408.89 = 1039.34
        ((4, 7), 6, None, (6, 11)),  # 10.5 rounds up
        ((10, 10), 7, 5, (5, 5)),
        ((1, 1000), 8, 100, (1, 100)),
    ],
)
def test_sizes_follow_detectron2(size, edge, longest, expected):
    assert size_by_edge(size, edge, longest) == expected


def of_torch(plane, size):
    smooth = size[0] < plane.shape[0] or size[1] < plane.shape[1]
    tensor = torch.from_numpy(plane)[None, None]
    return torch.nn.functional.interpolate(tensor, size=size, mode="bilinear", align_corners=False, antialias=smooth)[0, 0].numpy()


SIDES = st.integers(2, 90)  # torch takes a plane of one column for another layout, and smooths it wrongly


@settings(max_examples=60)
@given(SIDES, SIDES, SIDES, SIDES)
def test_pixels_are_those_of_torch_within_rounding(height, width, new_height, new_width):
    plane = np.random.default_rng(height * 100 + width).normal(size=(height, width)).astype(np.float32)
    found = resize(plane, (new_height, new_width))
    assert (found.dtype, found.shape, found.flags.c_contiguous) == (np.float32, (new_height, new_width), True)
    np.testing.assert_allclose(found, of_torch(plane, (new_height, new_width)), atol=2e-6)


@pytest.mark.parametrize("scale", [1.1, 1.5, 2.0, 0.7])
def test_a_field_of_the_competition_is_that_of_torch_within_rounding(scale):
    plane = np.random.default_rng(0).normal(size=(520, 704)).astype(np.float32)
    size = (round(520 * scale), round(704 * scale))
    np.testing.assert_allclose(resize(plane, size), of_torch(plane, size), atol=2e-6)


def test_the_middle_of_two_pixels_is_their_mean():
    assert resize(np.array([[0, 4]], np.float32), (1, 4)).tolist() == [[0, 1, 3, 4]]
    assert resize(np.array([[0, 2, 4, 6]], np.float32), (1, 2)) == pytest.approx(np.array([[10 / 7, 32 / 7]]))


def test_the_same_size_is_the_same_image():
    plane = np.arange(12, dtype=np.float32).reshape(3, 4)[:, ::-1]
    np.testing.assert_array_equal(resize(plane, (3, 4)), plane)
