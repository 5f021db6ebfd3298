import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from somaseg.config import InputSettings
from somaseg.errors import InputError
from somaseg.images import levels as module
from somaseg.images.levels import levels_of, spread
from somaseg.images.normalize import apply, doubts, grey8, normalize, pixel_values

TYPES = [np.uint8, np.uint16, np.int32, np.uint32, np.float32, np.float64]
SHAPES = array_shapes(min_dims=2, max_dims=3, min_side=1, max_side=4)


def picture(height=64, width=80):
    return np.clip(np.random.default_rng(0).normal(120, 12, (height, width)), 70, 170).astype(np.uint8)


def of_all_kinds():
    plain = picture()
    hot = plain.astype(np.uint16)
    hot[3, 5] = 65535
    striped = plain.astype(np.float32)
    striped[:20] = 0
    broken = striped.copy()
    broken[30, 30:60] = np.nan
    clear = np.full_like(plain, 255)
    clear[:, 60:] = 0
    colour = np.dstack([plain, 255 - plain, plain // 2])
    framed = colour.copy()
    framed[:20] = 255
    return {
        "plain": plain,
        "hot": hot,
        "striped": striped,
        "broken": broken,
        "clear": np.dstack([plain, clear]),
        "colour": colour,
        "framed": framed,
        "colour and alpha": np.dstack([colour, clear]),
        "wide": plain.astype(np.uint32) + np.uint32(4 * 10**9),
        "flat": np.full((9, 9), 5, np.int16),
        "empty": np.zeros((0, 4), np.uint16),
    }


@pytest.mark.parametrize("name", of_all_kinds())
def test_an_image_with_its_own_levels_is_what_it_is_without_to_the_bit(name):
    image = of_all_kinds()[name]
    levels = levels_of(image)
    np.testing.assert_array_equal(apply(levels, image), normalize(image))
    np.testing.assert_array_equal(apply(levels, image, "grey8"), grey8(image))
    assert list(levels.doubts) == doubts(image)
    assert apply(levels, image).dtype == np.float32


@given(st.sampled_from(TYPES).flatmap(lambda dtype: arrays(dtype, SHAPES)))
def test_so_does_any_image(image):
    levels = levels_of(image)
    np.testing.assert_array_equal(apply(levels, image), normalize(image))
    np.testing.assert_array_equal(apply(levels, image, "grey8"), grey8(image))


@pytest.mark.parametrize("name", of_all_kinds())
def test_regions_have_the_values_of_the_whole(name):
    image = of_all_kinds()[name]
    levels = levels_of(image)
    for place in (np.s_[10:50, 20:70], np.s_[:25], np.s_[:, 55:], np.s_[:10, :10]):
        for values, whole in (("standard", normalize(image)), ("grey8", grey8(image))):
            region = pixel_values(image[place], InputSettings(values=values), levels)
            np.testing.assert_allclose(region, whole[place], rtol=1e-6, atol=1e-5)


def test_a_large_image_is_told_by_runs_of_rows_and_columns(monkeypatch):
    monkeypatch.setattr(module, "WHOLE_PIXELS", 1000)
    monkeypatch.setattr(module, "RUNS", 4)
    monkeypatch.setattr(module, "RUN", 16)
    image = np.random.default_rng(1).normal(100, 10, (400, 300)).astype(np.float32)
    seen = spread(image)
    rows = np.r_[0:16, 128:144, 256:272, 384:400]
    columns = np.r_[0:16, 95:111, 189:205, 284:300]
    np.testing.assert_array_equal(seen, image[np.ix_(rows, columns)])
    assert spread(image[:40, :20]).shape == (40, 20)
    assert spread(image[:40]).shape == (40, 64)
    levels = levels_of(image)
    assert levels.mean == pytest.approx(100, abs=1)
    assert levels.deviation == pytest.approx(10, rel=0.05)
    image[:100] = 0
    told = levels_of(image)
    assert told.fill == 0
    assert told.doubts == ("about 25 % of its pixels have the value 0, far from all others: taken for no data",)
    assert told.mean == pytest.approx(100, abs=1)
    np.testing.assert_allclose(normalize(image), apply(told, image))


def test_other_shapes_are_refused():
    with pytest.raises(InputError, match=r"image has shape \(4, 4, 5\)"):
        levels_of(np.zeros((4, 4, 5)))
