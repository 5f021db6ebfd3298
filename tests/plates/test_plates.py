"""From a folder of results to tables and pictures of plates."""

import csv
import io
import sys
from functools import partial
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest

from saved_results import squares, write_result
from somaseg.cli.main import app
from somaseg.errors import InputError, MissingExtraError
from somaseg.instances import Instances
from somaseg.plates.dose import fit
from somaseg.plates.plates import PlateRequest, make_plates


def rows(file: Path) -> list[dict[str, str]]:
    with file.open(newline="", encoding="utf-8") as opened:
        return list(csv.DictReader(opened))


@pytest.fixture(autouse=True)
def _few_resamples(monkeypatch):
    monkeypatch.setattr("somaseg.plates.plates.fit", partial(fit, resamples=30))


@pytest.fixture
def out(tmp_path) -> Path:
    return tmp_path / "out"


def test_a_well_sums_its_sites_by_hand(tmp_path, out):
    both = Instances.cat([squares(3), squares(2, side=8, label=1)])
    images = {"x_A1_1_00d00h00m.tif": squares(10), "x_A1_2_00d00h00m.tif": both, "x_B2_1_00d00h00m.tif": squares(0)}
    make_plates(PlateRequest(write_result(tmp_path / "result", images, pixel_size=2.0), out, pictures=False))
    first, second = rows(out / "wells.csv")
    assert (first["plate"], first["well"], first["row"], first["column"], first["time_h"]) == ("x", "A01", "1", "1", "0.0")
    assert (first["images"], first["cells"], first["cells_round"], first["cells_long"]) == ("2", "15", "13", "2")
    assert float(first["cells_per_image"]) == 7.5
    # 10 of 16 px; then 3 of 16 and 2 of 64 px, of which 2 x 16 are shared
    assert float(first["confluence_percent"]) == pytest.approx(100 * (160 + 16 + 128) / 20_000)
    # images of 100 x 100 px of 2 µm are 0.04 mm²
    assert float(first["cells_per_mm2"]) == pytest.approx(15 / 0.08)
    assert float(first["median_area_um2"]) == 16 * 4
    assert float(first["median_area_long"]) == 64
    assert float(first["median_intensity_mean"]) == 7
    places = rows(out / "places.csv")
    assert [(row["image"], row["plate"], row["well"], row["site"], row["time_h"]) for row in places] == [
        (f"x_{well}_{site}_00d00h00m", "x", name, site, "0.0")
        for well, name, site in (("A1", "A01", "1"), ("A1", "A01", "2"), ("B2", "B02", "1"))
    ]
    assert (second["well"], second["cells"], second["median_area"], second["cells_per_image"]) == ("B02", "0", "", "0.0")


MAP = "well,treatment,dose\nA1,DMSO,0\nB1,DMSO,0\nA2,kill,\nB2,kill,\n" + "".join(
    f"{r}{c},drug,{3.0 ** (c - 6)}\n" for r in "AB" for c in range(3, 11)
)


def plate(tmp_path: Path, hours: tuple[int, ...] = (0, 24)) -> PlateRequest:
    rng = np.random.default_rng(0)
    images = {}
    for hour in hours:
        for row in "AB":
            for column in range(1, 11):
                effect = {1: 0.0, 2: 1.0}.get(column, 1 / (1 + 3.0 ** (6 - column)))
                count = round(60 - 50 * effect * hour / 24 + rng.normal(0, 2))
                images[f"x_{row}{column}_1_{hour // 24:02d}d{hour % 24:02d}h00m.tif"] = squares(max(count, 0))
    (tmp_path / "map.csv").write_text(MAP)
    result = write_result(tmp_path / "result", images, failures={"/data/x_C1_1_00d00h00m.tif": "broken"})
    return PlateRequest(result, tmp_path / "out", tmp_path / "map.csv", negative="DMSO", positive="kill")


def test_a_plate_with_controls_doses_and_times(tmp_path, out):
    report = make_plates(plate(tmp_path))
    assert sorted(file.name for file in report.files) == sorted(
        [
            *("places.csv", "wells.csv", "controls.csv", "dose.csv"),
            *(f"{kind}_{what}.png" for kind in ("plate", "time", "dose") for what in ("cells_per_image", "confluence_percent")),
        ]
    )
    assert all(iio.imread(file).shape[1] > 300 for file in report.files if file.suffix == ".png")
    found = rows(out / "wells.csv")
    assert len(found) == 40
    assert [row["time_h"] for row in found] == ["0.0"] * 20 + ["24.0"] * 20
    last = [row for row in found if row["time_h"] == "24.0"]
    by_well = {row["well"]: float(row["cells_per_image"]) for row in last}
    zero, whole = (by_well["A01"] + by_well["B01"]) / 2, (by_well["A02"] + by_well["B02"]) / 2
    for row in last:
        assert float(row["normalised_cells_per_image"]) == pytest.approx(100 * (by_well[row["well"]] - zero) / (whole - zero), abs=1e-5)
    controls = {(row["time_h"], row["readout"]): row for row in rows(out / "controls.csv")}
    at_end = controls["24.0", "cells_per_image"]
    spread = [abs(by_well[f"A0{c}"] - by_well[f"B0{c}"]) / 2**0.5 for c in (1, 2)]
    assert float(at_end["z_prime"]) == pytest.approx(1 - 3 * sum(spread) / abs(whole - zero))
    (curve,) = [row for row in rows(out / "dose.csv") if row["readout"] == "cells_per_image"]
    assert (curve["treatment"], curve["doses"], curve["wells"], curve["why"]) == ("drug", "9", "18", "")
    assert float(curve["ec50_low"]) < 1 < float(curve["ec50_high"])
    assert float(curve["ec50"]) == pytest.approx(1, rel=0.3)
    assert report.notes == [f"1 file(s) failed in {tmp_path / 'result'} and are missing in their wells: /data/x_C1_1_00d00h00m.tif"]
    assert any(line.startswith("x, 24 h: drug, cells_per_image: EC50 ") for line in report.lines)


