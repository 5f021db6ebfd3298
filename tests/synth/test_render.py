from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import ValidationError
from scipy import ndimage

from somaseg.instances import Instances
from somaseg.synth.render import CLASSES, SynthSettings, render

Rendered = dict[str, tuple[NDArray[np.uint8], Instances]]


@pytest.fixture(scope="module")
def cultures() -> Rendered:
    return {cell_type: render(_settings(cell_type), seed=5) for cell_type in CLASSES}


def _settings(cell_type: str, **changes: Any) -> SynthSettings:
    return SynthSettings.model_validate({"cell_type": cell_type, **changes})


def _median(values: NDArray[Any]) -> float:
    return float(np.median(values))


@pytest.mark.parametrize("cell_type", CLASSES)
def test_shape_type_and_classes(cultures: Rendered, cell_type: str) -> None:
    image, cells = cultures[cell_type]
    assert image.shape == (520, 704)
    assert image.dtype == np.uint8
    assert cells.size == (520, 704)
    assert cells.classes == CLASSES
    assert set(cells.labels.tolist()) == {CLASSES.index(cell_type)}
    assert abs(float(image.mean()) - 128) < 1


def test_a_seed_gives_the_same_culture_and_another_seed_another(cultures: Rendered) -> None:
    image, cells = cultures["astro"]
    again, same = render(_settings("astro"), seed=5)
    np.testing.assert_array_equal(image, again)
    np.testing.assert_array_equal(cells.boxes, same.boxes)
    for mask, other in zip(cells.masks, same.masks, strict=True):
        np.testing.assert_array_equal(mask, other)
    assert not np.array_equal(image, render(_settings("astro"), seed=6)[0])


# Medians and limits of docs/method.md, with room for one image.
@pytest.mark.parametrize(
    ("cell_type", "count", "area", "fill", "box"),
    [
        ("shsy5y", (80, 790), (150, 250), (0.5, 0.72), (15, 23)),
        ("astro", (15, 594), (400, 950), (0.28, 0.55), (31, 62)),
        ("cort", (10, 108), (160, 300), (0.6, 0.8), (15, 22)),
    ],
)
def test_counts_and_sizes_are_those_of_the_real_cells(
    cultures: Rendered, cell_type: str, count: tuple[int, int], area: tuple[int, int], fill: tuple[float, float], box: tuple[int, int]
) -> None:
    _, cells = cultures[cell_type]
    box_area = (cells.boxes[:, 2:] - cells.boxes[:, :2]).prod(axis=1)
    assert count[0] <= len(cells) <= count[1]
    assert area[0] <= _median(cells.area) <= area[1]
    assert fill[0] <= _median(cells.area / box_area) <= fill[1]
    assert box[0] <= _median(np.sqrt(box_area)) <= box[1]


@pytest.mark.parametrize("cell_type", CLASSES)
def test_masks_are_tight_in_one_piece_and_large_enough(cultures: Rendered, cell_type: str) -> None:
    for mask in cultures[cell_type][1].masks:
        assert mask[0].any()
        assert mask[-1].any()
        assert mask[:, 0].any()
        assert mask[:, -1].any()
        assert mask.sum() >= 40


@pytest.mark.parametrize("cell_type", CLASSES)
def test_without_halo_and_clutter_the_pixels_of_a_mask_are_dark_and_all_others_are_not(cell_type: str) -> None:
    bare = _settings(cell_type, halo=0, noise=0, unevenness=0, neurites=0, debris=0, cells=12, size=(300, 300))
    image, cells = render(bare, seed=1)
    inside = cells.to_masks().any(axis=0)
    background = int(np.median(image[~inside]))
    outside = image[~ndimage.binary_dilation(inside, iterations=2)]
    assert set(np.unique(outside)) <= {background, background + 1, background - 1}
    for mask in cells.to_masks():
        core = mask & (ndimage.distance_transform_edt(mask) > 0.6 * ndimage.distance_transform_edt(mask).max())
        assert float(image[core].mean()) < background - 2


@pytest.mark.parametrize("cell_type", CLASSES)
def test_halo_makes_a_bright_rim_inside_the_masks(cell_type: str) -> None:
    plain = {"noise": 0, "neurites": 0, "debris": 0, "size": (300, 300)}
    with_halo, cells = render(_settings(cell_type, halo=1, **plain), seed=2)
    without, _ = render(_settings(cell_type, halo=0, **plain), seed=2)
    inside = cells.to_masks().any(axis=0)
    rim = inside & (ndimage.distance_transform_edt(inside) < 2)
    assert with_halo[rim].mean() > with_halo[~inside].mean() + 2
    assert without[rim].mean() < with_halo[rim].mean() - 2


@pytest.mark.parametrize("cell_type", ["shsy5y", "astro"])
def test_some_cells_overlap_but_little_of_the_foreground(cell_type: str) -> None:
    lost = foreground = 0
    for seed in range(6):
        labels, hidden = render(_settings(cell_type, size=(300, 400)), seed)[1].to_label_image()
        lost += hidden
        foreground += np.count_nonzero(labels)
    assert 0.003 < lost / foreground < 0.06


def test_the_asked_number_of_cells_is_placed_where_there_is_room() -> None:
    assert len(render(_settings("cort", cells=7), seed=0)[1]) == 7


def test_a_crowded_image_leaves_cells_out() -> None:
    _, cells = render(_settings("shsy5y", cells=300, size=(64, 64)), seed=0)
    assert 5 < len(cells) < 100


@pytest.mark.parametrize("cell_type", CLASSES)
def test_no_cells_is_an_image_of_debris_and_neurites(cell_type: str) -> None:
    image, cells = render(_settings(cell_type, cells=0, size=(128, 128), debris=5), seed=0)
    assert len(cells) == 0
    assert image.std() > 2


def test_an_empty_field_is_flat() -> None:
    image, cells = render(_settings("cort", cells=0, neurites=0, debris=0, noise=0, unevenness=0, size=(40, 50)), seed=0)
    assert len(cells) == 0
    np.testing.assert_array_equal(image, np.full((40, 50), 128, np.uint8))


@pytest.mark.parametrize("cell_type", CLASSES)
@pytest.mark.parametrize("size", [(1, 1), (1, 9), (17, 3), (33, 40)])
def test_tiny_sizes_work(cell_type: str, size: tuple[int, int]) -> None:
    image, cells = render(_settings(cell_type, size=size), seed=3)
    assert image.shape == size
    assert cells.size == size


def test_factors_of_neurites_and_debris_add_clutter() -> None:
    deviations = [float(render(_settings("cort", cells=3, neurites=f, debris=f, size=(200, 200)), seed=4)[0].std()) for f in (0, 0.5, 2.5)]
    assert deviations[0] < deviations[1] < deviations[2]


@pytest.mark.parametrize("field", [{"cell_type": "hela"}, {"size": (0, 4)}, {"cells": -1}, {"halo": 1.5}, {"noise": -1}, {"blur": 1}])
def test_wrong_settings_name_the_field(field: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=next(iter(field))):
        SynthSettings.model_validate(field)
