"""Boxes in NumPy are those of torch, to the bit where nothing is rounded otherwise."""

import numpy as np
import pytest

from somaseg.runtimes import boxes as bx

RNG = np.random.default_rng(0)


def drawn(count, side=60.0):
    corners = RNG.uniform(0, 200, (count, 2))
    return np.concatenate([corners, corners + RNG.uniform(4, side, (count, 2))], axis=1).astype(np.float32)


def test_overlaps_by_hand():
    boxes = np.array([[0, 0, 10, 10], [5, 0, 15, 10], [20, 20, 30, 30], [3, 3, 3, 3]], np.float32)
    np.testing.assert_allclose(bx.iou(boxes, boxes)[0], [1, 1 / 3, 0, 0], rtol=1e-6)
    assert bx.iou(boxes, boxes)[3, 3] == 0
    assert bx.nonempty(boxes).tolist() == [True, True, True, False]
    assert bx.clip(np.array([[-5, 2, 40, 50]], np.float32), (20, 30)).tolist() == [[0, 2, 30, 20]]


def test_deltas_by_hand():
    moved = bx.decode(np.array([[0, 0, 10, 20]], np.float32), np.array([[1, 0, 0, 100]], np.float32), (10, 10, 5, 5))
    # A tenth of the width to the right; the height grows by the most that is allowed.
    np.testing.assert_allclose(moved[0, [0, 2]], [1, 11], rtol=1e-6)
    assert moved[0, 3] - moved[0, 1] == pytest.approx(20 * 1000 / 16, rel=1e-5)


def test_of_equal_boxes_the_first_stays():
    boxes, scores = np.array([[0, 0, 8, 8]] * 3 + [[1, 0, 9, 8]], np.float32), np.array([0.5, 0.5, 0.5, 0.9], np.float32)
    assert bx.nms(boxes, scores, 0.9).tolist() == [3, 0]
    assert bx.nms(boxes, scores, 0.5).tolist() == [3]
    assert bx.nms(boxes[:0], scores[:0], 0.5).tolist() == []
    assert bx.nms_by_group(boxes, scores, np.array([0, 1, 1, 0]), 0.5).tolist() == [3, 1]
    assert bx.nms_by_group(boxes[:0], scores[:0], np.zeros(0, np.int64), 0.5).tolist() == []


def test_an_overlap_at_the_limit_stays():
    # 7 of 10 pixels: an IoU of .7, which is no more than .7.
    boxes = np.array([[0, 0, 10, 1], [0, 0, 7, 1]], np.float32)
    assert len(bx.nms(boxes, np.array([2, 1], np.float32), 0.7)) == 2


@pytest.mark.parametrize("count", [0, 1, 130, 1000])
def test_torch_finds_the_same(count):
    torch = pytest.importorskip("torch")
    ops = pytest.importorskip("torchvision.ops")
    from somaseg.models import boxes as torch_boxes

    boxes, scores = drawn(count), RNG.integers(0, 50, count).astype(np.float32) / 50  # with ties
    tensors = torch.from_numpy(boxes), torch.from_numpy(scores)
    for limit in (0.3, 0.6, 0.7):
        assert bx.nms(boxes, scores, limit).tolist() == ops.nms(*tensors, limit).tolist()
    np.testing.assert_array_equal(bx.iou(boxes, boxes[:20]), torch_boxes.iou(tensors[0], tensors[0][:20]).numpy())
    np.testing.assert_array_equal(bx.clip(boxes, (90, 100)), torch_boxes.clip(tensors[0], (90, 100)).numpy())
    deltas = RNG.normal(size=(count, 4)).astype(np.float32)
    moved = torch_boxes.decode(tensors[0], torch.from_numpy(deltas), (10, 10, 5, 5)).numpy()
    np.testing.assert_allclose(bx.decode(boxes, deltas, (10, 10, 5, 5)), moved, rtol=1e-5, atol=1e-4)
