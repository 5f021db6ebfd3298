"""Cascade IoU screening on cells drawn as bars in one row: `bar(a, b)` covers columns a to b - 1."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from somaseg.fusion.cascade_screening import cascade_screening, supporters
from somaseg.fusion.pool import pool
from somaseg.instances import Instances
from somaseg.masks.pairs import mask_pairs
from somaseg.postprocessing.candidates import Candidates

Bar = tuple[int, int, float] | tuple[int, int, float, int]


def bars(*cells: Bar) -> Candidates:
    """A model's cells: first column, last column + 1, score, and label (0 unless given)."""
    crops = [((c[0], 0, c[1], 1), np.ones((1, c[1] - c[0]), bool)) for c in cells]
    labels = [c[3] if len(c) == 4 else 0 for c in cells]
    return Candidates.from_instances(Instances.build((1, 100), crops, ("a", "b"), labels, [c[2] for c in cells]))


def screened(*members: Candidates, support: float = 0.1, nms: float = 0.3) -> list[tuple[int, int, float]]:
    cells = cascade_screening(pool(members), support, nms).to_instances()
    return [(x0, x1, round(score, 3)) for (x0, _, x1, _), score in zip(cells.boxes.tolist(), cells.scores.tolist(), strict=True)]


def test_step_by_step():
    first = bars((0, 10, 0.9), (20, 30, 0.5), (40, 50, 0.6))
    second = bars(
        (1, 11, 0.8),  # IoU 9/11 with the first base cell: taken, and suppressed by it
        (21, 31, 0.7),  # IoU 9/11 with the second: taken, and suppresses it
        (45, 55, 0.3),  # IoU 5/15 with the third: taken, and suppressed
        (70, 80, 0.99),  # supports nothing: dropped, in spite of its score
    )
    together = pool([first, second])
    scores = together.cells.scores.round(2).tolist()
    assert scores == pytest.approx([0.99, 0.9, 0.8, 0.7, 0.6, 0.5, 0.3])
    pixels = together.cells.pasted
    pairs = mask_pairs(pixels.crops, pixels.boxes, 0.1)
    assert list(zip(pairs.first.tolist(), pairs.second.tolist(), strict=True)) == [(1, 2), (3, 5), (4, 6)]
    taken = supporters(together.member == 0, together.member == 1, pairs)
    assert taken.tolist() == [False, False, True, True, False, False, True]
    assert screened(first, second) == [(0, 10, 0.9), (21, 31, 0.7), (40, 50, 0.6)]


def test_a_supporter_that_overlaps_little_joins_the_base_and_can_be_supported_in_turn():
    # 10 px of 20 + 16 - 4: IoU .125 supports, and is below the .3 of the NMS: both stay. The third model's cell supports the new one alone.
    first, second, third = bars((0, 20, 0.9)), bars((16, 32, 0.5)), bars((30, 46, 0.6))
    assert screened(first, second) == [(0, 20, 0.9), (16, 32, 0.5)]
    assert screened(first, third) == [(0, 20, 0.9)]
    assert screened(first, second, bars((27, 43, 0.6))) == [(0, 20, 0.9), (27, 43, 0.6), (16, 32, 0.5)]


def test_a_base_cell_takes_one_cell_only_and_two_may_take_the_same():
    base = bars((0, 20, 0.9))
    halves = bars((0, 9, 0.8), (9, 20, 0.7))  # IoU 9/20 and 11/20
    assert screened(base, halves, nms=0.5) == [(0, 20, 0.9)]
    assert screened(base, halves, nms=0.6) == [(0, 20, 0.9), (9, 20, 0.7)]
    assert screened(halves, bars((0, 20, 0.95))) == [(0, 20, 0.95)]


def test_support_is_strict():
    first, second = bars((0, 10, 0.9)), bars((9, 10, 0.8))  # IoU 1/10
    assert screened(first, second, support=0.1) == [(0, 10, 0.9)]
    assert screened(first, second, support=0.09) == [(0, 10, 0.9), (9, 10, 0.8)]


def test_the_order_of_models_matters():
    first, second = bars((0, 10, 0.9)), bars((0, 10, 0.8), (30, 40, 0.7))
    assert screened(first, second) == [(0, 10, 0.9)]
    assert screened(second, first) == [(0, 10, 0.9), (30, 40, 0.7)]


