"""The strip below a picture."""

import numpy as np
import pytest
from PIL import Image

from somaseg.export.legend import BAR, HEIGHT, TEXT, WIDTH, Legend, scale_bar, shown_name


def strip(*classes, pixel_size=None, width=500, note=""):
    legend = Legend(classes, pixel_size, (10, 20, 30), (0, 229, 255), note)
    return np.asarray(legend.below(Image.new("RGB", (width, 30), "white")))


@pytest.mark.parametrize(
    ("pixel_size", "pixels", "text"),
    [
        (0.5, 100, "50 µm"),
        (0.65, 154, "100 µm"),
        (1, 100, "100 µm"),
        (0.001, 100, "0.1 µm"),
        (0.0001, 100, "10 nm"),
        (10, 100, "1 mm"),
        (0.2, 100, "20 µm"),
    ],
)
def test_a_bar_has_a_round_length(pixel_size, pixels, text):
    assert scale_bar(pixel_size) == (pixels, text)


def test_every_pixel_size_has_a_bar_that_fits():
    for pixel_size in np.geomspace(1e-6, 1e4, 300).tolist():
        pixels, text = scale_bar(pixel_size)
        assert BAR[0] <= pixels <= BAR[1] + 1
        assert text.partition(" ")[0].strip("0.") in ("1", "2", "5")


@pytest.mark.parametrize("pixel_size", [None, 0, -1, float("nan"), float("inf")])
def test_no_bar_without_a_size(pixel_size):
    assert scale_bar(pixel_size) is None


def test_the_bar_is_as_long_as_it_says():
    row = strip(("a", 3, None), pixel_size=0.5)[30 + HEIGHT // 2]
    lit = (row == TEXT).all(axis=1)
    runs = np.diff(np.flatnonzero(np.diff(np.pad(lit, 1).astype(int))))[::2]
    assert runs.max() == 100


def test_classes_have_dots_of_their_colours_and_counts():
    picture = strip(("astro", 3, (255, 0, 0)), ("cort", 1, (0, 255, 0)))
    assert picture.shape == (30 + HEIGHT, 500, 3)
    assert (picture == (255, 0, 0)).all(axis=2).sum() > 80
    assert (picture == (0, 255, 0)).all(axis=2).sum() > 80
    assert (strip(("astro", 3, None)) != strip(("astro", 4, None))).any()


def test_a_strip_is_as_wide_as_what_it_says():
    assert strip(width=20).shape[1] == WIDTH
    many = [(f"class {i}", 10, (255, 0, 0)) for i in range(12)]
    assert strip(*many, pixel_size=0.5, note="3 numbers left out").shape[1] > 1200


@pytest.mark.parametrize("name", ["a\nb", "\0", "a" * 500, "ü 日本 😀", "", "a\udcff"])
def test_hostile_names_are_one_line(name):
    assert "\n" not in shown_name(name)
    assert len(shown_name(name)) <= 40
    assert strip((name, 3, (255, 0, 0))).shape[0] == 30 + HEIGHT
