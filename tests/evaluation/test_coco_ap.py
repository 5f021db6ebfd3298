"""`coco_ap`: exact hand-made cases, and agreement of our matching with faster-coco-eval's."""

import numpy as np
import pytest
from faster_coco_eval.core import mask as coco_mask

from somaseg.evaluation import matching
from somaseg.evaluation.coco_ap import AREA_BINS, CocoAp, coco_ap
from somaseg.instances import Instances

SIZE = (120, 160)


def squares(*sides: int, scores: list[float] | None = None) -> Instances:
    """Squares of these sides in a row, 40 pixels apart."""
    return Instances.build(
        SIZE, [((40 * i, 0, 40 * i + s, s), np.ones((s, s), bool)) for i, s in enumerate(sides)], ("cell",), scores=scores
    )


def culture(seed: int, jitter: float) -> Instances:
    """About 150 touching cells without overlap: each pixel belongs to the nearest of 150 wandering centres, if one is near."""
    centres = np.random.default_rng(seed).uniform((0, 0), SIZE, (150, 2))
    centres += np.random.default_rng(seed + 1000).normal(0, 1, centres.shape) * jitter
    rows, columns = np.indices(SIZE)
    distance = np.hypot(rows[..., None] - centres[:, 0], columns[..., None] - centres[:, 1])
    nearest = distance.argmin(-1)
    return Instances.from_label_image(np.where(distance.min(-1) < 4, nearest + 1, 0), ("cell",))


@pytest.mark.parametrize("jitter", [0.0, 0.5, 1.0, 2.0])
def test_recall_and_iou_equal_faster_coco_eval_without_overlaps(jitter: float) -> None:
    """Where cells of a set do not overlap the matching is unique, so the recall of both must be the same."""
    truth, pred = culture(0, 0.0), culture(0, jitter)
    iou = coco_mask.iou(pred.to_rle(), truth.to_rle(), [0] * len(truth))
    comparison = matching.compare_cells(pred, truth)
    ours = np.zeros_like(iou)
    ours[comparison.pred, comparison.truth] = comparison.iou
    assert np.array_equal(ours, iou)
    # COCO matches at IoU >= t, `map_iou` at IoU > t: leave out predictions that lie exactly on a threshold.
    pred = pred[~np.isin(iou, matching.THRESHOLDS).any(axis=1)]
    tp, _, fn = matching.match_counts(pred, truth)
    assert tp[0] > 0
    assert coco_ap([(pred, truth)], ["cort"]).overall.ar == pytest.approx((tp / (tp + fn)).mean())


def test_ap_of_a_hand_made_ranking() -> None:
    """Right, wrong, right: precision 1 up to recall .5, 2/3 beyond, at COCO's 101 recalls."""
    truth = squares(10, 10)
    pred = Instances.cat([truth, squares(0, 0, 10)[[2]]])
    pred = Instances.build(SIZE, list(zip(pred.boxes, pred.masks, strict=True)), ("cell",), scores=[0.9, 0.7, 0.8])
    result = coco_ap([(pred, truth)], ["cort"]).overall
    expected = pytest.approx((51 + 50 * 2 / 3) / 101)
    assert (result.ap, result.ap50, result.ap75, result.ar) == (expected, expected, expected, 1.0)


def test_area_bins() -> None:
    truth = squares(10, 20, 40)  # 100, 400 and 1600 pixels
    result = coco_ap([(truth[[0, 2]], truth)], ["cort"]).overall
    assert list(result.by_area) == list(AREA_BINS)
    assert {name: bin_.ar for name, bin_ in result.by_area.items()} == {
        "coco small": 0.5,
        "coco medium": 1.0,
        "coco large": None,
        "livecell small": 1.0,
        "livecell medium": 0.0,
        "livecell large": 1.0,
    }


def test_more_cells_than_any_cap() -> None:
    """2,500 single pixels, all found: a cap of 100 would give an AP of .05."""
    grid = [((x, y, x + 1, y + 1), np.ones((1, 1), bool)) for x in range(0, 100, 2) for y in range(0, 100, 2)]
    truth = Instances.build(SIZE, grid, ("cell",))
    result = coco_ap([(truth, truth)], ["shsy5y"])
    assert (result.overall.ap, result.overall.ar, result.max_detections) == (1.0, 1.0, 2500)


def test_by_class_is_the_cell_type_of_the_image() -> None:
    good, none = squares(10, 20), Instances.empty(SIZE, ("cell",))
    result = coco_ap([(good, good), (none, good), (none, none)], ["cort", "astro", "shsy5y"])
    assert [(name, ap.ap) for name, ap in result.by_class.items()] == [("astro", 0.0), ("cort", 1.0), ("shsy5y", None)]
    assert result.overall.ar == 0.5
    assert CocoAp.model_validate_json(result.model_dump_json()) == result


def test_nothing_at_all() -> None:
    none = Instances.empty(SIZE, ("cell",))
    assert coco_ap([(none, none)], ["cort"]).overall.ap is None
    assert coco_ap([(squares(10), none)], ["cort"]).overall.ar is None
