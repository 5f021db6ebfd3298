import csv
import io
import json
import sys

import numpy as np
import pytest

from somaseg.errors import MissingExtraError
from somaseg.export.coco import coco_document
from somaseg.export.table import Tables
from somaseg.images.frame import Channels
from somaseg.instances import Instances
from somaseg.measure.cells import SHAPES, measure
from two_cells import CLASSES, cells

GREY = Channels(np.arange(20.0).reshape(4, 5), ("0",))
FIRST = ["image", "id", "label", "class", "score", "area", "centroid_x", "centroid_y", "x0", "y0", "x1", "y1"]


def document(found: Instances | None = None, pixel_size: float | None = None, channels: Channels | None = GREY, **info) -> dict:
    found = cells() if found is None else found
    whole = {**coco_document(found, "a.png", pixel_size=pixel_size), "measurements": measure(found, channels).as_json()}
    return json.loads(json.dumps(whole | {"info": {"source": "/data/plate/a.png", "warnings": [], **info}}))


def tables(*documents: dict) -> Tables:
    made = Tables(CLASSES)
    for name, one in zip("abcdef", documents, strict=False):
        made.add(name, one)
    return made


def rows(data: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(data.decode(), newline="")))


def test_cells_csv_has_a_row_a_cell():
    lines = tables(document(), document()).cells_csv().decode().splitlines()
    names = lines[0].split(",")
    assert names[:14] == [*FIRST, "folder", "path"]
    assert names[14:26] == list(SHAPES)
    assert names[26:] == ["intensity_mean", "intensity_min", "intensity_max", "intensity_std", "background"]
    assert lines[2].startswith("a,2,2,shsy5y,0.5,5,1.8,1.6,1,1,4,3,/data/plate,/data/plate/a.png,")
    found = rows(tables(document(), document()).cells_csv())
    assert [row["id"] for row in found] == ["1", "2", "3", "4"]
    assert [row["image"] for row in found] == ["a", "a", "b", "b"]
    assert found[1] | {"neighbours": "1", "nearest": "0.0", "touches_border": "0", "intensity_min": "6.0", "background": ""} == found[1]


def test_columns_in_um_stand_where_a_pixel_size_is_known():
    found = rows(tables(document(pixel_size=0.5), document()).cells_csv())
    assert [row["area_um2"] for row in found] == ["1.0", "1.25", "", ""]
    assert float(found[0]["feret_max_um"]) == pytest.approx(float(found[0]["feret_max"]) / 2)
    assert found[2]["feret_max_um"] == ""
    assert list(found[0])[12] == "area_um2"
    assert not [name for name in rows(tables(document()).cells_csv())[0] if "um" in name]


def test_channels_of_some_images_are_empty_in_others():
    two = Channels(np.ones((4, 5, 2)), ("DAPI", "=GFP"))
    found = rows(tables(document(), document(channels=two), document(channels=None)).cells_csv())
    assert [row["intensity_mean"] != "" for row in found] == [True, True, False, False, False, False]
    assert [row["intensity_mean_=GFP"] for row in found] == ["", "", "1.0", "1.0", "", ""]


def test_a_table_without_cells_is_a_header():
    none = tables(document(Instances.empty((4, 5), CLASSES)))
    assert none.cells_csv().decode() == ",".join([*FIRST, "folder", "path", *SHAPES]) + "\n"
    assert rows(none.images_csv({}))[0] | {"cells": "0", "confluence_percent": "0.0", "median_area": ""} == rows(none.images_csv({}))[0]
    assert none.medians() == {"cells": 0, "confluence_percent": 0}


def test_images_csv_counts_by_hand():
    # 8 of 20 pixels: 4 and 5, one of them shared; pixels of 0.5 µm make 20 of them 5 µm²
    (row,) = rows(tables(document(pixel_size=0.5, warnings=["=look\nhere", "twice"])).images_csv({}))
    assert row["folder"] == "/data/plate"
    assert row["path"] == "/data/plate/a.png"
    assert (row["width"], row["height"], row["pixel_size_um"], row["page"]) == ("5", "4", "0.5", "")
    assert (row["cells"], row["cells_shsy5y"], row["cells_astro"], row["cells_cort"]) == ("2", "1", "0", "1")
    assert float(row["confluence_percent"]) == 40
    assert float(row["cells_per_megapixel"]) == 1e5
    assert float(row["cells_per_mm2"]) == 4e5
    assert (float(row["median_area"]), float(row["median_area_um2"])) == (4.5, 1.125)
    assert row["warnings"] == "'=look here; twice"
    assert row["error"] == ""


def test_images_that_failed_are_rows_too():
    found = rows(tables(document()).images_csv({"/data/=b.png": "/data/=b.png: is\nempty"}))
    assert found[1] | {"image": "'=b", "path": "/data/=b.png", "cells": "", "error": "/data/=b.png: is\nempty"} == found[1]


def test_no_text_is_a_formula():
    odd = Instances.build((4, 5), [((0, 0, 1, 1), np.ones((1, 1), bool))], ("=cmd()",))
    made = Tables(("=cmd()",))
    made.add("@a", document(odd) | {"info": {"source": "/=x/\udcff.png", "warnings": []}})
    (row,) = rows(made.cells_csv())
    assert (row["image"], row["class"], row["path"]) == ("'@a", "'=cmd()", "/=x/\ufffd.png")
    assert "cells_=cmd()" in rows(made.images_csv({}))[0]


def test_parquet_holds_the_same():
    pq = pytest.importorskip("pyarrow.parquet")
    made = tables(document(pixel_size=0.5), document())
    table = pq.read_table(io.BytesIO(made.cells_parquet())).to_pydict()
    assert list(table) == list(rows(made.cells_csv())[0])
    assert table["area"] == [4, 5, 4, 5]
    assert table["area_um2"] == [1.0, 1.25, None, None]
    assert table["class"] == ["cort", "shsy5y"] * 2


def test_parquet_without_pyarrow_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtraError, match=r"somaseg\[parquet\]"):
        tables(document()).cells_parquet()


def test_medians_are_those_of_images_and_of_cells():
    alone = cells()[0:1]
    assert tables(document(), document(alone, pixel_size=2.0)).medians() == {
        "cells": 1.5,
        "confluence_percent": 30,
        "cells_per_mm2": 12500,
        "area": 4,
        "area_um2": 16,
    }
