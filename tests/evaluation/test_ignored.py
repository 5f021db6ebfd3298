"""Crowds and ignored regions in every score: neither cell nor background, by COCO's rule."""

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from faster_coco_eval import COCO, COCOeval_faster
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from somaseg.annotations.samples import Sample
from somaseg.annotations.write import write_coco
from somaseg.cli.main import app
from somaseg.evaluation.cell_scores import cell_scores, image_cells
from somaseg.evaluation.coco_ap import coco_ap
from somaseg.evaluation.evaluate import evaluate
from somaseg.evaluation.map_iou import map_iou
from somaseg.evaluation.matching import THRESHOLDS, compare_cells, match_counts
from somaseg.evaluation.panels import judge
from somaseg.instances import Instances

SIZE = (40, 60)


def cells(*boxes: tuple[int, int, int, int], scores: list[float] | None = None) -> Instances:
    """Filled rectangles, half-open x0 y0 x1 y1."""
    return Instances.build(SIZE, [(b, np.ones((b[3] - b[1], b[2] - b[0]), bool)) for b in boxes], ("cell",), scores=scores)


TRUTH = cells((0, 0, 10, 10), (20, 0, 30, 10))
CROWD = cells((40, 0, 60, 40))


@pytest.mark.parametrize(
    ("inside", "false_alarms"),
    [
        (10, [0] * 10),  # all of its 10 columns lie in the crowd
        (7, [0] * 5 + [1] * 5),  # 0.7 of it: left out up to the threshold .7
        (5, [0] + [1] * 9),
        (4, [1] * 10),
        (0, [1] * 10),
    ],
)
def test_a_prediction_counts_by_its_share_in_the_crowd(inside: int, false_alarms: list[int]) -> None:
    pred = cells((0, 0, 10, 10), (20, 0, 30, 10), (30 + inside, 20, 40 + inside, 30))
    tp, fp, fn = match_counts(pred, TRUTH, ignored=CROWD)
    assert (tp.tolist(), fp.tolist(), fn.tolist()) == ([2] * 10, false_alarms, [0] * 10)


def test_every_score_is_whole_where_the_rest_lies_in_crowds() -> None:
    pred = cells((0, 0, 10, 10), (20, 0, 30, 10), (45, 5, 50, 9), (50, 20, 58, 30), scores=[0.5, 0.6, 0.9, 0.8])
    pair = (pred, TRUTH, CROWD)
    assert map_iou([pair], ["cell"], draws=10).overall.value == 1
    found = cell_scores([image_cells(compare_cells(*pair))])
    assert (found.f1, found.pq, found.aji, found.predicted, found.true) == (1, 1, 1, 2, 2)
    assert coco_ap([pair], ["cell"]).overall.ap == 1
    plain = (pred, TRUTH)
    assert map_iou([plain], ["cell"], draws=10).overall.value == 0.5
    assert coco_ap([plain], ["cell"]).overall.ap is not None
    judged = judge("x", pred, TRUTH, 0.5, CROWD)
    assert (judged.hits, judged.false_alarms, judged.map_iou) == (2, 0, 1)


def test_a_true_cell_in_a_crowd_counts_as_any_other() -> None:
    truth = cells((45, 5, 55, 15))
    assert [c.tolist() for c in match_counts(cells(), truth, (0.5,), CROWD)] == [[0], [0], [1]]
    assert [c.tolist() for c in match_counts(truth, truth, (0.5,), CROWD)] == [[1], [0], [0]]


def test_an_image_of_nothing_but_a_crowd() -> None:
    pair = (cells((45, 5, 55, 15)), cells(), CROWD)
    assert map_iou([pair], ["cell"], draws=10).overall.value == 1
    assert image_cells(compare_cells(*pair)).f1 == 1


boxes = st.tuples(st.integers(0, 8), st.integers(0, 5), st.integers(1, 5), st.integers(1, 5)).map(
    lambda b: (b[0], b[1], b[0] + b[2], b[1] + b[3])
)
sets = st.lists(boxes, max_size=4).map(lambda found: cells(*found))


@settings(max_examples=100, deadline=None)
@given(sets, sets, sets)
def test_counts_equal_the_definition(pred: Instances, truth: Instances, ignored: Instances) -> None:
    """Of all largest matchings, the one with fewest false alarms, by trying every one."""
    found = match_counts(pred, truth, ignored=ignored)
    iou, inside = pred.iou(truth), np.zeros(len(pred))
    for i, region in itertools.product(range(len(pred)), ignored.to_masks()):
        inside[i] = max(inside[i], (pred.to_masks()[i] & region).sum() / pred.area[i])
    for column, threshold in zip(zip(*found, strict=True), THRESHOLDS, strict=True):
        best = (0, -int((inside < threshold).sum()))
        for n in range(min(len(pred), len(truth)) + 1):
            for chosen, order in itertools.product(
                itertools.combinations(range(len(pred)), n), itertools.permutations(range(len(truth)), n)
            ):
                if all(iou[i, j] > threshold for i, j in zip(chosen, order, strict=True)):
                    alone = [i for i in range(len(pred)) if i not in chosen and inside[i] < threshold]
                    best = max(best, (n, -len(alone)))
        assert tuple(map(int, column)) == (best[0], -best[1], len(truth) - best[0])


