"""How the check of annotations is shown: numbers as JSON, the command."""

from pathlib import Path

import numpy as np
import orjson
import pytest
from typer.testing import CliRunner

from annotated import annotated, block
from somaseg.annotations.read import read_annotations
from somaseg.cli.main import app
from somaseg.config import TrainedSize
from somaseg.data.check import check
from somaseg.data.report import check_json, sizes_beside


def test_numbers(tmp_path: Path) -> None:
    pieces = block(40, 1, 42, 3) | block(44, 1, 46, 3)
    corners = block(50, 1, 52, 3) | block(52, 3, 54, 5)
    masks = [block(0, 0, 10, 10), block(5, 0, 15, 10), block(20, 20, 22, 22), pieces, corners]
    data = check_json(check(annotated(tmp_path, *masks, labels=[0, 0, 1, 1, 1])), [])
    assert data["images"][0]["overlapping_share"] == pytest.approx(50 / (150 + 4 + 8 + 8))
    assert data["images"][0]["in_pieces"] == 1
    assert data["sum"]["cells"] == {"shsy5y": 2, "astro": 3}
    assert data["sum"]["area"]["astro"]["p50"] == 8
    assert data["sum"]["problems"] == {}


def test_command(tmp_path: Path) -> None:
    ring = block(10, 10, 15, 15) & ~block(12, 12, 13, 14)
    bad, good = annotated(tmp_path / "bad", ring, ring, block(1, 1, 3, 3)), tmp_path / "good"
    run = CliRunner().invoke(app, ["data", "check", str(bad), "--fix", str(good), "--json", str(tmp_path / "found.json")])
    assert run.exit_code == 1
    for text in ("duplicate mask", "hole", "holes filled", "dropped: duplicate", "astro", "shsy5y"):
        assert (text in run.output) == (text != "astro")
    saved = orjson.loads((tmp_path / "found.json").read_bytes())
    assert saved["sum"]["problems"] == {"hole": 2, "duplicate mask": 1}
    assert [c["action"] for c in saved["changes"]] == ["holes filled", "dropped: duplicate"]
    run = CliRunner().invoke(app, ["data", "check", str(good)])
    assert (run.exit_code, "no problems found" in run.output) == (0, True)
    assert len(read_annotations(good)[0].instances) == 2


def test_cells_of_another_size_than_the_weights_know_are_told(tmp_path: Path) -> None:
    cells = [block(x, y, x + 19, y + 19) for x in (0, 20, 40) for y in (0, 20)]
    result = check(annotated(tmp_path, *cells, labels=[0] * 6))
    diameter = round(19 * 2 / np.pi**0.5, 2)
    assert check_json(result, [])["sum"]["diameter"] == {"shsy5y": diameter}
    assert sizes_beside(result, TrainedSize(cell_diameter={"shsy5y": diameter})) == ""
    told = sizes_beside(result, TrainedSize(cell_diameter={"shsy5y": diameter / 2}))
    assert "annotated cells (shsy5y 21.4 px) are 2 times as large as those that the weights know (shsy5y 10.7 px)" in told
    assert "show the images at 0.5 of the size" in told
