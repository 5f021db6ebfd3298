"""What stands in the page of a result: all of it, and every name as text."""

import base64
import io
import json
import re
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest
from PIL import Image

from pages import Reader, parsed
from somaseg.cli.main import app
from somaseg.errors import InputError
from somaseg.report.charts import HEIGHT, histogram
from somaseg.report.report import make_report
from whole_results import cells, write_whole_result

HOSTILE = "a<img src=x onerror=alert(1)>&'\"</script><script>alert(2)</script>"
CLASSES = ("round", "long")


def read(file: Path) -> Reader:
    return parsed(file.read_text(encoding="utf-8"))


def shown(page: Reader, name: str = "images") -> list[dict[str, object]]:
    table = json.loads(page.scripts["data"])["tables"][name]
    return [dict(zip(table["columns"], row, strict=True)) for row in table["rows"]]


@pytest.fixture
def result(tmp_path: Path) -> Path:
    images = {"one": cells(CLASSES, 3, 2), "two": cells(CLASSES, 0, 0), "three": cells(CLASSES, 1, 0)}
    return write_whole_result(tmp_path / "result", images, {"in/bad.png": "in/bad.png: is cut off"}, {"three": ["very dark"]})


def test_the_page_has_everything(result):
    assert app(["report", str(result)], standalone_mode=False) is None
    page = read(result / "report.html")
    one, two, three = shown(page)
    assert (one["image"], one["cells"], one["cells_round"], one["cells_long"]) == ("one", 5, 3, 2)
    assert one["median_area"] == 16
    assert one["confluence_percent"] == pytest.approx(100 * (3 * 16 + 2 * 64) / 14_000)
    assert (two["cells"], two["median_area"], three["warnings"]) == (0, None, "very dark")
    for text in ("in/bad.png: is cut off", "very dark", "notes.txt", "no image", "ab" * 32, "nms_iou", '"numpy": "2"', str(result)):
        assert text in page.text, text
    bars = [tag for tag, about in page.tags if tag == "rect"]
    assert len(bars) >= 4
    data = json.loads(page.scripts["data"])
    assert [unquote(image["link"]) for image in data["images"]] == [f"overlays/{name}_overlay.png" for name in ("one", "two", "three")]
    pictures = json.loads(page.scripts["pictures"])["images"]
    assert Image.open(io.BytesIO(base64.b64decode(pictures[0]))).size == (256, 171)


def test_no_name_becomes_markup(tmp_path):
    name = HOSTILE.replace("/", "_")  # a file's name has none
    images = {name: cells(("round", HOSTILE), 1, 2)}
    folder = write_whole_result(tmp_path / "result", images, {HOSTILE: f"{HOSTILE}: is cut off"}, {name: [HOSTILE]})
    plates = tmp_path / "plates"
    plates.mkdir()
    (plates / "wells.csv").write_text(f'plate,well,treatment\n1,A01,"{HOSTILE.replace(chr(34), chr(34) * 2)}"\n', encoding="utf-8")
    make_report(folder, plates=plates)
    page = read(folder / "report.html")
    assert set(page.scripts) == {"data", "pictures", None}
    assert "alert" not in page.scripts[None]
    assert not [about for _, about in page.tags if any(attribute.startswith("on") for attribute in about)]
    assert [about.get("id") for tag, about in page.tags if tag == "img"] == ["large"]
    (row,) = shown(page)
    assert (row["image"], row[f"cells_{HOSTILE}"], row["warnings"]) == (name, 2, HOSTILE)
    assert shown(page, "wells")[0]["treatment"] == HOSTILE
    assert page.text.count(HOSTILE) >= 4  # class, file, reason, warning
    (link,) = [about["href"] for tag, about in page.tags if tag == "a" and about["href"].startswith("#image=")]
    assert unquote(link) == f"#image={name}"


def test_the_page_asks_for_nothing_but_what_lies_beside_it(result):
    text = make_report(result).file.read_text(encoding="utf-8")
    assert not re.search(r"https?://|\bfetch\(|XMLHttpRequest|@import|url\(", text)
    (policy,) = [about["content"] for tag, about in read(result / "report.html").tags if about.get("http-equiv")]
    assert policy.startswith("default-src 'none';")


def test_without_overlays_it_says_so_and_goes_on(result):
    (result / "overlays" / "one_overlay.png").unlink()
    (result / "overlays" / "two_overlay.png").write_bytes(b"no picture")
    page = make_report(result)
    broken, missing = page.notes
    assert "two_overlay.png: is no picture" in broken
    assert missing.startswith("1 of 3 images have no overlay")
    reader = read(page.file)
    assert [picture is None for picture in json.loads(reader.scripts["pictures"])["images"]] == [True, True, False]
    assert missing in reader.text


