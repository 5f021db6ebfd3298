"""Predicted and true cells compared: overlaps, one-to-one matches, counts."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from small_stacks import masks_of_small_image
from somaseg.errors import InputError
from somaseg.evaluation import matching
from somaseg.evaluation.matching import compare_cells, match_counts, partners
from somaseg.instances import Instances

SIZE = (40, 50)


def cells(*boxes: tuple[int, int, int, int], size: tuple[int, int] = SIZE) -> Instances:
    """Filled rectangles, half-open x0 y0 x1 y1."""
    return Instances.build(size, [(b, np.ones((b[3] - b[1], b[2] - b[0]), bool)) for b in boxes], ("cell",))


def dense_counts(pred: NDArray[np.bool_], truth: NDArray[np.bool_], threshold: float) -> tuple[int, int, int]:
    """The definition, written out: the best of all one-to-one assignments, by trying every one."""
    iou = np.zeros((len(pred), len(truth)))
    for i, j in itertools.product(range(len(pred)), range(len(truth))):
        union = int((pred[i] | truth[j]).sum())
        iou[i, j] = int((pred[i] & truth[j]).sum()) / union if union else 0.0
    if len(pred) > len(truth):
        iou = iou.T
    few, many = iou.shape
    tp = max(sum(iou[i, j] > threshold for i, j in enumerate(chosen)) for chosen in itertools.permutations(range(many), few))
    return int(tp), len(pred) - int(tp), len(truth) - int(tp)


@settings(max_examples=200, deadline=None)
@given(masks_of_small_image, masks_of_small_image)
def test_match_counts_equal_the_dense_definition(pred: NDArray[np.bool_], truth: NDArray[np.bool_]) -> None:
    thresholds = (0.0, 0.3, *matching.THRESHOLDS)
    found = matching.match_counts(Instances.from_masks(pred, ("cell",)), Instances.from_masks(truth, ("cell",)), thresholds)
    assert [tuple(map(int, column)) for column in zip(*found, strict=True)] == [dense_counts(pred, truth, t) for t in thresholds]


@pytest.mark.parametrize(("width", "matches"), [(10, 0), (11, 1)])
def test_iou_must_be_strictly_above_the_threshold(width: int, matches: int) -> None:
    """10 of 20 pixels is exactly .5 and no match; 11 of 20 is exactly .55: a match at .5, none at .55."""
    tp, _, _ = matching.match_counts(cells((0, 0, width, 1)), cells((0, 0, 20, 1)), (0.5, 0.55))
    assert tp.tolist() == [matches, 0]


def test_the_largest_matching_counts_where_greedy_by_iou_loses_a_pair() -> None:
    truth = cells((0, 0, 10, 1), (0, 0, 8, 1))
    pred = cells((0, 0, 9, 1), (0, 0, 14, 1))  # the first fits both (.9, .89), the second only the first truth (.71)
    tp, _, _ = matching.match_counts(pred, truth, (0.7,))
    assert tp.tolist() == [2]


def test_two_sizes_are_refused() -> None:
    with pytest.raises(InputError, match=r"\(10, 10\).*\(40, 50\)"):
        matching.compare_cells(cells(size=(10, 10)), cells())


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 30)), max_size=8), st.lists(st.integers(-4, 4), min_size=8, max_size=8))
def test_partners_are_one_to_one_above_the_threshold_and_as_many_as_are_counted(corners, shifts):
    truth = cells(*((x, y, x + 12, y + 10) for x, y in corners), size=(48, 64))
    pred = cells(*((x + 4 + s, y + 4, x + 16 + s, y + 14) for (x, y), s in zip(corners, shifts, strict=False)), size=(48, 64))
    for iou in (0.2, 0.5):
        found = partners(compare_cells(pred, truth), iou)
        hits = np.flatnonzero(found >= 0)
        assert len(hits) == match_counts(pred, truth, (iou,))[0][0]
        assert len(set(found[hits].tolist())) == len(hits)
        assert (pred.iou(truth)[hits, found[hits]] > iou).all()
