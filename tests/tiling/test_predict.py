"""Images that are seen in tiles give the cells that they would give whole, if a network could see that much."""

import numpy as np
import pytest

from blobs import BlobSegmenter, blob_image
from somaseg.config import PostprocessSettings, TileSettings
from somaseg.instances import Prediction
from somaseg.postprocessing.steps import postprocess
from somaseg.tiling.predict import predict_tiled
from somaseg.tiling.tiles import tiles

SETTINGS = TileSettings(whole=100, side=80, overlap=16)
SIZE = (290, 340)


def boxes_of(prediction: Prediction) -> list[tuple[int, ...]]:
    cells = postprocess(prediction, PostprocessSettings(min_area={"default": 1}, score_thresh={"default": 0.1}))
    return sorted(tuple(box) for box in cells.boxes.tolist())


def found(*cells: tuple[int, int, int, int], size=SIZE) -> list[tuple[int, ...]]:
    return boxes_of(predict_tiled(BlobSegmenter().predict, blob_image(*cells, size=size), SETTINGS))


def centred(x: int, y: int, width: int, height: int) -> tuple[int, int, int, int]:
    return x - width // 2, y - height // 2, x - width // 2 + width, y - height // 2 + height


def test_a_small_image_is_seen_once_and_whole():
    predictor = BlobSegmenter()
    image = blob_image((4, 4, 10, 14), size=(90, 100))
    assert predict_tiled(predictor.predict, image, SETTINGS).boxes.tolist() == predictor.predict(image).boxes.tolist()
    assert predictor.calls == 2


@pytest.mark.parametrize("extent", [(3, 3), (7, 9), (15, 15), (16, 30), (40, 14), (60, 60)])
@pytest.mark.parametrize("shift", [0, 1, 7, 8, 9, -8])
def test_a_cell_on_every_seam_and_corner_comes_out_once_and_whole(extent, shift):
    parts = tiles(SIZE, SETTINGS)
    corners = sorted({(part.core[0], part.core[1]) for part in parts if part.core[0] and part.core[1]})
    for x, y in corners[:: 1 if max(extent) < 40 else 3]:
        cell = centred(x + shift, y - shift, *extent)
        assert found(cell) == [cell], (x, y)


def test_a_crowd_gives_the_cells_that_the_whole_image_gives():
    random = np.random.default_rng(0)
    cells, taken = [], np.zeros(SIZE, bool)
    for _ in range(600):
        width, height = random.integers(3, 26, 2).tolist()
        x, y = int(random.integers(0, SIZE[1] - width)), int(random.integers(0, SIZE[0] - height))
        around = taken[max(0, y - 2) : y + height + 2, max(0, x - 2) : x + width + 2]
        if not around.any():
            taken[y : y + height, x : x + width] = True
            cells.append((x, y, x + width, y + height))
    assert len(cells) > 100
    assert found(*cells) == sorted(cells)


def test_a_cell_larger_than_a_tile_is_put_together():
    (box,) = found((100, 140, 230, 160))
    assert np.abs(np.array(box) - (100, 140, 230, 160)).max() <= 3


def test_moving_the_image_changes_no_cell_away_from_its_border():
    random = np.random.default_rng(1)
    places = [(x, y) for x in range(20, 300, 24) for y in range(20, 250, 24)]
    cells = [centred(x, y, *random.integers(4, 20, 2).tolist()) for x, y in places]
    moved = [(x0 + 40, y0 + 40, x1 + 40, y1 + 40) for x0, y0, x1, y1 in cells]
    before, after = found(*cells), found(*moved, size=(SIZE[0] + 40, SIZE[1] + 40))
    assert after == [(x0 + 40, y0 + 40, x1 + 40, y1 + 40) for x0, y0, x1, y1 in before]


def test_budgets_are_those_of_a_tile():
    class Capped(BlobSegmenter):
        def predict(self, image, zoom=1.0):
            return super().predict(image, zoom)[:5]

    cells = [centred(x, y, 6, 6) for x in range(20, 330, 30) for y in range(20, 280, 30)]
    predictor = Capped()
    image = blob_image(*cells, size=SIZE)
    assert len(predictor.predict(image)) == 5
    assert len(predict_tiled(predictor.predict, image, SETTINGS)) > 50


def test_no_cell_anywhere():
    assert found() == []