def test_links_lead_from_where_the_page_is(result, tmp_path):
    page = make_report(result, tmp_path / "elsewhere" / "my page.html")
    link = json.loads(read(page.file).scripts["data"])["images"][0]["link"]
    assert (page.file.parent / unquote(link)).resolve() == (result / "overlays" / "one_overlay.png").resolve()


def test_a_run_without_a_cell_or_an_image(tmp_path):
    empty = write_whole_result(tmp_path / "empty", {"one": cells(CLASSES, 0, 0)})
    page = read(make_report(empty).file)
    assert "There is nothing to draw" not in page.text  # cells an image are drawn: none
    folder = write_whole_result(tmp_path / "none", {"one": cells(CLASSES, 0, 0)}, {"bad.png": "bad.png: is cut off"})
    run = json.loads((folder / "run.json").read_text(encoding="utf-8")) | {"by_image": {}}
    (folder / "run.json").write_text(json.dumps(run), encoding="utf-8")
    (folder / "images.csv").write_text("image,folder,path,warnings,error\nbad,,bad.png,,cut off\n", encoding="utf-8")
    page = read(make_report(folder).file)
    assert shown(page) == []
    assert "bad.png: is cut off" in page.text
    assert "There is nothing to draw" in page.text


def test_plates_are_shown_with_their_pictures(result, tmp_path):
    plates = tmp_path / "plates"
    plates.mkdir()
    (plates / "wells.csv").write_text("plate,well,cells,dose,median_area\n1,A01,12,,16\n1,A02,0.5,,\n", encoding="utf-8")
    (plates / "dose.csv").write_text("plate,treatment,ec50\n", encoding="utf-8")
    Image.new("RGB", (30, 20), "red").save(plates / "plate_cells.png")
    (plates / "dose_cells.png").write_bytes(b"no picture")
    made = make_report(result, plates=plates)
    page = read(made.file)
    first, second = shown(page, "wells")
    assert (first, second["cells"]) == ({"plate": "1", "well": "A01", "cells": 12, "median_area": 16}, 0.5)
    assert set(json.loads(page.scripts["data"])["tables"]) == {"images", "wells"}
    (picture,) = json.loads(page.scripts["pictures"])["plates"]
    assert base64.b64decode(picture) == (plates / "plate_cells.png").read_bytes()
    assert "dose_cells.png: is no PNG" in made.notes[0]


def test_what_is_no_result_is_an_error_that_says_what_is_missing(result, tmp_path):
    with pytest.raises(InputError, match=r"no run\.json"):
        make_report(tmp_path)
    with pytest.raises(InputError, match=r"no wells\.csv"):
        make_report(result, plates=tmp_path)
    (result / "cells.csv").write_text("image,class\n")
    with pytest.raises(InputError, match=r"cells\.csv: cannot be read"):
        make_report(result)
    (result / "images.csv").write_text("image,cells,confluence_percent,warnings,error\nother,1,2,,\n")
    with pytest.raises(InputError, match="of another run"):
        make_report(result)
    (result / "images.csv").unlink()
    with pytest.raises(InputError, match=r"images\.csv: is missing"):
        make_report(result)


def test_bars_stand_on_each_other_and_count_every_value():
    values = np.array([1.0, 1.0, 3.0, 60.0, np.nan])
    chart = histogram("area", values, np.array(["a", "b", "b", "a", "a"]), ["a", "b"])
    assert chart is not None
    counts = [int(bar.text.rpartition(": ")[2]) for bar in chart.bars]
    assert sum(counts) == 4
    lower, upper = [bar for bar in chart.bars if bar.x == min(bar.x for bar in chart.bars)][:2]
    assert lower.y + lower.height == HEIGHT
    assert upper.y + upper.height == lower.y
    assert (lower.colour, upper.colour) == (0, 1)


@pytest.mark.parametrize(
    ("values", "spans"),
    [
        ([0.0, 0.0], {"0: 2"}),
        ([2.0, 0.0, 2.0], {"0: 1", "2: 2"}),
        ([99.0], {"95 to 99: 1"}),
    ],
)
def test_whole_numbers_have_whole_bins(values, spans):
    chart = histogram("cells", np.array(values), np.full(len(values), "all"), ["all"], whole=True)
    assert chart is not None
    assert {bar.text.removeprefix("all, ") for bar in chart.bars} == spans


def test_one_huge_cell_does_not_flatten_the_chart():
    values = np.concatenate([np.linspace(100, 199, 500), [1e6]])
    chart = histogram("area", values, np.full(501, "a"), ["a"])
    assert chart is not None
    assert "1e+06" in chart.note
    assert chart.top < 200
    assert chart.bars[-1].text.endswith("and more: 1")
