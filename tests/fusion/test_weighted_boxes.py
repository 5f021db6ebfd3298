import numpy as np
import pytest
from numpy.typing import ArrayLike

from somaseg.errors import InputError
from somaseg.fusion.pool import Pool, pool
from somaseg.fusion.weighted_boxes import clusters, weighted_boxes
from somaseg.instances import Instances, Prediction
from somaseg.postprocessing.candidates import Candidates

CLASSES = ("a", "b")


def model(*boxes: list[float], scores: list[float], labels: list[int] | None = None, probs: ArrayLike | None = None) -> Candidates:
    n = len(scores)
    grids = np.ones((n, 4, 4)) if probs is None else np.broadcast_to(np.asarray(probs), (n, 4, 4))
    return Candidates.from_prediction(
        Prediction(
            size=(50, 50),
            boxes=np.array(boxes, np.float32).reshape(n, 4),
            scores=np.array(scores, np.float32),
            labels=np.array([0] * n if labels is None else labels, np.int64),
            mask_probs=grids.astype(np.float16),
            classes=CLASSES,
        )
    )


def led(together: Pool, box_iou: float) -> list[int]:
    return clusters(together, box_iou).tolist()


def test_boxes_and_masks_are_averaged_by_score():
    first, second = model([0, 0, 8, 8], scores=[0.9], probs=1.0), model([0, 4, 8, 12], scores=[0.3], probs=0.0)
    fused = weighted_boxes(pool([first, second]), 0.3)
    assert fused.boxes[0].tolist() == pytest.approx([0, 1, 8, 9], abs=1e-5)
    assert fused.scores.tolist() == pytest.approx([0.6])
    # Grid rows of the fused box have their centres at y = 2, 4, 6, 8: rows .5, 1.5, 2.5, 3.5 of the first grid, half of it above 0 beyond.
    assert fused.mask_probs is not None
    assert fused.mask_probs[0, :, 1].tolist() == pytest.approx([0.75, 0.75, 0.75, 0.375], abs=1e-3)


def test_masks_are_resampled_into_the_fused_box_with_nothing_outside_of_their_own():
    first, second = model([0, 0, 8, 8], scores=[0.5]), model([4, 0, 12, 8], scores=[0.5])
    fused = weighted_boxes(pool([first, second]), 0.3)
    assert fused.boxes.tolist() == [[2, 0, 10, 8]]
    assert fused.mask_probs is not None
    assert fused.mask_probs[0].tolist() == [[0.5, 1, 1, 0.5]] * 4
    assert fused.pixels is None


def test_a_cell_that_few_models_see_scores_low():
    seen, none = model([0, 0, 8, 8], [20, 20, 30, 30], scores=[0.6, 0.9]), model(scores=[])
    fused = weighted_boxes(pool([seen, none, model([0, 0, 8, 8], scores=[0.6])]), 0.5)
    assert fused.boxes.tolist() == [[0, 0, 8, 8], [20, 20, 30, 30]]
    assert fused.scores.tolist() == pytest.approx([0.4, 0.3])


def test_neighbours_that_one_model_tells_apart_stay_apart():
    first = model([0, 0, 10, 10], [1, 0, 11, 10], scores=[0.9, 0.8])
    second = model([0.9, 0, 10.9, 10], [0.1, 0, 10.1, 10], scores=[0.7, 0.6])
    together = pool([first, second])
    assert led(together, 0.5) == [0, 1, 1, 0]
    assert led(together, 0.999) == [0, 1, 2, 3]


def test_a_detection_joins_the_best_leader_not_one_of_its_followers():
    # The third box overlaps the second, which follows the first, but the first too little.
    together = pool([model([0, 0, 10, 1], scores=[0.9]), model([4, 0, 14, 1], scores=[0.8]), model([8, 0, 18, 1], scores=[0.7])])
    assert led(together, 0.4) == [0, 0, 2]


def test_of_equal_overlaps_the_first_leader_wins():
    leaders = model([0, 0, 10, 1], [10, 0, 20, 1], scores=[0.9, 0.9])
    assert led(pool([leaders, model([5, 0, 15, 1], scores=[0.5])]), 0.3) == [0, 1, 0]


def test_the_label_with_the_largest_sum_of_scores_wins():
    box = [0.0, 0, 9, 9]
    members = [model(box, scores=[s], labels=[k]) for s, k in [(0.7, 0), (0.4, 1), (0.4, 1)]]
    assert weighted_boxes(pool(members), 0.5).labels.tolist() == [1]


def test_boxes_without_area_and_scores_of_nought_do_no_harm():
    odd = model([5, 5, 5, 9], [np.nan, 0, 3, 3], [0, 0, 8, 8], scores=[0.9, 0.8, 0.0])
    fused = weighted_boxes(pool([odd, odd]), 0.5)
    assert fused.boxes.tolist() == [[0, 0, 8, 8]]
    assert fused.scores.tolist() == [0]
    assert fused.mask_probs is not None
    assert (fused.mask_probs == 1).all()


def test_no_detection_gives_none_and_masks_without_probabilities_are_refused():
    assert len(weighted_boxes(pool([model(scores=[])] * 2), 0.5)) == 0
    with pytest.raises(InputError, match="method weighted averages"):
        weighted_boxes(pool([Candidates.from_instances(Instances.empty((5, 5), CLASSES))]), 0.5)
