"""Measurements beside those of scikit-image, and beside values computed by hand."""

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.measure import label, regionprops_table

from drawing import RING, draw
from somaseg.images.frame import Channels
from somaseg.instances import Instances
from somaseg.measure import intensities, strips
from somaseg.measure.cells import SHAPES, measure

THEIRS = {
    "perimeter": "perimeter",
    "feret_max": "feret_diameter_max",
    "axis_major": "axis_major_length",
    "axis_minor": "axis_minor_length",
    "eccentricity": "eccentricity",
    "solidity": "solidity",
    "intensity_mean": "intensity_mean",
    "intensity_min": "intensity_min",
    "intensity_max": "intensity_max",
    "intensity_std": "intensity_std",
}


def of(*pictures: str) -> Instances:
    return Instances.from_masks(np.stack([draw(picture) for picture in pictures]), ("cell",))


def compare(labels: np.ndarray, image: np.ndarray) -> None:
    """Ours and theirs, of a label image."""
    ours = measure(Instances.from_label_image(labels, ("cell",)), Channels(image, ("0",))).cells
    theirs = regionprops_table(labels, image, properties=(*THEIRS.values(), "orientation", "area"))
    for name, their in THEIRS.items():
        np.testing.assert_allclose(ours[name], theirs[their], rtol=1e-9, atol=1e-7, err_msg=name)
    # A direction and its opposite are one; where both axes are equal there is none.
    turn = np.abs(ours["orientation"] - theirs["orientation"]) % np.pi
    long = theirs["axis_major_length"] - theirs["axis_minor_length"] > 1e-6
    assert np.minimum(turn, np.pi - turn)[long].max(initial=0) < 1e-6
    with np.errstate(divide="ignore"):
        expected = 4 * np.pi * theirs["area"] / theirs["perimeter"] ** 2
    np.testing.assert_allclose(ours["form_factor"], np.where(theirs["perimeter"] > 0, expected, np.nan), rtol=1e-9)


@pytest.mark.parametrize("share", [0.2, 0.4, 0.55, 0.7])
def test_ragged_cells_measure_as_in_scikit_image(share):
    rng = np.random.default_rng(round(100 * share))
    compare(label(rng.random((70, 90)) < share, connectivity=2), rng.normal(100, 30, (70, 90)))


def test_cells_in_pieces_measure_as_in_scikit_image():
    rng = np.random.default_rng(3)
    labels = rng.integers(1, 30, (60, 80)) * (rng.random((60, 80)) < 0.1)
    compare(np.unique(labels, return_inverse=True)[1].reshape(labels.shape), rng.integers(0, 65536, (60, 80)).astype(np.uint16))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.booleans(), min_size=7, max_size=7), min_size=1, max_size=6))
def test_any_shape_measures_as_in_scikit_image(rows):
    mask = np.array(rows)
    if mask.any():
        compare(mask.astype(np.int32), np.arange(mask.size).reshape(mask.shape))


def test_strips_of_few_pixels_give_the_same(monkeypatch):
    rng = np.random.default_rng(5)
    labels, image = label(rng.random((50, 60)) < 0.4), rng.random((50, 60))
    monkeypatch.setattr(strips, "MOST_PIXELS", 2000)
    monkeypatch.setattr("somaseg.measure.shapes.MOST_PAIRS", 50)
    monkeypatch.setattr(intensities, "TILE", 17)
    compare(labels, image)


def test_a_rectangle_by_hand():
    (cells,) = (of("...... .####. .####. ......"),)
    found = {name: values[0] for name, values in measure(cells).cells.items()}
    assert found["feret_max"] == pytest.approx(math.hypot(4, 1))  # from the middle of one pixel's side to another's
    assert found["feret_min"] == 2
    assert found["perimeter"] == 8  # through the centres of the border pixels, 3 + 1 + 3 + 1
    assert found["solidity"] == 1
    assert found["form_factor"] == pytest.approx(4 * math.pi * 8 / 64)
    # variances: columns (9 + 1 + 1 + 9) / 16, rows 1 / 4
    assert found["axis_major"] == pytest.approx(4 * math.sqrt(1.25))
    assert found["axis_minor"] == pytest.approx(4 * math.sqrt(0.25))
    assert found["eccentricity"] == pytest.approx(math.sqrt(1 - 0.25 / 1.25))
    assert abs(found["orientation"]) == pytest.approx(math.pi / 2)  # across
    assert (found["neighbours"], found["touches_border"]) == (0, 0)
    assert math.isnan(found["nearest"])


