"""Images that are seen in tiles give the cells that they would give whole, if a network could see that much."""

import numpy as np
import pytest

from blobs import BlobSegmenter, blob_image
from somaseg.config import PostprocessSettings, TileSettings
from somaseg.images.levels import levels_of
from somaseg.instances import Prediction
from somaseg.postprocessing.steps import postprocess
from somaseg.tiling.predict import FIELD, Sight, fill_tiles, predict_tiled
from somaseg.tiling.tiles import tiles

SETTINGS = TileSettings(whole=100, side=80, overlap=16, step=4)
SIZE = (290, 340)
SIGHT = Sight(levels_of(blob_image((4, 4, 10, 14))))


def boxes_of(prediction: Prediction) -> list[tuple[int, ...]]:
    cells = postprocess(prediction, PostprocessSettings(min_area={"default": 1}, score_thresh={"default": 0.1}))
    return sorted(tuple(box) for box in cells.boxes.tolist())


def seen(predictor: BlobSegmenter):
    return lambda image, sight: predictor.predict(image)


def found(*cells: tuple[int, int, int, int], size=SIZE) -> list[tuple[int, ...]]:
    return boxes_of(predict_tiled(seen(BlobSegmenter()), blob_image(*cells, size=size), SIGHT, SETTINGS))


def centred(x: int, y: int, width: int, height: int) -> tuple[int, int, int, int]:
    return x - width // 2, y - height // 2, x - width // 2 + width, y - height // 2 + height


def test_a_small_image_is_seen_once_and_whole():
    predictor = BlobSegmenter()
    image = blob_image((4, 4, 10, 14), size=(90, 100))
    assert predict_tiled(seen(predictor), image, SIGHT, SETTINGS).boxes.tolist() == predictor.predict(image).boxes.tolist()
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
        def predict(self, image, zoom=1.0, kept=None):
            return super().predict(image)[:5]

    cells = [centred(x, y, 6, 6) for x in range(20, 330, 30) for y in range(20, 280, 30)]
    predictor = Capped()
    image = blob_image(*cells, size=SIZE)
    assert len(predictor.predict(image)) == 5
    assert len(predict_tiled(seen(predictor), image, SIGHT, SETTINGS)) > 50


def test_caps_grow_with_the_area_of_a_tile():
    told = []

    def predict(image, sight):
        told.append((image.shape, sight.fields))
        return BlobSegmenter().predict(image)

    predict_tiled(predict, np.zeros((1040, 1408), np.uint8), SIGHT, TileSettings())
    assert [shape for shape, _ in told] == [(1040, 720), (1040, 768)]
    assert [fields for _, fields in told] == [height * width / FIELD for (height, width), _ in told]
    predict_tiled(predict, np.zeros((100, 700), np.uint8), SIGHT, TileSettings())
    predict_tiled(predict, np.zeros((900, 700), np.uint8), SIGHT, TileSettings())
    assert told[2:] == [((100, 700), 1.0), ((900, 700), 900 * 700 / FIELD)]


def test_warnings_of_tiles_are_told_once_with_the_number_of_tiles():
    with pytest.warns(UserWarning, match=r"^30 of 30 tiles: detections reached their cap of 9$") as caught:
        predict_tiled(seen(BlobSegmenter(warn=True)), blob_image(size=SIZE), SIGHT, SETTINGS)
    assert len(caught) == 1


class Kept(dict):
    def load(self, box):
        return self.get(tuple(box))

    def save(self, box, found, warned):
        self[tuple(box)] = (found, warned)


def test_tiles_that_were_kept_are_not_seen_again():
    image, kept, predictor = blob_image((60, 60, 90, 90), (200, 200, 212, 220), size=SIZE), Kept(), BlobSegmenter(warn=True)
    with pytest.warns(UserWarning, match="30 of 30"):
        whole = predict_tiled(seen(predictor), image, SIGHT, SETTINGS, kept)
    del kept[next(iter(kept))]
    with pytest.warns(UserWarning, match="30 of 30"):
        again = predict_tiled(seen(predictor), image, SIGHT, SETTINGS, kept)
    assert predictor.calls == 31
    assert again.boxes.tolist() == whole.boxes.tolist()


def test_workers_share_the_tiles_and_leave_small_images():
    image, kept, predictor = blob_image((60, 60, 90, 90), size=SIZE), Kept(), BlobSegmenter()
    for part in range(3):
        assert fill_tiles(seen(predictor), image, SIGHT, SETTINGS, kept, part, 3) == 30
    assert predictor.calls == len(kept) == 30
    assert predict_tiled(seen(predictor), image, SIGHT, SETTINGS, kept).boxes.tolist() == [[60, 60, 90, 90]]
    assert predictor.calls == 30
    assert fill_tiles(seen(predictor), blob_image(), SIGHT, SETTINGS, kept, 0, 2) == 1
    assert predictor.calls == len(kept) == 30


def test_no_cell_anywhere():
    assert found() == []