def test_coco_ap_is_that_of_a_file_with_crowds() -> None:
    random = np.random.default_rng(3)
    truth = cells(*[(x, y, x + 6, y + 6) for x in range(0, 30, 8) for y in range(0, 30, 8)])
    moved = [(x, y, x + 6, y + 6) for x in range(0, 54, 8) for y in (random.integers(0, 3), 8, 17, 30)]
    pred = cells(*moved, scores=random.random(len(moved)).tolist())
    ours = coco_ap([(pred, truth, CROWD)], ["cell"]).overall

    def document(part: Instances, crowd: int, first: int) -> list[dict[str, Any]]:
        rows = zip(part.to_rle(), part.area.tolist(), part.scores.tolist(), strict=True)
        return [
            {"id": first + i, "image_id": 1, "category_id": 1, "segmentation": r, "area": a, "iscrowd": crowd, "score": s}
            for i, (r, a, s) in enumerate(rows)
        ]

    head = {"images": [{"id": 1, "height": SIZE[0], "width": SIZE[1]}], "categories": [{"id": 1, "name": "cell"}]}
    theirs = COCOeval_faster(
        COCO({**head, "annotations": [*document(truth, 0, 1), *document(CROWD, 1, 100)]}),
        COCO({**head, "annotations": document(pred, 0, 1)}),
        iouType="segm",
    )
    theirs.params.maxDets = [2000]
    theirs.evaluate()
    theirs.accumulate()
    precision = theirs.eval["precision"][:, :, 0, 0, 0]
    assert ours.ap == pytest.approx(precision.mean())


def test_the_command_leaves_them_out_and_tells_of_images_listed_twice(tmp_path: Path) -> None:
    sample = Sample(tmp_path / "a.png", TRUTH, "a", ignored=CROWD)
    write_coco([sample], tmp_path / "truth.json")
    pred = cells((0, 0, 10, 10), (20, 0, 30, 10), (45, 5, 50, 9))
    write_coco([Sample(tmp_path / "a.png", pred, "a")], tmp_path / "pred.json")
    result = evaluate(tmp_path / "pred.json", tmp_path / "truth.json")
    assert (result.map_iou.overall.value, result.cells.f1, result.coco_ap.overall.ap, result.images[0].predicted) == (1, 1, 1, 2)
    data = json.loads((tmp_path / "truth.json").read_text())
    data["images"].append({**data["images"][0], "id": 2, "file_name": "./a.png"})
    data["annotations"][1]["image_id"] = 2
    (tmp_path / "truth.json").write_text(json.dumps(data))
    run = CliRunner().invoke(app, ["evaluate", str(tmp_path / "pred.json"), str(tmp_path / "truth.json"), "--out", str(tmp_path / "out")])
    assert run.exit_code == 0
    assert "note: image listed twice" in run.output.replace("\n", " ")
    metrics = json.loads((tmp_path / "out/metrics.json").read_text())
    assert (metrics["map_iou"]["overall"]["value"], metrics["cells"]["true"], metrics["cells"]["images"]) == (1, 2, 1)


def test_results_of_detectron2_in_a_folder(tmp_path: Path) -> None:
    write_coco([Sample(tmp_path / "a.png", TRUTH, "a")], tmp_path / "truth.json")
    rows = [{"image_id": 1, "category_id": 1, "score": 0.5, "segmentation": rle} for rle in TRUTH.to_rle()]
    (tmp_path / "inference").mkdir()
    (tmp_path / "inference/coco_instances_results.json").write_text(json.dumps(rows))
    assert evaluate(tmp_path / "inference", tmp_path / "truth.json").map_iou.overall.value == 1


def test_names_with_everything_survive_in_the_table(tmp_path: Path) -> None:
    names = ['=a,"b', "c\nd", "+e"]
    samples = [Sample(tmp_path / f"{name}.png", TRUTH, name) for name in names]
    write_coco(samples, tmp_path / "truth.json")
    from somaseg.evaluation.evaluate import write_evaluation
    from somaseg.texts.tables import read_table

    write_evaluation(evaluate(tmp_path / "truth.json", tmp_path / "truth.json"), tmp_path / "out")
    assert sorted(read_table(tmp_path / "out/images.csv")["image"]) == sorted(names)
