"""Fused cells with what speaks for them."""

import numpy as np
import pytest

from somaseg.config import FuseSettings, PostprocessSettings
from somaseg.instances import Instances, Prediction
from somaseg.pseudolabels.evidence import agreement, gather, lowered

CLASSES = ("round", "long")


def squares(*cells: tuple[int, int, int], scores=None, labels=None) -> Instances:
    """Square cells (x, y, side) in an image of 40 x 60 pixels."""
    boxes = np.array([(x, y, x + side, y + side) for x, y, side in cells], np.int32).reshape(-1, 4)
    masks = tuple(np.ones((side, side), bool) for _, _, side in cells)
    count = len(cells)
    return Instances((40, 60), boxes, masks, labels or [0] * count, [1.0] * count if scores is None else scores, CLASSES)


def test_agreement_is_the_mean_of_the_best_iou_with_each_model():
    cells = squares((0, 0, 4), (20, 20, 4))
    members = [squares((0, 0, 4), (0, 2, 4)), squares((0, 0, 2), (30, 30, 5))]
    assert agreement(cells, members).tolist() == pytest.approx([(1 + 4 / 16) / 2, 0])


def test_evidence_of_two_models():
    boxes = np.array([[4, 4, 14, 14], [30, 10, 40, 20]], np.float32)
    probs = np.full((2, 28, 28), 0.75, np.float16)
    one = Prediction((40, 60), boxes, np.array([0.9, 0.8], np.float32), np.zeros(2, np.int64), probs, CLASSES)
    evidence = gather([one, one[:1]], FuseSettings(), PostprocessSettings(min_area={"default": 4}))
    assert evidence.cells.boxes.tolist() == boxes.tolist()
    assert evidence.mask_prob.tolist() == pytest.approx([0.75, 0.75], abs=1e-3)
    assert evidence.cells.scores.tolist() == pytest.approx([0.9 * 0.75, 0.4 * 0.75], abs=1e-3)
    assert evidence.agreement.tolist() == [1, 0.5]


def test_least_scores_are_lowered_by_class():
    settings = PostprocessSettings(score_thresh={"default": 0.3, "long": 0.1})
    assert lowered(settings, {"default": 0.2, "round": 0.25}, CLASSES).score_thresh == {"default": 0.1, "round": 0.25, "long": 0.1}