def test_one_pixel_has_no_form_factor():
    found = {name: values[0] for name, values in measure(of("... .#. ...")).cells.items()}
    assert (found["perimeter"], found["feret_max"], found["axis_major"], found["solidity"]) == (0, 1, 0, 1)
    assert math.isnan(found["form_factor"])


def test_the_least_feret_diameter_is_that_of_all_directions():
    rng = np.random.default_rng(7)
    for _ in range(20):
        mask = label(rng.random((9, 11)) < 0.6) == 1
        cells = Instances.from_masks(mask[None], ("cell",))
        if not len(cells) or not cells.area[0]:
            continue
        found = measure(cells).cells
        rows, columns = np.nonzero(hull_image(mask))
        corners = np.concatenate([[rows + a, columns + b] for a, b in ((0.5, 0), (-0.5, 0), (0, 0.5), (0, -0.5))], axis=1)
        angles = np.linspace(0, np.pi, 7201)
        along = np.outer(np.cos(angles), corners[0]) + np.outer(np.sin(angles), corners[1])
        width = along.max(axis=1) - along.min(axis=1)
        assert found["feret_min"][0] == pytest.approx(width.min(), rel=2e-3)
        assert found["feret_min"][0] <= width.min() + 1e-9
        assert found["feret_max"][0] == pytest.approx(width.max(), rel=1e-5)


def hull_image(mask: np.ndarray) -> np.ndarray:
    from skimage.morphology import convex_hull_image

    return convex_hull_image(mask)


def test_neighbours_by_hand():
    #                        a         b        c
    cells = of("##.......... ............", "...##....... ............", "............ ...........#")
    found = measure(cells).cells
    assert found["nearest"].tolist() == [2, 2, pytest.approx(math.hypot(7, 1))]
    assert found["neighbours"].tolist() == [1, 1, 0]
    assert found["touches_border"].tolist() == [1, 1, 1]


def test_touching_cells_are_at_one_and_overlapping_or_nested_ones_at_zero():
    assert measure(of("##.. ....", "..#. ....")).cells["nearest"].tolist() == [1, 1]
    assert measure(of("##.. ....", ".##. ....")).cells["nearest"].tolist() == [0, 0]
    inner = np.zeros((7, 7), bool)
    inner[3, 3] = True
    nested = Instances.from_masks(np.stack([np.ones((7, 7), bool), inner]), ("cell",))
    assert measure(nested).cells["nearest"].tolist() == [0, 0]
    ring_alone = RING.copy()
    ring_alone[3, 3] = False
    found = measure(Instances.from_masks(np.stack([ring_alone, inner]), ("cell",))).cells
    assert found["nearest"].tolist() == [2, 2]


@pytest.mark.parametrize("limit", [1 << 20, 1])
def test_nearest_is_that_of_all_pairs(limit, monkeypatch):
    monkeypatch.setattr("somaseg.measure.neighbours.MOST_DISTANCES", limit)
    rng = np.random.default_rng(11)
    labels = label(rng.random((60, 60)) < 0.12, connectivity=2)
    labels[20:24] = 0
    labels[22, :] = labels.max() + 1  # one cell from side to side
    cells = Instances.from_label_image(np.unique(labels, return_inverse=True)[1].reshape(labels.shape), ("cell",))
    places = [np.argwhere(mask) + box[1::-1] for mask, box in zip(cells.masks, cells.boxes, strict=True)]
    apart = np.array([[np.sqrt(((a[:, None] - b[None]) ** 2).sum(-1).min()) for b in places] for a in places])
    np.fill_diagonal(apart, np.inf)
    found = measure(cells).cells
    np.testing.assert_allclose(found["nearest"], apart.min(axis=1))
    assert found["neighbours"].tolist() == (apart <= 5).sum(axis=1).tolist()


