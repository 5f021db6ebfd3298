import math
import warnings

import numpy as np
import pytest
import torch

from oracle import WIDE, Oracle, settings
from somaseg.config import PostprocessSettings
from somaseg.inference.detect import detect
from somaseg.inference.views import View
from somaseg.models.cascade import CascadeMaskRCNN
from somaseg.postprocessing.steps import postprocess_with_report
from somaseg.runtimes.torch_detector import TorchDetector
from tiny import TINY


@pytest.fixture(scope="module")
def tiny_model():
    torch.manual_seed(0)
    return CascadeMaskRCNN(WIDE).eval()


@pytest.mark.parametrize(
    ("scale", "size", "given"), [(1.5, (5, 7), (8, 10)), (2.0, (20, 30), (40, 60)), (0.5, (20, 31), (10, 16)), (0.1, (3, 4), (1, 1))]
)
def test_boxes_come_back_in_pixels_of_the_image(scale, size, given):
    oracle = Oracle([[0.0, 0, given[1], given[0]], [0, 0, given[1] / 2, given[0] / 4]], [[0.9, 0, 0.1], [0.8, 0, 0.2]])
    (found,) = detect(View(oracle, settings(scale=scale)), [np.ones(size, np.float32)])
    assert oracle.given[0].shape == (1, *given)
    height, width = size
    np.testing.assert_allclose(found.boxes, [[0, 0, width, height], [0, 0, width / 2, height / 4]], rtol=1e-6)


def test_reaching_the_cap_warns():
    oracle = Oracle([[0.0, 0, 8, 8], [10, 0, 18, 8], [20, 0, 28, 8]], [[0.2, 0.3, 0.5], [0.9, 0, 0.1], [0.7, 0, 0.3]])
    image = np.zeros((32, 32), np.float32)
    with pytest.warns(UserWarning, match=r"cap of 2 \(detect\.max_detections\): cells may be missing"):
        (found,) = detect(View(oracle, settings(max_detections=2)), [image])
    assert found.scores.tolist() == pytest.approx([0.9, 0.7])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(detect(View(oracle, settings(max_detections=4)), [image])[0]) == 3


def capped(cap):
    return settings(score_thresh=0.1).model_copy(update={"rpn": TINY.rpn.model_copy(update={"post_nms": cap})})


@pytest.mark.parametrize(("last", "warns"), [(0.9, True), (0.31, True), (0.3, False), (0.05, False)])
def test_proposals_at_their_cap_warn_where_the_last_of_them_find_cells(last, warns):
    # Thirty cells side by side in the order of their proposals: the last tenth of the proposals is the last three cells.
    oracle = Oracle([[9.0 * i, 0, 9 * i + 8, 8] for i in range(30)], [[0.9, 0, 0.1]] * 27 + [[last, 0, 1 - last]] * 3)
    image = np.zeros((32, 272), np.float32)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        detect(View(oracle, capped(30)), [image])
    assert [str(w.message) for w in caught] == [
        "proposals reached their cap of 30 (model.rpn.post_nms of the weights) and the last of them still found cells: "
        "some may be missing, see the image in smaller tiles (tiles.whole, tiles.side)"
    ] * warns
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        detect(View(oracle, capped(31)), [image])


def test_few_cells_late_among_the_proposals_do_not_warn():
    oracle = Oracle([[9.0 * i, 0, 9 * i + 8, 8] for i in range(10)], [[0.9, 0, 0.1]] * 10)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(detect(View(oracle, capped(10)), [np.zeros((32, 96), np.float32)])[0]) == 10


def test_last_proposals_that_repeat_better_ones_do_not_warn():
    oracle = Oracle([[9.0 * i, 0, 9 * i + 8, 8] for i in range(27)] + [[0, 0, 8, 8]] * 3, [[0.9, 0, 0.1]] * 30)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        (found,) = detect(View(oracle, capped(30)), [np.zeros((32, 272), np.float32)])
    assert len(found) == 27


@pytest.mark.parametrize("bf16", [False, True])
@pytest.mark.parametrize("scale", [1.0, 1.5])
@pytest.mark.parametrize("size", [(1, 1), (1, 40), (33, 47), (64, 64)])
def test_detections_lie_inside_images_of_any_size(tiny_model, size, scale, bf16):
    image = np.random.default_rng(0).normal(size=size).astype(np.float32)
    (found,) = detect(View(TorchDetector(tiny_model, bf16), settings(scale=scale, score_thresh=0)), [image])
    assert found.size == size
    assert len(found) > 0
    x0, y0, x1, y1 = found.boxes.T
    assert ((x0 >= 0) & (y0 >= 0) & (x1 > x0) & (y1 > y0)).all()
    assert ((x1 <= size[1] + 1e-4) & (y1 <= size[0] + 1e-4)).all()
    assert ((found.scores >= 0) & (found.scores <= 1)).all()
    assert ((found.mask_probs >= 0) & (found.mask_probs <= 1)).all()
    assert (np.diff(found.scores) <= 0).all()
    assert set(found.labels.tolist()) <= {0, 1}


@pytest.mark.parametrize("bf16", [False, True])
def test_no_detection_at_all(tiny_model, bf16):
    (found,) = detect(View(TorchDetector(tiny_model, bf16), settings(score_thresh=1)), [np.zeros((40, 40), np.float32)])
    assert len(found) == 0
    assert found.mask_probs.shape == (0, 28, 28)


def test_scores_of_the_network_are_probabilities_of_being_a_cell(tiny_model):
    # An untrained network gives each of the three classes about a third, so a cell has two thirds.
    (found,) = detect(View(TorchDetector(tiny_model, False), settings(score_thresh=0)), [np.zeros((64, 64), np.float32)])
    assert all(math.isclose(score, 2 / 3, abs_tol=0.1) for score in found.scores)


@pytest.mark.parametrize(
    "steps", [("vote", "screen", "paste"), ("screen", "paste", "vote"), ("box_nms", "screen", "paste"), ("paste", "screen")]
)
def test_masks_that_no_cell_comes_of_are_not_drawn(steps):
    class Counting(Oracle):
        def segment(self, features, boxes, labels):
            self.drawn = [len(b) for b in boxes]
            return super().segment(features, boxes, labels)

    boxes = [[0.0, 0, 10, 10], [2, 0, 12, 10], [20, 0, 30, 10], [20, 20, 30, 30]]
    probabilities = [[0.9, 0, 0.1], [0.8, 0.1, 0.1], [0.1, 0.6, 0.3], [0.2, 0, 0.8]]
    chosen = PostprocessSettings(steps=steps, score_thresh={"default": 0.5, "long": 0.75}, box_nms_iou=0.5, min_area=1)
    images = [np.zeros((40, 48), np.float32)]
    every, few = Counting(boxes, probabilities), Counting(boxes, probabilities)
    (whole,) = detect(View(every, settings(nms_iou=0.9)), images)
    (partly,) = detect(View(few, settings(nms_iou=0.9)), images, chosen)
    assert every.drawn == [4]
    assert few.drawn == {"vote": [3], "screen": [3], "box_nms": [3], "paste": [4]}[steps[0]]  # likely ones are drawn in any case
    np.testing.assert_array_equal(partly.scores, whole.scores)
    cells, report = postprocess_with_report(whole, chosen)
    others, same = postprocess_with_report(partly, chosen)
    assert report == same
    np.testing.assert_array_equal(cells.boxes, others.boxes)
    assert all(np.array_equal(one, two) for one, two in zip(cells.masks, others.masks, strict=True))
