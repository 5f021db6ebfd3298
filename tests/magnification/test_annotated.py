"""Annotated cells of another size than the weights know: how much larger, and what a training makes of it."""

import numpy as np
import pytest

from somaseg.config import (
    AugmentSettings,
    Config,
    DetectSettings,
    EdgeSettings,
    ModelSettings,
    PostprocessSettings,
    TrainedSize,
    ZoomSettings,
)
from somaseg.instances import Instances
from somaseg.magnification.annotated import at_own_scale, beside, measured
from somaseg.magnification.sizes import median_diameters

KNOWN = TrainedSize(cell_diameter={"round": 16, "long": 30})


def cells(side, count=6, classes=("round", "long"), label=0):
    crops = [((0, 0, side, side), np.ones((side, side), bool))] * count
    return Instances.build((200, 200), crops, classes, [label] * count)


def test_the_median_diameter_is_by_class_and_needs_some_cells():
    found = median_diameters([cells(10), cells(20, count=7), cells(40, count=4, label=1)])
    assert found == {"round": pytest.approx(20 * 2 / np.sqrt(np.pi), abs=0.01)}
    assert median_diameters([]) == {}


def test_a_pixel_size_counts_where_all_images_have_it():
    assert measured([cells(10)], [0.5]).pixel_size == 0.5
    assert measured([cells(10)] * 2, [0.5, 0.51]).pixel_size == pytest.approx(0.505)
    for sizes in ([0.5, None], [0.5, 1.0], [None, None]):
        assert measured([cells(10)] * 2, sizes).pixel_size is None
    assert measured([], []) == TrainedSize()


@pytest.mark.parametrize(
    ("found", "known", "enlarged", "zoom"),
    [
        (TrainedSize(cell_diameter={"round": 48}), KNOWN, 3, 1 / 3),
        (TrainedSize(cell_diameter={"Round": 8, "long": 15}), KNOWN, 0.5, 2),
        (TrainedSize(cell_diameter={"round": 20}), KNOWN, 1.25, 1),  # training varies sizes as much
        (TrainedSize(cell_diameter={"other": 22}), KNOWN, 1, 1),  # between those that are known
        (TrainedSize(cell_diameter={"other": 60}), KNOWN, 2, 0.5),
        (TrainedSize(cell_diameter={"other": 4}), KNOWN, 0.25, 4),
        (TrainedSize(pixel_size=0.2, cell_diameter={"round": 16}), TrainedSize(pixel_size=0.6), 3, 1 / 3),
        (TrainedSize(cell_diameter={"round": 48}), TrainedSize(), 1, 1),
        (TrainedSize(), KNOWN, 1, 1),
    ],
)
def test_how_much_larger_annotated_cells_are(found, known, enlarged, zoom):
    compared = beside(found, known)
    assert (compared.enlarged, compared.zoom) == (pytest.approx(enlarged), pytest.approx(zoom))
    assert compared.differs == (compared.zoom != 1)


def test_new_weights_have_the_scale_of_their_images():
    config = Config(
        model=ModelSettings(classes=("round", "long"), detect=DetectSettings(scale=1.5)),
        augment=AugmentSettings(size=ZoomSettings(factor=(1.2, 1.8))),
        postprocess=PostprocessSettings(min_area={"default": 60, "long": 90}, offset=(0, -0.4)),
    )
    brought = at_own_scale(config, beside(TrainedSize(cell_diameter={"round": 48}), KNOWN))
    assert brought.model.detect.scale == pytest.approx(0.5)
    assert brought.augment.size.factor == pytest.approx((0.4, 0.6))
    assert brought.postprocess.min_area == {"default": 540, "long": 810}
    assert brought.postprocess.offset == pytest.approx((0, -1.2))
    assert brought.model.trained_at == TrainedSize(cell_diameter={"round": 48, "long": 90})
    # The same images again are as large as the new weights know them.
    assert not beside(TrainedSize(cell_diameter={"round": 48}), brought.model.trained_at).differs


def test_cells_of_about_the_known_size_change_nothing_but_what_is_known():
    config = Config(model=ModelSettings(classes=("round", "long")))
    brought = at_own_scale(config, beside(TrainedSize(cell_diameter={"round": 18}), KNOWN))
    assert brought.model.trained_at.cell_diameter == {"round": 18, "long": 30}
    assert brought == config.model_copy(update={"model": config.model.model_copy(update={"trained_at": brought.model.trained_at})})


@pytest.mark.parametrize("fixed", ["detect", "augment"])
def test_networks_that_see_all_images_at_one_size_stay_as_they_are(fixed):
    model = ModelSettings(classes=("round", "long"), detect=DetectSettings(shortest_edge=800) if fixed == "detect" else DetectSettings())
    config = Config(model=model, augment=AugmentSettings(size=EdgeSettings() if fixed == "augment" else ZoomSettings()))
    brought = at_own_scale(config, beside(TrainedSize(cell_diameter={"round": 48}), KNOWN))
    assert (brought.model.detect, brought.augment, brought.postprocess) == (config.model.detect, config.augment, config.postprocess)
    assert brought.model.trained_at.cell_diameter == {"round": 48, "long": 30}
