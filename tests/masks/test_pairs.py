import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from drawing import draw
from somaseg.masks import crops as mk
from somaseg.masks import pairs
from somaseg.masks.pairs import Pairs, box_pairs, greedy, mask_pairs, meeting_boxes, shared_pixels


def listed(found: Pairs) -> list[tuple[int, int, float]]:
    return list(zip(found.first.tolist(), found.second.tolist(), found.iou.tolist(), strict=True))


def cells(
    seed: int, count: int = 25, size: tuple[int, int] = (20, 150), grain: tuple[int, int] = (4, 15)
) -> tuple[list[mk.Mask], mk.Boxes]:
    """Random blobs, some of them empty, some over three words of 64 columns."""
    noise = np.random.default_rng(seed).uniform(size=(25, 4, 15))
    frames = ndimage.zoom(noise, (1, 5, 10), order=1) > np.linspace(0.6, 1, 25)[:, None, None]
    found = [mk.crop_from_mask(frame) for frame in frames]
    return [crop for _, crop in found], np.array([box for box, _ in found], np.int32)


def test_boxes_that_only_touch_do_not_meet_and_empty_ones_never_do():
    boxes = np.array([[0, 0, 4, 4], [4, 0, 8, 4], [3, 3, 5, 5], [2, 2, 2, 9], [0, 4, 4, 8], [np.nan, 0, 9, 9], [0, 0, np.inf, 9]])
    first, second = meeting_boxes(boxes)
    assert sorted(zip(first.tolist(), second.tolist(), strict=True)) == [(0, 2), (1, 2), (2, 4)]


@pytest.mark.parametrize("boxes", [[], [[1, 1, 5, 5]], [[0, 0, 0, 0], [0, 0, 0, 0]]])
def test_fewer_than_two_boxes_with_an_area_give_no_pair(boxes):
    first, second = meeting_boxes(np.array(boxes, np.int32).reshape(-1, 4))
    assert first.shape == second.shape == (0,)
    assert len(box_pairs(np.array(boxes).reshape(-1, 4), 0.0)) == 0


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0, 1), st.booleans())
def test_box_pairs_equal_the_whole_table(seed, above, whole):
    rng = np.random.default_rng(seed)
    corner = rng.uniform(-20, 60, (30, 2))
    boxes = np.concatenate([corner, corner + np.exp(rng.uniform(-1, 4, (30, 2)))], axis=1)
    boxes = np.round(boxes) if whole else boxes
    extent = np.maximum(np.minimum(boxes[:, None, 2:], boxes[:, 2:]) - np.maximum(boxes[:, None, :2], boxes[:, :2]), 0)
    shared = extent.prod(axis=2)
    area = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    with np.errstate(invalid="ignore"):
        table = shared / (area[:, None] + area - shared)
    assert listed(box_pairs(boxes, above)) == [(i, j, table[i, j]) for j in range(30) for i in range(j) if table[i, j] > above]


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0, 1))
def test_mask_pairs_equal_the_whole_table(seed, above):
    crops, boxes = cells(seed)
    table = mk.pairwise_iou(crops, boxes, crops, boxes, (20, 150))
    assert listed(mask_pairs(crops, boxes, above)) == [(i, j, table[i, j]) for j in range(25) for i in range(j) if table[i, j] > above]


def test_mask_pairs_count_masks_not_boxes():
    lower = np.tri(6, k=-1, dtype=bool)
    boxes = np.array([[60, 2, 66, 8]] * 2, np.int32)
    assert len(mask_pairs([lower, lower.T], boxes, 0.0)) == 0
    assert listed(mask_pairs([lower, lower], boxes, 0.99)) == [(0, 1, 1.0)]


def test_an_iou_equal_to_the_bound_is_not_above_it():
    crops, boxes = [np.ones((1, 4), bool)] * 2, np.array([[0, 0, 4, 1], [2, 0, 6, 1]], np.int32)  # IoU 2/6
    assert len(mask_pairs(crops, boxes, 1 / 3)) == 0
    assert len(mask_pairs(crops, boxes, 0.33)) == 1


def test_shared_pixels_over_a_seam_of_words_and_in_small_batches(monkeypatch):
    left, right = draw("###### .####. ..##.."), draw(".####. ######")
    crops, boxes = [left, right, np.ones((1, 200), bool)], np.array([[61, 0, 67, 3], [62, 1, 68, 3], [0, 1, 200, 2]], np.int32)
    first, second = np.array([0, 0, 1]), np.array([1, 2, 2])
    assert shared_pixels(crops, boxes, first, second).tolist() == [5, 4, 4]
    monkeypatch.setattr(pairs, "BATCH_ROWS", 1)
    assert shared_pixels(crops, boxes, first, second).tolist() == [5, 4, 4]


def test_greedy_lets_stay_what_loses_only_to_one_that_went():
    assert greedy(4, Pairs(np.array([0, 1]), np.array([1, 2]), np.ones(2))).tolist() == [0, 2, 3]
    assert greedy(0, Pairs(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))).tolist() == []
