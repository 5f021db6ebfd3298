"""`somaseg evaluate` end to end on hand-made files: pairing by name, every kind of prediction, the files it writes."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from rich.console import Console
from typer.testing import CliRunner

from somaseg.annotations.read import read_annotations
from somaseg.cli.main import app
from somaseg.errors import InputError
from somaseg.evaluation import evaluate as stage
from somaseg.evaluation.report import score_table
from somaseg.instances import Instances
from somaseg.texts.tables import read_table

SIZE = (30, 40)
SARTORIUS = Path(__file__).parents[2].parent / "shared" / "data" / "sartorius"


def cells(*boxes: tuple[int, int, int, int], scores: list[float] | None = None) -> Instances:
    """Filled rectangles, half-open x0 y0 x1 y1."""
    crops = [(b, np.ones((b[3] - b[1], b[2] - b[0]), bool)) for b in boxes]
    return Instances.build(SIZE, crops, ("cell",), scores=scores)


def write_coco(path: Path, images: dict[str, Instances], cell_types: dict[str, str] | None = None) -> Path:
    data: dict[str, Any] = {"images": [], "annotations": [], "categories": [{"id": 7, "name": "cell"}]}
    for number, (name, instances) in enumerate(images.items(), start=1):
        image = {"id": number, "file_name": f"{name}.png", "width": SIZE[1], "height": SIZE[0]}
        data["images"].append(image | ({"cell_type": cell_types[name]} if cell_types else {}))
        for rle, score in zip(instances.to_rle(), instances.scores.tolist(), strict=True):
            cell = {"id": len(data["annotations"]) + 1, "image_id": number, "category_id": 7, "segmentation": rle, "score": score}
            data["annotations"].append(cell)
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(data))
    return path


@pytest.fixture
def truth(tmp_path: Path) -> Path:
    """Two cort images and an astro image; each cell is 10 x 1 pixels."""
    images = {"a": cells((0, 0, 10, 1), (0, 5, 10, 6)), "b": cells((0, 0, 10, 1)), "c": cells()}
    return write_coco(tmp_path / "truth" / "annotations.json", images, {"a": "cort", "b": "astro", "c": "cort"})


@pytest.fixture
def pred(tmp_path: Path) -> Path:
    """In a: one cell found (.9), one half off the cell (IoU 1/3). b is missing. c is right to be empty. d is unknown to the truth."""
    images = {"d": cells((0, 0, 1, 1)), "c": cells(), "a": cells((0, 0, 9, 1), (5, 5, 15, 6), scores=[0.9, 0.8])}
    return write_coco(tmp_path / "run" / "instances.json", images).parent


def test_scores_by_class_with_a_missing_and_an_unknown_image(pred: Path, truth: Path) -> None:
    result = stage.evaluate(pred, truth, {"cort": 3, "astro": 1})
    image_a = (8 * 1 / 3 + 0 + 0) / 10  # IoU .9 matches at .50 to .85 but not at .90
    assert result.map_iou.overall.value == pytest.approx((image_a + 0 + 1) / 3)
    assert result.map_iou.by_class["cort"].value == pytest.approx((image_a + 1) / 2)
    assert result.map_iou.weighted is not None
    assert result.map_iou.weighted.value == pytest.approx(0.75 * (image_a + 1) / 2)
    assert (result.cells.true, result.cells.predicted, result.cells.f1) == (3, 2, 2 / 5)
    assert result.cells_by_class["astro"].ratio == 0.0
    assert result.cells_by_class["cort"].pq == pytest.approx(0.5 * 0.9)
    assert result.coco_ap.by_class["astro"].ap == 0.0
    assert result.coco_ap.by_class["cort"].ap50 == pytest.approx(51 / 101)
    assert (result.missing, result.ignored) == (("b",), ("d",))
    assert [(row.image, row.found) for row in result.images] == [("b", 0), ("a", 1), ("c", 0)]
    assert [note.split(":")[1] for note in result.notes()] == [" 1 of 3 (b)", " 1 (d)"]


def test_truth_against_itself_is_perfect(truth: Path) -> None:
    result = stage.evaluate(truth, truth)
    assert (result.map_iou.overall.value, result.cells.f1, result.cells.pq, result.cells.aji, result.coco_ap.overall.ap) == (1,) * 5
    assert result.notes() == []


def test_kaggle_submission_scores_as_the_same_cells_in_coco(tmp_path: Path, pred: Path, truth: Path) -> None:
    path = tmp_path / "submission.csv"
    path.write_text("id,predicted\na,1 9\nc,\na,206 10\nd,1 1\n")  # row 5 of a 40 px wide image starts at pixel 201
    found, expected = stage.evaluate(path, truth), stage.evaluate(pred, truth)
    assert (found.map_iou, found.cells, found.images) == (expected.map_iou, expected.cells, expected.images)
    assert (found.missing, found.ignored) == (("b",), ("d",))


def test_files_and_tables(tmp_path: Path, pred: Path, truth: Path) -> None:
    out = tmp_path / "scores" / "new"
    ran = CliRunner().invoke(app, ["evaluate", str(pred), str(truth), "--out", str(out), "--weights-by-type", "cort=320, astro=131"])
    assert ran.exit_code == 0, ran.output
    assert "map_iou" in ran.output
    assert "1 of 3 (b)" in ran.output
    result = stage.evaluate(pred, truth, {"cort": 320, "astro": 131})
    written = json.loads((out / "metrics.json").read_text())
    assert written["map_iou"]["weighted"]["value"] == pytest.approx(result.map_iou.weighted and result.map_iou.weighted.value)
    assert written["missing"] == ["b"]
    table = read_table(out / "images.csv")
    assert list(table.columns) == ["image", "cell_type", "map_iou", "f1", "aji", "true", "predicted", "found"]
    assert table["image"] == ["b", "a", "c"]
    with Image.open(out / "precision.png") as picture:
        assert picture.width > 1000
        assert np.asarray(picture.convert("L")).std() > 5  # drawn, not blank


def test_scores_are_written_also_without_matplotlib(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, pred: Path, truth: Path) -> None:
    monkeypatch.setattr("somaseg.figures.find_spec", lambda _: None)
    ran = CliRunner().invoke(app, ["evaluate", str(pred), str(truth), "--out", str(tmp_path / "out")])
    assert ran.exit_code == 0, ran.output
    assert "somaseg[plots]" in ran.output
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["images.csv", "metrics.json"]


def test_the_table_fits_eighty_columns(pred: Path, truth: Path) -> None:
    result = stage.evaluate(pred, truth, {"cort": 1, "astro": 1})
    console = Console(width=80, file=io.StringIO(), record=True)
    console.print(score_table(result.map_iou, result.cells, result.cells_by_class, result.coco_ap))
    rows = [[part.strip() for part in line.strip("│ ").split("│")] for line in console.export_text().splitlines() if "│" in line]
    assert ["map_iou", "0.0000", "0.6333", "0.4222", "0.3167"] in rows
    assert ["true cells", "1", "2", "3"] in [row[:4] for row in rows]


def test_no_image_in_common_is_an_error(tmp_path: Path, pred: Path) -> None:
    other = write_coco(tmp_path / "other" / "annotations.json", {"x": cells()})
    with pytest.raises(InputError, match=r"none of the 1 images.*\(x\).*d, c, a"):
        stage.evaluate(pred, other)


def test_another_size_names_the_image(tmp_path: Path, pred: Path) -> None:
    other = write_coco(tmp_path / "other" / "annotations.json", {"a": cells()})
    other.write_text(other.read_text().replace('"width": 40', '"width": 80'))
    with pytest.raises(InputError, match=r"image a: .*\(30, 40\).*\(30, 80\)"):
        stage.evaluate(pred, other)


def test_truth_without_images_is_an_error(tmp_path: Path, pred: Path) -> None:
    with pytest.raises(InputError, match="holds no image"):
        stage.evaluate(pred, write_coco(tmp_path / "other" / "annotations.json", {}))


def test_an_image_without_type_and_cells_is_of_unknown_type(tmp_path: Path) -> None:
    path = write_coco(tmp_path / "truth" / "annotations.json", {"a": cells()})
    assert list(stage.evaluate(path, path).map_iou.by_class) == ["unknown"]


@pytest.mark.parametrize("text", ["cort", "cort=many", "cort=1,,astro=2", ""])
def test_weights_that_are_none(text: str) -> None:
    with pytest.raises(InputError, match="shsy5y=155"):
        stage.parse_weights(text)


@pytest.mark.skipif(not SARTORIUS.is_dir(), reason="the real images of shared/data are not there")
def test_real_annotations_score_the_same_from_both_formats() -> None:
    """Every tenth image of `train.csv` against the same cells as COCO, overlapping and doubled ones included: a perfect score."""
    samples = read_annotations(SARTORIUS / "annotations.json")[::10]
    found, others = stage.read_predictions(SARTORIUS / "train.csv", samples)
    result = stage.score_samples(samples, found)
    assert result.map_iou.overall.value == result.cells.f1 == result.cells.aji == 1.0
    assert (len(samples), len(others), result.missing) == (42, 377, ())
