"""Which size counts: what is given, the file, the weights, an estimate, in that order."""

import warnings

import numpy as np
import pytest

from magnified import IMAGE, KNOWN, Culture
from somaseg.config import MagnificationSettings, TrainedSize
from somaseg.errors import InputError
from somaseg.magnification.choose import check_magnification, predict_magnified

BOTH = TrainedSize(pixel_size=0.5, cell_diameter=KNOWN)
ONE = TrainedSize(cell_diameter={"small": 16.0, "alike": 17.0})


def shown(settings, known=BOTH, pixel_size=None, culture=None):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        prediction, magnification = predict_magnified(culture or Culture(16), IMAGE, MagnificationSettings(**settings), known, pixel_size)
    assert prediction.zoom == magnification.zoom
    return magnification, [str(warning.message) for warning in caught if "seen at" not in str(warning.message)]


@pytest.mark.parametrize(
    ("settings", "known", "pixel_size", "zoom", "source"),
    [
        ({"cell_diameter": 33}, ONE, 0.25, 0.5, "given cell diameter"),
        ({"cell_diameter": 56, "cell_class": "large"}, BOTH, 0.25, 0.5, "given cell diameter"),
        ({"cell_diameter": 56, "cell_class": "large", "estimate": "off"}, BOTH, 0.25, 0.5, "given cell diameter"),
        ({"pixel_size": 0.1}, BOTH, 0.25, 0.2, "given pixel size"),
        ({"pixel_size": 0.1, "weights_pixel_size": 1}, BOTH, 0.25, 0.1, "given pixel size"),
        ({}, BOTH, 0.25, 0.5, "file's pixel size"),
        ({"weights_pixel_size": 0.25}, ONE, 0.5, 2.0, "file's pixel size"),
        ({}, BOTH, None, 1.0, "estimated"),
        ({}, ONE, 0.25, 1.0, "estimated"),
        ({"estimate": "off"}, BOTH, 0.25, 1.0, "off"),
        ({}, TrainedSize(), 0.25, 1.0, "unknown"),
    ],
)
def test_what_counts(settings, known, pixel_size, zoom, source):
    magnification, told = shown(settings, known, pixel_size)
    assert (magnification.zoom, magnification.source) == (pytest.approx(zoom, rel=0.02), source)
    assert not told


def test_a_diameter_that_may_be_that_of_two_classes_is_that_of_the_one_that_fits():
    assert shown({"cell_diameter": 84}, culture=Culture(84, label=1))[0].zoom == pytest.approx(28 / 84)
    assert shown({"cell_diameter": 48}, culture=Culture(48))[0].zoom == pytest.approx(16 / 48)
    with pytest.raises(InputError, match=r"several sizes \(small 16 px, large 28 px\): say which"):
        shown({"cell_diameter": 48, "estimate": "off"})


def test_a_pixel_size_of_a_file_that_cannot_be_is_told_and_not_used():
    magnification, (told,) = shown({}, BOTH, 25.4)
    assert (magnification.zoom, magnification.source) == (1.0, "estimated")
    assert "the file's pixel size of 25.4 µm is not believed, the weights were trained at 0.5 µm: give --pixel-size" in told


def test_an_estimate_far_from_what_the_weights_know_is_told():
    magnification, (told,) = shown({}, culture=Culture(48))
    assert magnification.zoom == pytest.approx(1 / 3)
    assert "cells look 3 times as large as those that the weights know, the network is shown the image at 0.33 of its size" in told
    magnification, (told,) = shown({}, culture=Culture(16, count=2))
    assert magnification.zoom == 1
    assert "the magnification could not be estimated (there are too few cells), the image is shown as it is" in told


@pytest.mark.parametrize(
    ("settings", "known", "message"),
    [
        ({"pixel_size": 0.1}, ONE, "--pixel-size: the weights do not say at which pixel size they were trained: give --cell-diameter"),
        ({"pixel_size": 100}, BOTH, r"--pixel-size 100 µm: the weights know 0.5 µm, which is 200 times as much or as little: check the"),
        ({"cell_diameter": 9}, TrainedSize(pixel_size=1), "--cell-diameter: the weights do not say how large the cells were"),
        ({"cell_diameter": 9, "cell_class": "x"}, BOTH, "cell_class: the weights know no size of 'x': choose one of small, large"),
        ({"cell_diameter": 0.1}, BOTH, "--cell-diameter 0.1 px: the weights know 16 px, which is 160 times"),
    ],
)
def test_sizes_that_do_not_go_with_the_weights_are_refused(settings, known, message):
    with pytest.raises(InputError, match=message):
        check_magnification(MagnificationSettings(**settings), known)


def test_the_look_that_an_estimate_came_from_is_the_prediction():
    culture = Culture(8)
    with pytest.warns(UserWarning, match="seen at 2|look 0.5 times"):
        predict_magnified(culture, np.zeros((150, 200), np.uint8), MagnificationSettings(), BOTH)
    assert culture.zooms == [1.0, 2.0]


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"cell_diameter": 9, "pixel_size": 1}, "give one of them"), ({"cell_class": "small"}, "give cell_diameter too")],
)
def test_settings_that_contradict_each_other_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        MagnificationSettings(**settings)
