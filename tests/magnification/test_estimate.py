"""What looks at an image tell of its magnification, by a stand-in whose cells are as large as a network would see them."""

import numpy as np
import pytest

from magnified import IMAGE, KNOWN, Culture
from somaseg.instances import Prediction
from somaseg.magnification.estimate import LADDER, LOOKS, best_of, estimate, look
from somaseg.magnification.sizes import diameters


def test_diameters_are_those_of_circles():
    assert diameters([np.pi, 4 * np.pi]).tolist() == pytest.approx([2, 4])


@pytest.mark.parametrize("label", [0, 1])
@pytest.mark.parametrize("off", [0.9, 1.0, 1.18])
def test_an_image_of_cells_of_a_known_size_stays_after_one_look(label, off):
    culture = Culture(KNOWN[Culture.classes[label]] * off, label)
    found = estimate(culture, IMAGE, KNOWN)
    assert (found.zoom, found.sure, culture.zooms) == (1.0, True, [1.0])
    assert found.prediction is not None
    assert found.warnings == ("seen at 1",)


@pytest.mark.parametrize(("off", "asked"), [(0.8, 2.0), (1.3, 0.5)])
def test_where_the_size_is_in_question_the_next_one_is_looked_at_and_must_fit_better(off, asked):
    culture = Culture(16 * off)
    found = estimate(culture, IMAGE, KNOWN)
    assert (found.zoom, found.sure, culture.zooms) == (1.0, True, [1.0, asked])


@pytest.mark.parametrize("label", [0, 1])
@pytest.mark.parametrize(("enlarged", "zoom"), [(0.2, 5), (1 / 3, 3), (0.5, 2), (2, 1 / 2), (3, 1 / 3), (5, 1 / 5)])
def test_cells_of_another_size_are_brought_to_the_known_one(label, enlarged, zoom):
    culture = Culture(KNOWN[Culture.classes[label]] * enlarged, label)
    found = estimate(culture, np.zeros((round(300 * enlarged), round(400 * enlarged)), np.uint8), KNOWN)
    assert found.zoom == pytest.approx(zoom)
    assert found.sure
    assert len(culture.zooms) <= LOOKS
    assert len(set(culture.zooms)) == len(culture.zooms)


@pytest.mark.parametrize("diameter", np.geomspace(4, 120, 20).tolist())
def test_whatever_is_estimated_comes_near_the_known_size(diameter):
    found = estimate(Culture(diameter), np.zeros((600, 800), np.uint8), KNOWN)
    assert found.zoom in LADDER
    assert 0.7 <= diameter * found.zoom / 16 <= (1.42 if found.sure else 1.6)


def test_where_there_is_nothing_the_image_stays_as_it_is_and_says_why():
    found = estimate(Culture(16, count=0), IMAGE, KNOWN)
    assert (found.zoom, found.sure, found.reason) == (1.0, False, "there are too few cells")


def test_cells_that_are_sure_at_no_size_leave_the_image_as_it_is():
    class Unsure(Culture):
        def predict(self, image, zoom=1.0, kept=None):
            found = super().predict(image, zoom)
            return Prediction(found.size, found.boxes, found.scores, np.arange(len(found)) % 2, found.mask_probs, found.classes, zoom)

    found = estimate(Unsure(60), IMAGE, KNOWN)
    assert (found.zoom, found.sure) == (1.0, False)
    assert "at any size" in found.reason


def test_of_two_known_sizes_the_one_that_fits_is_taken():
    for label, diameter in ((0, 48), (1, 84)):
        assert best_of(Culture(diameter, label), IMAGE, [16 / diameter, 28 / diameter], KNOWN).zoom == pytest.approx(1 / 3)


def test_a_look_at_a_large_image_is_at_a_part_of_it():
    seen = []

    class Watching(Culture):
        def predict(self, image, zoom=1.0, kept=None):
            seen.append((image.shape, float(image.mean()), zoom))
            return super().predict(image, zoom)

    image = np.zeros((3000, 5000), np.uint8)
    image[100:600:7, 4400:4900:7] = 200  # all that there is to see is in a corner
    found = estimate(Watching(16), image, KNOWN)
    assert found.prediction is None
    assert [(shape, zoom) for shape, _, zoom in seen] == [((640, 640), 1.0)]
    assert seen[0][1] > 0


def test_classes_that_weights_know_no_size_of_count_as_the_middle_of_the_others():
    with pytest.warns(UserWarning, match="seen at"):
        prediction = Culture(21.17).predict(IMAGE)
    assert look(prediction, {"large": 28.0, "other": 16.0}).ratio == pytest.approx(1, abs=0.01)
