import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from somaseg.config import InputSettings
from somaseg.errors import InputError
from somaseg.images.normalize import CLIP, grey8, normalize, pixel_values, to_grey

GREY = arrays(np.uint8, array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=9))


def test_values_of_a_drawn_image():
    # mean 4, deviation 2
    np.testing.assert_array_equal(normalize(np.array([[2, 6], [6, 2]], np.uint8)), [[-1, 1], [1, -1]])


@given(GREY)
def test_bit_depth_and_exposure_cancel(image):
    plain = normalize(image)
    assert plain.dtype == np.float32
    for copy in (image.astype(np.uint16) * 257, image.astype(np.float32) / 255, image.astype(np.float64) * 3 + 100):
        np.testing.assert_allclose(normalize(copy), plain, atol=1e-3)


@given(GREY)
def test_mean_is_zero_and_deviation_one_unless_flat(image):
    values = normalize(image)
    if image.min() == image.max():
        assert not values.any()
    elif np.abs(values).max() < CLIP:
        assert values.mean() == pytest.approx(0, abs=1e-4)
        assert values.std() == pytest.approx(1, abs=1e-4)


def test_a_speck_is_clipped():
    image = np.zeros((100, 100), np.uint16)
    image[50, 50] = 65535
    assert normalize(image).max() == CLIP


@pytest.mark.parametrize("shape", [(1, 1), (3, 4), (0, 5)])
def test_flat_and_empty_images_give_zeros(shape):
    values = normalize(np.full(shape, 7, np.uint8))
    assert values.shape == shape
    assert not values.any()


def test_channels():
    grey = np.arange(6, dtype=np.uint8).reshape(2, 3)
    alpha = np.full_like(grey, 9)
    for channels in ([grey], [grey, alpha], [grey, grey, grey], [grey, grey, grey, alpha]):
        np.testing.assert_allclose(to_grey(np.stack(channels, axis=-1)), grey, rtol=1e-6)
    pure_green = np.array([[[0, 100, 0]]], np.uint8)
    np.testing.assert_allclose(to_grey(pure_green), [[58.7]], rtol=1e-6)


@given(arrays(np.float32, (4, 4), elements=st.sampled_from([np.nan, np.inf, -np.inf, 1, 2, 3])))
def test_pixels_that_are_not_numbers_become_the_median(image):
    finite = image[np.isfinite(image)]
    grey = to_grey(image)
    expected = np.where(np.isfinite(image), image, np.median(finite) if len(finite) else 0)
    np.testing.assert_array_equal(grey, expected)
    assert np.isfinite(normalize(image)).all()


@pytest.mark.parametrize("shape", [(4,), (4, 4, 5), (4, 4, 0), (2, 4, 4, 3)])
def test_other_shapes_are_refused(shape):
    with pytest.raises(InputError, match="give \\(height, width\\)"):
        to_grey(np.zeros(shape))


@given(GREY)
def test_grey8_leaves_8_bits_as_they_are(image):
    values = grey8(image)
    assert values.dtype == np.float32
    np.testing.assert_array_equal(values, image)
    np.testing.assert_array_equal(grey8(np.stack([image] * 3, axis=-1)), image)


@given(GREY)
def test_grey8_of_other_types_fills_the_range(image):
    copies = [grey8(copy) for copy in (image.astype(np.uint16) * 257, image.astype(np.float32) / 255, image.astype(np.float64) * 3 + 100)]
    for values in copies:
        assert values.dtype == np.float32
        np.testing.assert_array_equal(values, np.rint(values))
        np.testing.assert_allclose(values, copies[0], atol=1)
        flat = image.min() == image.max()
        assert (values.min(), values.max()) == ((0, 0) if flat else (0, 255))


def test_grey8_stretches_between_its_percentiles():
    # Of 1001 values, 0 to 1000, percentile .3 is 3 and percentile 99.7 is 997.
    ramp = np.arange(1001, dtype=np.uint16).reshape(7, 143)
    values = grey8(ramp).ravel()
    assert values[[0, 3, 600, 997, 1000]].tolist() == [0, 0, 153, 255, 255]
    assert grey8(np.zeros((0, 3))).shape == (0, 3)


def test_the_settings_choose_the_values():
    image = np.array([[2, 6], [6, 2]], np.uint8)
    np.testing.assert_array_equal(pixel_values(image, InputSettings()), normalize(image))
    np.testing.assert_array_equal(pixel_values(image, InputSettings(values="grey8")), image)