def test_equal_scores_and_overlaps_go_to_the_earlier_model_then_to_the_earlier_cell():
    same = bars((0, 10, 0.5), (20, 30, 0.5))
    shifted = bars((21, 31, 0.5), (1, 11, 0.5))
    assert screened(same, shifted) == [(0, 10, 0.5), (20, 30, 0.5)]
    assert screened(shifted, same) == [(21, 31, 0.5), (1, 11, 0.5)]
    # Both halves overlap the base cell equally: the first one in the list is taken.
    base = bars((5, 15, 0.5))
    assert screened(base, bars((10, 15, 0.4), (5, 10, 0.4)), nms=0.5) == [(5, 15, 0.5), (10, 15, 0.4)]
    assert screened(base, bars((5, 10, 0.4), (10, 15, 0.4)), nms=0.5) == [(5, 15, 0.5), (5, 10, 0.4)]


def test_cells_of_two_classes_live_side_by_side_until_the_last_nms():
    first, second = bars((0, 10, 0.5, 0)), bars((0, 9, 0.9, 1))
    assert screened(first, second) == [(0, 9, 0.9)]
    # The third model's cell overlaps the first's alone, which the second's has not suppressed by then: it is of another class.
    third = bars((9, 15, 0.3, 0))
    assert screened(first, second, third, support=0.05) == [(0, 9, 0.9), (9, 15, 0.3)]


def test_no_model_finds_anything_and_one_model():
    assert screened(bars()) == screened(bars(), bars()) == []
    assert screened(bars(), bars((0, 5, 0.9))) == []
    assert screened(bars((0, 10, 0.4), (1, 11, 0.9), (50, 60, 0.1))) == [(1, 11, 0.9), (50, 60, 0.1)]


Model = tuple[NDArray[np.bool_], NDArray[np.float64], NDArray[np.int64]]  # full frames, scores, labels


def reference(members: list[Model], support: float, nms: float) -> list[tuple[int, int]]:
    """The method's words, cell by cell on full frames; (model, cell) of what stays, in falling order of score."""
    cells = [(m, i) for m, (masks, _, _) in enumerate(members) for i in range(len(masks))]

    def iou(one, other):
        a, b = members[one[0]][0][one[1]], members[other[0]][0][other[1]]
        return (a & b).sum() / (a | b).sum()

    def ranked(some):
        return sorted(some, key=lambda c: (-members[c[0]][1][c[1]], c))

    def suppressed(some, by_class):
        kept = []
        for cell in ranked(some):
            label = members[cell[0]][2][cell[1]]
            rivals = [k for k in kept if not by_class or members[k[0]][2][k[1]] == label]
            if all(iou(k, cell) <= nms for k in rivals):
                kept.append(cell)
        return kept

    base = [c for c in cells if c[0] == 0]
    for number in range(1, len(members)):
        others = ranked(c for c in cells if c[0] == number)
        taken = set()
        for cell in base:
            best = max(others, key=lambda other: iou(cell, other), default=None)
            if best is not None and iou(cell, best) > support:
                taken.add(best)
        base = suppressed([*base, *taken], by_class=True)
    return suppressed(base, by_class=False)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 6))
def test_equals_the_method_cell_by_cell(seed, count):
    rng = np.random.default_rng(seed)
    members, candidates = [], []
    for _ in range(count):
        n = int(rng.integers(0, 7))
        masks = np.zeros((n, 8, 12), bool)
        for mask in masks:
            y, x = rng.integers(0, 6), rng.integers(0, 9)
            mask[y : y + rng.integers(2, 6), x : x + rng.integers(2, 6)] = True
        scores, labels = rng.integers(1, 6, n) / 8, rng.integers(0, 2, n)
        members.append((masks, scores, labels))
        candidates.append(Candidates.from_instances(Instances.from_masks(masks, ("a", "b"), labels, scores)))
    fused = cascade_screening(pool(candidates), 0.1, 0.3).to_instances().to_masks()
    expected = reference(members, 0.1, 0.3)
    assert len(fused) == len(expected)
    assert all((mask == members[m][0][i]).all() for mask, (m, i) in zip(fused, expected, strict=True))
