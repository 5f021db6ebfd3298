import json

import polars as pl

from somaseg.export.coco import coco_document
from somaseg.export.table import cells_csv
from somaseg.instances import Instances
from two_cells import CLASSES, cells


def documents(n: int = 2, pixel_size: float | None = None) -> list[dict]:
    return [json.loads(json.dumps(coco_document(cells(), f"{i}.png", pixel_size=pixel_size))) for i in range(n)]


def test_cells_csv_has_a_row_a_cell():
    table = pl.read_csv(cells_csv(documents(2), ["a", "b"]))
    assert table.columns == ["image", "id", "label", "class", "score", "area", "centroid_x", "centroid_y", "x0", "y0", "x1", "y1"]
    assert table.row(1) == ("a", 2, 2, "shsy5y", 0.5, 5, 1.8, 1.6, 1, 1, 4, 3)
    assert table["id"].to_list() == [1, 2, 3, 4]
    assert table["image"].to_list() == ["a", "a", "b", "b"]


def test_cells_csv_gives_areas_in_um2_where_the_pixel_size_is_known():
    table = pl.read_csv(cells_csv([*documents(1, pixel_size=0.5), *documents(1)], ["a", "b"]))
    assert table["area_um2"].to_list() == [1.0, 1.25, None, None]


def test_cells_csv_without_cells_is_a_header():
    table = pl.read_csv(cells_csv([coco_document(Instances.empty((4, 5), CLASSES), "a.png")], ["a"]))
    assert table.shape == (0, 12)
