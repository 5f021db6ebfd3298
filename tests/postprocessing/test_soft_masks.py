import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from drawing import draw
from somaseg.masks import crops as mk
from somaseg.postprocessing.soft_masks import interpolate, to_pixels


def dense_paste(box: NDArray[np.float32], grid: NDArray[np.floating], size: mk.Size) -> NDArray[np.float64]:
    """Bilinear interpolation at every pixel centre, tap by tap, zeros around the grid."""
    side = len(grid)
    out = np.zeros(size)
    x0, y0, x1, y1 = box.astype(np.float64)
    for y in range(size[0]):
        for x in range(size[1]):
            u = (x + 0.5 - x0) / (x1 - x0) * side - 0.5
            v = (y + 0.5 - y0) / (y1 - y0) * side - 0.5
            for row in (int(np.floor(v)), int(np.floor(v)) + 1):
                for column in (int(np.floor(u)), int(np.floor(u)) + 1):
                    if 0 <= row < side and 0 <= column < side:
                        out[y, x] += float(grid[row, column]) * (1 - abs(v - row)) * (1 - abs(u - column))
    return out


def test_paste_of_a_grid_as_large_as_its_box_copies_it():
    grid = np.array([[[1, 0, 0], [0, 1, 0], [0, 0.9, 1]]], np.float16)
    boxes, crops, means = to_pixels(np.array([[4, 2, 7, 5]], np.float32), grid, np.array([0.5]), (10, 10))
    assert boxes.tolist() == [[4, 2, 7, 5]]
    assert (crops[0] == draw("#.. .#. .##")).all()
    assert means[0] == pytest.approx(3.9 / 4, abs=1e-3)


def test_paste_cuts_at_the_image_and_gives_nothing_for_boxes_without_pixels():
    boxes = np.array([[-4, -4, 4, 4], [30, 30, 40, 40], [5, 5, 5, 9], [6, 3, 4, 9], [np.nan, 0, 3, 3], [2.1, 2.1, 2.3, 2.3]], np.float32)
    tight, crops, means = to_pixels(boxes, np.ones((6, 28, 28), np.float16), np.full(6, 0.6), (10, 12))
    assert tight.tolist() == [[0, 0, 4, 4]] + [[0, 0, 0, 0]] * 5
    assert [c.shape for c in crops] == [(4, 4)] + [(0, 0)] * 5
    assert means.tolist() == [1, 0, 0, 0, 0, 0]


def test_paste_reaches_half_a_grid_cell_out_of_the_box():
    # A grid of one cell over a box of 4 px: the value falls linearly from 1 at the middle to 0 one grid cell away.
    grid = np.ones((1, 1, 1), np.float16)
    boxes, crops, _ = to_pixels(np.array([[4, 4, 8, 8]], np.float32), grid, np.array([0.2]), (12, 12))
    assert boxes.tolist() == [[3, 3, 9, 9]]
    assert (crops[0] == (dense_paste(np.array([4, 4, 8, 8], np.float32), grid[0], (12, 12))[3:9, 3:9] >= 0.2)).all()


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_paste_equals_the_dense_definition(seed):
    rng = np.random.default_rng(seed)
    size, side = (11, 15), 5
    corner = rng.uniform(-6, 14, (4, 2))
    boxes = np.concatenate([corner, corner + np.exp(rng.uniform(-1, 3, (4, 2)))], axis=1).astype(np.float32)
    grids = rng.uniform(0, 1, (4, side, side)).astype(np.float16)
    thresholds = rng.uniform(0.1, 0.7, 4)
    tight, crops, means = to_pixels(boxes, grids, thresholds, size)
    for i in range(4):
        soft = dense_paste(boxes[i], grids[i], size)
        sure = np.abs(soft - thresholds[i]) > 1e-5  # float32 may round the others either way
        pasted = mk.paste(crops[i], tight[i], size)
        assert (pasted == (soft >= thresholds[i]))[sure].all()
        assert tuple(tight[i]) == mk.crop_from_mask(pasted)[0]
        if pasted.any():
            assert means[i] == pytest.approx(soft[pasted].mean(), abs=1e-4)


def test_interpolate_gives_the_dense_definition_on_any_window():
    rng = np.random.default_rng(5)
    boxes = np.array([[2, 3, 9, 8], [0, 0, 3, 12], [4, 4, 5, 5]], np.float32)
    grids = rng.uniform(0, 1, (3, 4, 4)).astype(np.float16)
    windows = np.array([[0, 0, 12, 10], [1, 2, 3, 7], [4, 4, 4, 4]], np.int32)
    seen = []
    for chosen, soft in interpolate(boxes, grids, windows):
        for i, values in zip(chosen.tolist(), soft, strict=True):
            x0, y0, x1, y1 = windows[i].tolist()
            np.testing.assert_allclose(values[: y1 - y0, : x1 - x0], dense_paste(boxes[i], grids[i], (10, 12))[y0:y1, x0:x1], atol=1e-6)
            seen.append(i)
    assert sorted(seen) == [0, 1]  # the third window has no pixel
