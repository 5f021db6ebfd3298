"""How the check of annotations is shown: numbers as JSON, the command."""

from pathlib import Path

import numpy as np
import orjson
import pytest
from PIL import Image
from typer.testing import CliRunner

from somaseg.annotations.read import read_annotations
from somaseg.annotations.samples import Sample
from somaseg.annotations.write import write_coco
from somaseg.cli.main import app
from somaseg.data.check import check
from somaseg.data.report import check_json
from somaseg.instances import Instances

SIZE = (60, 80)


def block(y0: int, x0: int, y1: int, x1: int) -> np.ndarray:
    mask = np.zeros(SIZE, bool)
    mask[y0:y1, x0:x1] = True
    return mask


def annotated(folder: Path, *masks: np.ndarray, labels: list[int] | None = None) -> Path:
    stack = np.stack(masks) if masks else np.zeros((0, *SIZE), bool)
    (folder / "images").mkdir(parents=True, exist_ok=True)
    Image.new("L", SIZE[::-1]).save(folder / "images/a.png")
    sample = Sample(folder / "images/a.png", Instances.from_masks(stack, ("shsy5y", "astro"), labels), "a")
    write_coco([sample], folder / "annotations.json")
    return folder


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
