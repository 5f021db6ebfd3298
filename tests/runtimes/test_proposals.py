"""Anchors and proposals in NumPy are those of the network in torch."""

import numpy as np
import pytest

from somaseg.config import RpnSettings
from somaseg.runtimes.proposals import anchors_at, propose


def test_anchors_by_hand():
    # Two squares at each place; number 5 is the second square at place 2, which stands in row 1 of a level two places wide.
    anchors = anchors_at(np.array([0, 5]), (8.0, 16.0), (1.0,), 4, 2)
    assert anchors.tolist() == [[-4, -4, 4, 4], [-8, -4, 8, 12]]


def test_the_best_stand_first_and_duplicates_go():
    cfg = RpnSettings(sizes=((8,),), ratios=(1.0,), pre_nms=3, post_nms=2, nms_iou=0.5)
    objectness = np.array([1, 3, 2, 0], np.float32)  # a row of four places, two pixels apart
    boxes, logits = propose([objectness], [np.zeros((4, 4), np.float32)], [(1, 4)], [2], (10, 10), cfg)
    assert logits.tolist() == [3]  # its neighbours overlap it by three fifths; the fourth is not among the three best
    assert boxes.tolist() == [[0, 0, 6, 4]]


def test_torch_proposes_the_same():
    torch = pytest.importorskip("torch")
    from somaseg.models.rpn import Rpn, anchors_of_level

    cfg = RpnSettings(sizes=((16, 24), (32, 48)), ratios=(0.5, 1.0), pre_nms=40, post_nms=30)
    generator, shapes, strides = np.random.default_rng(0), [(9, 11), (5, 6)], (4, 8)
    counts = [4 * height * width for height, width in shapes]
    objectness = [generator.normal(size=count).astype(np.float32) for count in counts]
    deltas = [generator.normal(0, 0.3, (count, 4)).astype(np.float32) for count in counts]
    rpn = Rpn(cfg, 8, strides).eval()
    anchors = [
        anchors_of_level(sizes, cfg.ratios, stride, shape, torch.device("cpu"))
        for sizes, stride, shape in zip(cfg.sizes, strides, shapes, strict=True)
    ]
    for every, sizes, stride, shape, count in zip(anchors, cfg.sizes, strides, shapes, counts, strict=True):
        np.testing.assert_array_equal(anchors_at(np.arange(count), sizes, cfg.ratios, stride, shape[1]), every.numpy())
    of_image = ([torch.from_numpy(values)[None] for values in given] for given in (objectness, deltas))
    ((expected, logits),) = rpn.select(anchors, *of_image, [(36, 44)])
    boxes, found = propose(objectness, deltas, shapes, strides, (36, 44), cfg)
    np.testing.assert_array_equal(found, logits.numpy())
    np.testing.assert_allclose(boxes, expected.numpy(), atol=1e-4)
