"""F1, PQ, AJI and counts: exact hand-made cases, and the definitions written out densely."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from numpy.typing import NDArray

from small_stacks import masks_of_small_image
from somaseg.evaluation import cell_scores
from somaseg.evaluation.matching import compare_cells
from somaseg.instances import Instances

SIZE = (40, 50)


def cells(*boxes: tuple[int, int, int, int]) -> Instances:
    """Filled rectangles, half-open x0 y0 x1 y1."""
    return Instances.build(SIZE, [(b, np.ones((b[3] - b[1], b[2] - b[0]), bool)) for b in boxes], ("cell",))


def score(pred: Instances, truth: Instances) -> cell_scores.ImageCells:
    return cell_scores.image_cells(compare_cells(pred, truth))


def dense_iou(pred: NDArray[np.bool_], truth: NDArray[np.bool_]) -> NDArray[np.float64]:
    iou = np.zeros((len(pred), len(truth)))
    for i, j in itertools.product(range(len(pred)), range(len(truth))):
        union = int((pred[i] | truth[j]).sum())
        iou[i, j] = int((pred[i] & truth[j]).sum()) / union if union else 0.0
    return iou


def dense_matching(pred: NDArray[np.bool_], truth: NDArray[np.bool_]) -> tuple[int, float]:
    """Pairs and sum of IoU of the best assignment, by trying every one."""
    iou = dense_iou(pred, truth)
    iou = iou.T if len(pred) > len(truth) else iou
    best = (0, 0.0)
    for chosen in itertools.permutations(range(iou.shape[1]), len(iou)):
        found = [iou[i, j] for i, j in enumerate(chosen) if iou[i, j] > 0.5]
        best = max(best, (len(found), sum(found)))
    return best


def dense_aji(pred: NDArray[np.bool_], truth: NDArray[np.bool_]) -> float:
    """Kumar et al., algorithm 1, with pixels counted cell by cell and an unused prediction taken of equals."""
    iou = dense_iou(pred, truth)
    shared, joint = 0, 0
    used: set[int] = set()
    for j, cell in enumerate(truth):
        best = max(range(len(pred)), key=lambda i: (iou[i, j], i not in used, -i), default=-1)
        if best < 0 or iou[best, j] == 0:
            joint += int(cell.sum())
            continue
        shared += int((pred[best] & cell).sum())
        joint += int((pred[best] | cell).sum())
        used.add(best)
    joint += sum(int(cell.sum()) for i, cell in enumerate(pred) if i not in used)
    return shared / joint if joint else 1.0


@settings(max_examples=300, deadline=None)
@given(masks_of_small_image, masks_of_small_image)
def test_image_cells_equal_the_dense_definitions(pred: NDArray[np.bool_], truth: NDArray[np.bool_]) -> None:
    result = score(Instances.from_masks(pred, ("cell",)), Instances.from_masks(truth, ("cell",)))
    assert (result.predicted, result.true) == (len(pred), len(truth))
    assert (result.found, result.iou_sum) == (dense_matching(pred, truth)[0], pytest.approx(dense_matching(pred, truth)[1]))
    assert result.aji == pytest.approx(dense_aji(pred, truth))


def test_one_good_one_missed_one_false() -> None:
    truth = cells((0, 0, 10, 1), (20, 0, 30, 1))
    result = score(cells((0, 0, 8, 1), (40, 0, 45, 1)), truth)
    assert (result.true, result.predicted, result.found, result.iou_sum, result.f1) == (2, 2, 1, 0.8, 0.5)
    assert result.aji == 8 / (10 + 10 + 5)


def test_overlapping_cells_get_their_best_partners() -> None:
    """Both predictions fit both cells; the sum of IoU decides, not the order."""
    truth = cells((0, 0, 10, 1), (0, 0, 12, 1))
    result = score(truth[[1, 0]], truth)
    assert (result.found, result.iou_sum, result.aji) == (2, 2.0, 1.0)


def test_doubled_cells_find_their_doubles() -> None:
    truth = cells((0, 0, 10, 1), (0, 0, 10, 1))
    assert (score(truth, truth).found, score(truth, truth).aji) == (2, 1.0)
    assert score(truth[0], truth).aji == 1.0  # one prediction serves both cells, as AJI is defined; F1 tells them apart
    assert score(truth[0], truth).f1 == pytest.approx(2 / 3)


def test_a_prediction_used_twice_counts_for_both_cells() -> None:
    """One prediction over two cells: each true cell takes it, as AJI is defined."""
    assert score(cells((0, 0, 20, 1)), cells((0, 0, 10, 1), (10, 0, 20, 1))).aji == 20 / 40


@pytest.mark.parametrize(("pred", "truth", "value"), [(cells(), cells(), 1.0), (cells(), cells((0, 0, 5, 5)), 0.0)])
def test_empty_images(pred: Instances, truth: Instances, value: float) -> None:
    for one, other in ((pred, truth), (truth, pred)):
        result = score(one, other)
        total = cell_scores.cell_scores([result])
        assert (result.f1, result.aji, total.f1, total.pq, total.aji, total.sq) == (value, value, value, value, value, None)


def test_f1_and_pq_pool_the_cells_and_aji_is_the_mean_over_images() -> None:
    perfect = score(cells((0, 0, 10, 1), (20, 0, 30, 1), (0, 5, 10, 6)), cells((0, 0, 10, 1), (20, 0, 30, 1), (0, 5, 10, 6)))
    poor = score(cells((0, 0, 8, 1), (40, 0, 45, 1)), cells((0, 0, 10, 1)))
    total = cell_scores.cell_scores([perfect, poor])
    assert (total.images, total.true, total.predicted, total.ratio) == (2, 4, 5, 1.25)
    assert total.f1 == pytest.approx(2 * 4 / 9)
    assert total.sq == pytest.approx(3.8 / 4)
    assert total.pq == pytest.approx(2 * 3.8 / 9)
    assert total.aji == pytest.approx((1 + 8 / 15) / 2)
    assert cell_scores.CellScores.model_validate_json(total.model_dump_json()) == total


def test_no_true_cell_has_no_ratio() -> None:
    assert cell_scores.cell_scores([score(cells((0, 0, 5, 5)), cells())]).ratio is None
