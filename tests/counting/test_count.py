"""Cells counted in regions."""

import csv
import json
from pathlib import Path

import pytest

from saved_results import squares, write_result
from somaseg.cli.main import app
from somaseg.counting.count import count


def rows(file: Path) -> list[dict[str, str]]:
    with file.open(newline="", encoding="utf-8") as opened:
        return list(csv.DictReader(opened))


def regions(path: Path, **named: list[list[float]]) -> Path:
    features = [
        {"type": "Feature", "geometry": {"type": "Polygon", "coordinates": [ring]}, "properties": {"name": n}} for n, ring in named.items()
    ]
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    return path


# Cells of 4 x 4 px at 0, 10, 20 ... in both directions: their centres are 2, 12, 22 ... from the corner of the image.
LEFT = [[0, 0], [15, 0], [15, 100], [0, 100]]
TOP = [[0, 0], [100, 0], [100, 8], [0, 8]]
EDGE = [[2.1, 0], [100, 0], [100, 100], [2.1, 100]]


def test_counts_by_hand(tmp_path):
    result = write_result(tmp_path / "result", {"x.png": squares(30), "y.png": squares(0)}, pixel_size=2.0)
    counted = count(result, regions(tmp_path / "r.geojson", left=LEFT, top=TOP), tmp_path / "out.csv")
    left, top, outside, *other = rows(tmp_path / "out.csv")
    assert [row["cells"] for row in (left, top, outside)] == ["6", "10", "16"]  # two of the 30 are in both
    assert [row["number"] for row in (left, top, outside)] == ["1", "2", "0"]
    assert (left["image"], left["region"], left["region_area"], left["region_area_um2"]) == ("x", "left", "1500.0", "6000.0")
    assert float(left["cells_per_mm2"]) == pytest.approx(1000)
    assert (left["cells_round"], left["cells_long"], left["median_area"]) == ("6", "0", "16.0")
    assert [(row["image"], row["cells"], row["median_area"]) for row in other] == [("y", "0", "")] * 3
    assert counted.lines()[:3] == ["x: left: 6 cells", "x: top: 10 cells", "x: outside: 16 cells"]


def test_the_centre_of_a_pixel_is_half_a_pixel_from_its_corner(tmp_path):
    result = write_result(tmp_path / "result", {"x.png": squares(10)})
    count(result, regions(tmp_path / "r.geojson", edge=EDGE), tmp_path / "out.csv")
    assert [row["cells"] for row in rows(tmp_path / "out.csv")] == ["9", "1"]


def test_the_command_with_a_folder_and_hostile_names(tmp_path, capsys):
    result = write_result(tmp_path / "result", {"x.png": squares(3), "y.png": squares(2)})
    (tmp_path / "drawn").mkdir()
    regions(tmp_path / "drawn" / "x.geojson", **{"=cmd()": LEFT})
    out = tmp_path / "out.csv"
    assert not app(["count", str(result), "--regions", str(tmp_path / "drawn"), "--out", str(out)], standalone_mode=False)
    assert [(row["image"], row["region"], row["cells"]) for row in rows(out)] == [("x", "'=cmd()", "2"), ("x", "", "1")]
    assert "1 image(s) have no file of regions and are not counted: y" in capsys.readouterr().out