def test_background_is_the_median_of_free_pixels_beside_a_cell():
    image = np.full((40, 40), 50.0)
    image[10:15, 10:15] = 200  # the cell
    image[8:17, 8:17] = np.where(image[8:17, 8:17] == 200, 200, 120)  # its halo, 2 px
    image[10:15, 18:23] = 250  # another cell
    image[30:] = 9000  # too far to count
    masks = np.zeros((2, 40, 40), bool)
    masks[0, 10:15, 10:15] = masks[1, 10:15, 18:23] = True
    found = measure(Instances.from_masks(masks, ("cell",)), Channels(image, ("0",))).cells
    assert found["background"].tolist() == [50, 50]
    assert found["intensity_mean"].tolist() == [200, 250]


def test_overlapping_cells_are_measured_whole():
    found = measure(of("###. ###.", "..## ..##"), Channels(np.array([[0, 0, 5, 9], [0, 0, 5, 9]]), ("0",))).cells
    assert found["intensity_mean"].tolist() == [pytest.approx(5 / 3), 7]
    assert found["intensity_max"].tolist() == [5, 9]


@pytest.mark.parametrize("tile", [2048, 3])
def test_covered_pixels_count_once(tile, monkeypatch):
    monkeypatch.setattr("somaseg.measure.cells.TILE", tile)
    assert measure(of("###. ###.", "..## ..##")).covered == 8
    assert measure(of("##.. ##..", "..## ..##")).covered == 8
    assert measure(of("##.. ....", "..## ..##")).covered == 6


def test_each_channel_has_its_columns_and_alpha_has_none():
    image = np.zeros((2, 4, 4))
    image[..., 0], image[..., 1], image[..., 3] = 3, 4, 99
    found = measure(of("##.. ...."), Channels(image, ("red", "green", "blue"))).cells
    assert [found[f"intensity_mean_{name}"][0] for name in ("red", "green", "blue")] == [3, 4, 0]
    assert not [name for name in found if "alpha" in name]


def test_values_that_are_no_numbers_do_not_count():
    image = np.array([[np.nan, 2, np.inf, 8], [4, 6, 1, 1]])
    found = measure(of("##.. ##..", "..#. ...."), Channels(image, ("0",))).cells
    assert found["intensity_mean"][0] == 4
    assert found["intensity_std"][0] == pytest.approx(math.sqrt(8 / 3))
    assert np.isnan([found[f"intensity_{what}"][1] for what in ("mean", "min", "max", "std")]).all()


def test_no_cell_and_a_cell_without_pixels():
    assert {name: len(values) for name, values in measure(Instances.empty((4, 5), ("cell",))).cells.items()} == dict.fromkeys(SHAPES, 0)
    one = Instances.build((4, 5), [((1, 1, 2, 2), np.zeros((1, 1), bool)), ((0, 0, 1, 1), np.ones((1, 1), bool))], ("cell",))
    found = measure(one, Channels(np.ones((4, 5)), ("0",))).cells
    assert np.isnan(found["perimeter"]).tolist() == [True, False]
    assert np.isnan(found["nearest"]).all()
    assert found["neighbours"].tolist() == [0, 0]


def test_large_images_are_read_in_windows():
    class Lazy:
        shape = (9000, 9000)

        def __init__(self):
            self.read = 0

        def __getitem__(self, window):
            rows, columns = window
            self.read += (rows.stop - rows.start) * (columns.stop - columns.start)
            return np.add.outer(np.arange(rows.start, rows.stop), np.arange(columns.start, columns.stop))

    lazy = Lazy()
    corners = [(5, 5), (40, 30), (8000, 100), (8500, 8990)]
    cells = Instances.build((9000, 9000), [((x, y, x + 8, y + 9), np.ones((9, 8), bool)) for x, y in corners], ("cell",))
    found = measure(cells, Channels(lazy, ("0",))).cells
    np.testing.assert_allclose(found["intensity_mean"], [x + 3.5 + y + 4 for x, y in corners])
    assert lazy.read < 10_000
    assert found["nearest"][0] == pytest.approx(math.hypot(40 - 12, 30 - 13))


def test_as_json_names_each_column_once_and_keeps_nine_digits():
    told = json.loads(json.dumps(measure(of("... .#. ..."), Channels(np.full((3, 3), 1 / 3), ("0",))).as_json()))
    assert told["channels"] == ["0"]
    assert told["covered"] == 1
    assert told["cells"]["form_factor"] == [None]
    assert told["cells"]["intensity_mean"] == [0.333333333]
    assert told["cells"]["neighbours"] == [0]
    assert measure(of("#")).as_json()["channels"] is None
