import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from somaseg.config import InputSettings
from somaseg.errors import InputError
from somaseg.images.normalize import CLIP, doubts, grey8, normalize, pixel_values, to_grey

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


def noise(height=64, width=80, seed=0):
    """A grey picture whose values lie within 5 deviations of their mean."""
    return np.clip(np.random.default_rng(seed).normal(120, 12, (height, width)), 70, 170).astype(np.uint8)


@pytest.mark.parametrize("share", [0.0005, 0.004, 0.01, 0.03])
def test_hot_pixels_leave_the_others_as_they_are(share):
    plain = noise()
    hot = plain.astype(np.uint16)
    where = np.random.default_rng(1).random(plain.shape) < share
    where[3, 5] = True
    hot[where] = 65535
    values, expected = normalize(hot), normalize(plain)
    np.testing.assert_allclose(values[~where], expected[~where], atol=0.05)  # the mean and deviation of a few pixels fewer
    assert (values[where] == CLIP).all()


@pytest.mark.parametrize("value", [-1e5, 1e30, -1e300, 1e300])
def test_one_number_that_stands_for_missing_data(value):
    plain = noise().astype(np.float64) / 255
    odd = plain.copy()
    odd[7, 9] = value
    rest = np.ones(plain.shape, bool)
    rest[7, 9] = False
    np.testing.assert_allclose(normalize(odd)[rest], normalize(plain)[rest], atol=2e-3)


def with_hole(kind, picture, place):
    """A picture without data in a place, and the words that tell it."""
    if kind == "alpha":
        opaque = np.full_like(picture, 255)
        opaque[place] = 0
        black = picture.copy()
        black[place] = 0
        return np.dstack([black, opaque]), "transparent"
    values = {"nan": np.nan, "zero": 0, "white": 1000}
    image = picture.astype(np.float32)
    image[place] = values[kind]
    return image, "transparent or no numbers" if kind == "nan" else f"value {values[kind]}, far from all others: taken for no data"


@pytest.mark.parametrize("kind", ["alpha", "nan", "zero", "white"])
@pytest.mark.parametrize(
    "place",
    [np.s_[:20], np.s_[:, 60:], np.s_[30:40], np.s_[20:40, 20:40], np.tril_indices(64, -20)],
    ids=["top", "right", "row", "tile", "corner"],
)
def test_parts_without_data_do_not_count(kind, place):
    plain = noise()
    image, told = with_hole(kind, plain, place)
    rest = np.ones(plain.shape, bool)
    rest[place] = False
    values = normalize(image)
    shown = plain[rest].astype(np.float64)
    np.testing.assert_allclose(values[rest], (shown - shown.mean()) / shown.std(), atol=1e-4)
    assert np.abs(values[~rest]).max() < 0.2  # as bright as most of the picture: no edge
    (doubt,) = doubts(image)
    assert told in doubt
    assert f"{100 * (1 - rest.mean()):.3g} %" in doubt


def test_cells_on_a_black_ground_are_not_taken_for_a_picture_without_data():
    image = np.zeros((64, 80), np.uint16)
    for row in range(4, 60, 8):
        image[row : row + 5, 4 + row % 16 : 70 : 8] = 900 + row
        image[row : row + 5, 5 + row % 16 : 70 : 8] = 1000 - row
    assert (image == 0).mean() > 0.2
    values = normalize(image)
    assert values[image == 0].max() < values[image > 0].min()


def test_bright_blobs_on_a_dark_ground_keep_their_weight():
    image = noise().astype(np.uint16)
    image[20:32, 20:32] = 60000 + np.arange(144).reshape(12, 12)  # 3 % of the pixels, but side by side
    grey = image.astype(np.float64)
    np.testing.assert_allclose(normalize(image), np.clip((grey - grey.mean()) / grey.std(), -CLIP, CLIP), atol=1e-4)


@pytest.mark.parametrize(("dtype", "offset"), [(np.uint32, 4 * 10**9), (np.int64, 10**12), (np.int32, -(2**31)), (np.uint16, 60000)])
def test_large_whole_numbers_keep_their_contrast(dtype, offset):
    plain = noise()
    np.testing.assert_allclose(normalize(plain.astype(dtype) + dtype(offset)), normalize(plain), atol=1e-3)


def test_doubts():
    assert doubts(noise()) == []
    assert doubts(np.zeros((1, 1), np.uint8)) == []
    assert doubts(np.zeros((0, 4), np.uint8)) == []
    mostly = noise()
    mostly[np.random.default_rng(2).random(mostly.shape) < 0.6] = 120
    (told,) = doubts(mostly)
    assert "have the value 120: check that it shows cells" in told


def test_grey8_stretches_what_is_shown():
    plain = noise().astype(np.uint16)
    image = plain.copy()
    image[:20] = 0
    np.testing.assert_array_equal(grey8(image)[20:], grey8(plain[20:]))