def test_the_time_of_the_curves_can_be_chosen(tmp_path, out):
    request = plate(tmp_path)
    make_plates(PlateRequest(**{**vars(request), "time": 0.0, "pictures": False, "readouts": ("cells",)}))
    (curve,) = rows(out / "dose.csv")
    assert curve["time_h"] == "0.0"
    assert "no rise or fall beyond the noise" in curve["why"]
    with pytest.raises(InputError, match=r"--time: no image is of the time 7, expected one of 0, 24"):
        make_plates(PlateRequest(**{**vars(request), "time": 7.0}))


def test_what_is_missing_is_said(tmp_path):
    images = {"x_A1_1_00d00h00m.tif": squares(1), "x_C3_1_00d00h00m.tif": squares(1), "odd.tif": squares(2)}
    (tmp_path / "map.csv").write_text("well,treatment\nA1,a\nB1,b\n")
    request = PlateRequest(write_result(tmp_path / "result", images), tmp_path / "out", tmp_path / "map.csv", pictures=False)
    assert make_plates(request).notes == [
        "1 image(s) are in no well, since their names tell none: odd",
        f"1 well(s) with images have no treatment in {tmp_path / 'map.csv'}: C03",
        f"1 well(s) of {tmp_path / 'map.csv'} have no image: B01",
    ]
    assert rows(tmp_path / "out" / "dose.csv") == []
    assert rows(tmp_path / "out" / "controls.csv")[0]["why"] == "0 wells of the negative control, at least 2 are needed"


def test_hostile_names_stay_names(tmp_path, out):
    images = {f"{name}/x_A{c}_1_{d:02d}d00h00m.tif": squares(c) for name in ("=a", "..b$c$") for c in (1, 2) for d in (0, 1)}
    (tmp_path / "map.csv").write_text("well,treatment,dose\nA1,=cmd()|' /C calc'!A0 $x$,1\nA2,药,2\n", encoding="utf-8")
    report = make_plates(PlateRequest(write_result(tmp_path / "result", images), out, tmp_path / "map.csv", readouts=("cells",)))
    assert {file.parent for file in report.files} == {out}
    assert "plate_a_x_cells.png" in {file.name for file in report.files}
    assert {row["treatment"] for row in rows(out / "wells.csv")} == {"'=cmd()|' /C calc'!A0 $x$", "药"}
    assert {row["plate"] for row in rows(out / "wells.csv")} == {"'=a/x", "..b$c$/x"}


def test_inputs_that_cannot_be(tmp_path, out):
    with pytest.raises(InputError, match=r"has no run\.json, expected the folder of results"):
        make_plates(PlateRequest(tmp_path, out))
    result = write_result(tmp_path / "result", {"odd.tif": squares(1)})
    with pytest.raises(InputError, match=r"no name of an image tells a well, such as odd.tif: give --pattern"):
        make_plates(PlateRequest(result, out))
    wells = write_result(tmp_path / "wells", {"A1.tif": squares(1)})
    with pytest.raises(InputError, match="--readout: 'size' is no column of the wells, expected one of images, cells"):
        make_plates(PlateRequest(wells, out, readouts=("size",)))
    (wells / "coco" / "A1.json").write_text('{"images": [], "annotations": [], "categories": []}')
    with pytest.raises(InputError, match=r"A1.json: measurements: missing, the result is of an earlier version"):
        make_plates(PlateRequest(wells, out))


def test_pictures_without_matplotlib_name_the_extra_before_anything_is_written(tmp_path, out, monkeypatch):
    result = write_result(tmp_path / "result", {"A1.tif": squares(1)})
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingExtraError, match=r"somaseg\[plots\]"):
        make_plates(PlateRequest(result, out))
    assert not out.exists()
    make_plates(PlateRequest(result, out, pictures=False))
    assert (out / "wells.csv").exists()


def test_the_command(tmp_path, out, capsys):
    request = plate(tmp_path, hours=(24,))
    words = ["plates", str(request.result), "--out", str(out), "--map", str(request.map), "--negative", "DMSO", "--no-pictures"]
    assert not app([*words, "--readout", "cells"], standalone_mode=False)
    assert "x, 24 h: drug, cells: EC50" in capsys.readouterr().out
    assert len(list(csv.DictReader(io.StringIO((out / "dose.csv").read_text())))) == 1
