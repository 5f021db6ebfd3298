"""Which refined boxes are detections."""

import numpy as np
import pytest

from oracle import Oracle, settings
from somaseg.inference.detect import detect
from somaseg.inference.views import View
from tiny import TINY


def test_screening_keeps_one_class_a_box():
    boxes = [[0.0, 0, 10, 10], [0, 0, 10, 9], [20, 0, 40, 10], [20, 20, 30, 30], [50, 5, 60, 15], [5, 5, 5, 9]]
    probabilities = [[0.5, 0.1, 0.4], [0.2, 0.6, 0.2], [0.3, 0.4, 0.3], [0.04, 0.05, 0.91], [0.9, 0, 0.1], [0.9, 0, 0.1]]
    oracle = Oracle(boxes, probabilities)
    (found,) = detect(View(oracle, settings(nms_iou=0.5)), [np.zeros((40, 48), np.float32)])
    # The first loses to the second, the fourth is too faint, the fifth outside the image, the sixth empty.
    assert found.boxes.tolist() == [[0, 0, 10, 9], [20, 0, 40, 10]]
    assert found.scores.tolist() == pytest.approx([0.8, 0.7])
    assert found.labels.tolist() == [1, 1]
    assert found.size == (40, 48)
    assert found.classes == TINY.classes
    assert [found.boxes.dtype, found.scores.dtype, found.labels.dtype, found.mask_probs.dtype] == [
        np.float32,
        np.float32,
        np.int64,
        np.float16,
    ]
    assert found.mask_probs.shape == (2, 28, 28)
    assert (found.mask_probs == 0.75).all()


def test_screening_by_class():
    oracle = Oracle([[0.0, 0, 10, 10], [0, 0, 10, 9]], [[0.5, 0.1, 0.4], [0.2, 0.6, 0.2]])
    (found,) = detect(View(oracle, settings(nms_iou=0.5, per_class=True)), [np.zeros((40, 48), np.float32)])
    # Every class has its own NMS; .1 is not above the threshold.
    assert found.boxes.tolist() == [[0, 0, 10, 9], [0, 0, 10, 10]]
    assert found.scores.tolist() == pytest.approx([0.6, 0.5])
    assert found.labels.tolist() == [1, 0]
