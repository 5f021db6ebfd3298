import math
import subprocess
import sys

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torchvision import ops

from somaseg.models import boxes as bx

ONES = (1.0, 1.0, 1.0, 1.0)
PLACE, SIDE = st.floats(-200, 200, width=32), st.floats(0.5, 300, width=32)
BOX = st.tuples(PLACE, PLACE, SIDE, SIDE).map(lambda b: [b[0], b[1], b[0] + b[2], b[1] + b[3]])


def test_deltas_of_a_drawn_pair():
    # The centre moves by half a width and half a height; the width stays, the height doubles.
    box, goal = torch.tensor([[0.0, 0, 10, 20]]), torch.tensor([[5.0, 0, 15, 40]])
    torch.testing.assert_close(bx.encode(box, goal, ONES), torch.tensor([[0.5, 0.5, 0, math.log(2)]]))
    torch.testing.assert_close(bx.encode(box, goal, (10.0, 20.0, 5.0, 2.0)), torch.tensor([[5, 10, 0, 2 * math.log(2)]]))


# Boxes, goals, and the deltas between them at unit weights.
CODES = {
    "no cell": ([], [], []),
    "a cell of one pixel": (
        [(12, 12, 28, 28), (20, 20, 21, 21)],
        [(20, 20, 21, 21), (12, 12, 28, 28)],
        [(1 / 32, 1 / 32, -math.log(16), -math.log(16)), (-0.5, -0.5, math.log(16), math.log(16))],
    ),
    "the same cell twice": ([(3, 4, 13, 24)] * 2, [(3, 4, 13, 24)] * 2, [(0, 0, 0, 0)] * 2),
    "a cell as large as its crop of 64": (
        [(24, 24, 40, 40), (-16, 0, 16, 32)],
        [(0, 0, 64, 64)] * 2,
        [(0, 0, math.log(4), math.log(4)), (1, 0.5, math.log(2), math.log(2))],
    ),
    "a thousand cells": (
        [(i, 0, i + 10, 8) for i in range(1000)],
        [(i + 5 - (i % 19), 6, i + 7 + (i % 19), 10) for i in range(1000)],
        [(0.1, 0.5, math.log((2 + 2 * (i % 19)) / 10), -math.log(2)) for i in range(1000)],
    ),
    "a crowd of overlaps": (
        [(i, 0, i + 20, 10) for i in range(10)],
        [(0, 0, 20, 10)] * 10,
        [(-i / 20, 0, 0, 0) for i in range(10)],
    ),
}


@pytest.mark.parametrize("weights", [ONES, (30.0, 30.0, 15.0, 15.0)])
@pytest.mark.parametrize(("boxes", "goals", "deltas"), CODES.values(), ids=CODES.keys())
def test_deltas_of_drawn_boxes(boxes, goals, deltas, weights):
    boxes, goals, deltas = (torch.tensor(part, dtype=torch.float32).view(-1, 4) for part in (boxes, goals, deltas))
    weighted = deltas * torch.tensor(weights)
    torch.testing.assert_close(bx.encode(boxes, goals, weights), weighted)
    torch.testing.assert_close(bx.decode(boxes, weighted, weights), goals, atol=1e-3, rtol=1e-5)


@given(st.lists(st.tuples(BOX, BOX), min_size=1, max_size=5), st.sampled_from([ONES, (10.0, 10.0, 5.0, 5.0), (30.0, 30.0, 15.0, 15.0)]))
def test_decode_undoes_encode(pairs, weights):
    boxes, goals = (torch.tensor(part) for part in zip(*pairs, strict=True))
    growth = (goals[:, 2:] - goals[:, :2]) / (boxes[:, 2:] - boxes[:, :2])
    assume(growth.max() < 60)
    torch.testing.assert_close(bx.decode(boxes, bx.encode(boxes, goals, weights), weights), goals, atol=2e-3, rtol=1e-4)


def test_growth_is_limited():
    grown = bx.decode(torch.tensor([[0.0, 0, 16, 16]]), torch.tensor([[0.0, 0, 100, math.inf]]), ONES)
    torch.testing.assert_close(grown, torch.tensor([[-492.0, -492, 508, 508]]))


def test_half_precision_deltas_are_decoded_in_float32():
    deltas = torch.zeros(1, 4, dtype=torch.bfloat16)
    box = torch.tensor([[1001.0, 1003, 1017, 1021]])
    torch.testing.assert_close(bx.decode(box, deltas, ONES), box, atol=0, rtol=0)


def test_clip_and_nonempty():
    boxes = torch.tensor([[-5.0, -5, 3, 4], [10, 10, 30, 40], [25, 1, 30, 2], [2, 3, 2, 9]])
    clipped = bx.clip(boxes, (16, 20))
    assert clipped.tolist() == [[0, 0, 3, 4], [10, 10, 20, 16], [20, 1, 20, 2], [2, 3, 2, 9]]
    assert bx.nonempty(clipped).tolist() == [True, True, False, False]


def test_iou_of_drawn_boxes():
    box = torch.tensor([[0.0, 0, 2, 2]])
    others = torch.tensor([[0.0, 0, 2, 2], [1, 1, 3, 3], [0, 0, 2, 1], [2, 0, 4, 2], [5, 5, 6, 6], [1, 1, 1, 1], [-1, -1, 3, 3]])
    torch.testing.assert_close(bx.iou(box, others), torch.tensor([[1, 1 / 7, 1 / 2, 0, 0, 0, 1 / 4]]))
    empty = torch.tensor([[1.0, 1, 1, 1]])
    assert bx.iou(empty, empty).tolist() == [[0]]
    assert bx.iou(box[:0], others).shape == (0, 7)
    assert bx.iou(box, others[:0]).shape == (1, 0)


def test_match_takes_the_best_cell_of_every_box():
    overlap = torch.tensor([[0.8, 0.1, 0.4, 0.7, 0.29], [0.2, 0.2, 0.5, 0.3, 0.0]])
    cell, kind = bx.match(overlap, positive=0.7, negative=0.3, keep_best=False)
    assert cell.tolist() == [0, 1, 1, 0, 0]
    assert kind.tolist() == [1, 0, -1, 1, 0]  # both bounds belong to the upper side


def test_the_best_boxes_of_a_cell_are_kept_also_when_they_tie():
    overlap = torch.tensor([[0.8, 0.1, 0.0, 0.0], [0.1, 0.2, 0.2, 0.1], [0.0, 0.0, 0.0, 0.0]])
    _, without = bx.match(overlap, 0.7, 0.3, keep_best=False)
    cell, kind = bx.match(overlap, 0.7, 0.3, keep_best=True)
    assert without.tolist() == [1, 0, 0, 0]
    assert kind.tolist() == [1, 1, 1, 0]  # the third cell meets no box, so no box is its best
    assert cell[:3].tolist() == [0, 1, 1]


GRID = [(10.0 * x, 10.0 * y, 10.0 * x + 8, 10.0 * y + 8) for y in range(25) for x in range(40)]


def moved(box, by):
    return (box[0] + by, box[1], box[2] + by, box[3])


# Cells, boxes, the cell of each box, what each box is, and what it is when the best boxes of a cell are kept. From .7 on a box is a
# cell, below .3 background. Two boxes of width w, moved by d along it, overlap by (w - d) / (w + d).
MATCHES = {
    "a cell of one pixel": (
        [(20, 20, 21, 21)],
        [(16, 16, 24, 24), (20, 20, 22, 21), (20, 20, 21, 21), (21, 20, 22, 21)],  # 1 / 64, 1 / 2, 1, 0
        [0, 0, 0, 0],
        [0, -1, 1, 0],
        [0, -1, 1, 0],
    ),
    "one pixel that only large boxes hold": ([(20, 20, 21, 21)], [(16, 16, 24, 24), (14, 18, 22, 26)], [0, 0], [0, 0], [1, 1]),
    "the same cell twice": (
        [(0, 0, 20, 10)] * 2,
        [(0, 0, 20, 10), (0, 0, 15, 10), (0, 0, 5, 10)],  # 1, 3 / 4, 1 / 4
        [0, 0, 0],
        [1, 1, 0],
        [1, 1, 0],
    ),
    "a cell as large as its crop of 64, one of 4 in it": (
        [(0, 0, 64, 64), (30, 30, 34, 34)],
        [(0, 0, 64, 64), (0, 0, 64, 48), (0, 0, 32, 32), (-64, -64, 128, 128), (28, 28, 36, 36)],  # 1, 3 / 4, 1 / 4, 1 / 9, 1 / 4
        [0, 0, 0, 0, 1],
        [1, 1, 0, 0, 0],
        [1, 1, 0, 0, 1],
    ),
    "a thousand cells": (
        GRID,
        [moved(box, (0, 1, 2, 4.5)[i % 4]) for i, box in reversed(list(enumerate(GRID)))],  # 1, 7 / 9, 3 / 5, 7 / 25
        list(range(1000))[::-1],
        [0, -1, 1, 1] * 250,
        [1] * 1000,
    ),
    "a crowd of overlaps": (
        [(i, 0, i + 20, 10) for i in range(10)],
        [moved((0, 0, 20, 10), by) for by in (3, 3.5, 12, 17, 25)],  # 1, 39 / 41 twice, 17 / 23, 12 / 28, 4 / 36
        [3, 3, 9, 9, 9],
        [1, 1, 1, -1, 0],
        [1, 1, 1, -1, 0],
    ),
}


@pytest.mark.parametrize(("cells", "boxes", "expected", "kinds", "kinds_with_best"), MATCHES.values(), ids=MATCHES.keys())
def test_match_of_drawn_boxes(cells, boxes, expected, kinds, kinds_with_best):
    overlap = bx.iou(torch.tensor(cells, dtype=torch.float32), torch.tensor(boxes, dtype=torch.float32))
    for keep_best, whats in ((False, kinds), (True, kinds_with_best)):
        cell, kind = bx.match(overlap, 0.7, 0.3, keep_best)
        assert cell.tolist() == expected
        assert kind.tolist() == whats


@pytest.mark.parametrize("keep_best", [False, True])
def test_match_without_cells_or_boxes(keep_best):
    cell, kind = bx.match(torch.zeros(0, 3), 0.7, 0.3, keep_best)
    assert cell.tolist() == kind.tolist() == [0, 0, 0]
    cell, kind = bx.match(torch.zeros(0, 0), 0.7, 0.3, keep_best)
    assert len(cell) == len(kind) == 0


# Ignored regions, and the kinds of a square of 12 x 12 at (20, 20), of its left half, and of the whole crop of 64, all background.
IGNORED = {
    "none": ([], [0, 0, 0]),
    "the square": ([(20, 20, 32, 32)], [-1, -1, 0]),
    "half of the square": ([(20, 20, 32, 26)], [-1, -1, 0]),
    "almost half of the square": ([(20, 20, 32, 25.9)], [0, 0, 0]),
    "a third of the square": ([(20, 20, 24, 32)], [0, -1, 0]),
    "two thirds of the square in two regions": ([(20, 20, 24, 32), (28, 0, 40, 40)], [0, -1, 0]),
    "a third, and all of it": ([(20, 20, 24, 32), (10, 10, 40, 40)], [-1, -1, 0]),
    "beside the square": ([(0, 0, 20, 64), (32, 0, 43, 64)], [0, 0, 0]),
    "half of the crop": ([(32, 0, 64, 64)], [0, 0, -1]),
    "more than the crop": ([(-9, -9, 99, 99)], [-1, -1, -1]),
}


@pytest.mark.parametrize(("regions", "expected"), IGNORED.values(), ids=IGNORED.keys())
def test_background_in_ignored_regions_is_nothing(regions, expected):
    boxes = torch.tensor([(20.0, 20, 32, 32), (20, 20, 26, 32), (0, 0, 64, 64)])
    ignored = torch.tensor(regions, dtype=torch.float32).view(-1, 4)
    assert bx.without_ignored(torch.zeros(3, dtype=torch.int64), boxes, ignored).tolist() == expected
    for kind in (1, -1):  # cells stay cells
        assert bx.without_ignored(torch.full((3,), kind), boxes, ignored).tolist() == [kind] * 3


@pytest.mark.parametrize(
    ("cells", "background", "expected"),
    [
        (10, 30, (4, 12)),
        (2, 30, (2, 14)),
        (10, 3, (4, 3)),
        (0, 30, (0, 16)),
        (10, 0, (4, 0)),
        (0, 0, (0, 0)),
        (1000, 1000, (4, 12)),
    ],
)
def test_sample_counts(cells, background, expected):
    kind = torch.tensor([1] * cells + [0] * background + [-1] * 5)
    positive, negative = bx.sample(kind, 16, 0.25, torch.Generator().manual_seed(0))
    assert (len(positive), len(negative)) == expected
    assert (kind[positive] == 1).all()
    assert (kind[negative] == 0).all()
    assert len(set(positive.tolist() + negative.tolist())) == sum(expected)


def test_sample_follows_its_generator():
    kind = torch.tensor([1] * 50 + [0] * 50)
    first, again, other = (bx.sample(kind, 16, 0.5, torch.Generator().manual_seed(s))[0].tolist() for s in (1, 1, 2))
    assert first == again
    assert first != other


def test_bfloat16_rounds_a_cut_cell_to_nothing_so_boxes_stay_float32():
    cell, box = torch.tensor([[300.2, 50.0, 300.9, 60.0]]), torch.tensor([[299.2, 49.0, 301.9, 61.0]])
    assert torch.isfinite(bx.encode(box, cell, (1.0, 1.0, 1.0, 1.0))).all()
    assert torch.isinf(bx.encode(box.bfloat16(), cell.bfloat16(), (1.0, 1.0, 1.0, 1.0))).any()
    assert bx.decode(box, torch.zeros(1, 4, dtype=torch.bfloat16), (1.0, 1.0, 1.0, 1.0)).dtype == torch.float32


@given(st.lists(st.tuples(BOX, BOX), max_size=9))
def test_paired_iou_is_the_diagonal_of_all_pairs(pairs):
    left, right = (torch.tensor([pair[i] for pair in pairs]).reshape(-1, 4) for i in (0, 1))
    torch.testing.assert_close(bx.paired_iou(left, right), bx.iou(left, right).diagonal(), atol=1e-5, rtol=1e-4)


def test_paired_iou_of_drawn_boxes():
    left = torch.tensor([[0.0, 0, 4, 4], [0, 0, 4, 4], [0, 0, 4, 4], [1, 1, 1, 1]])
    right = torch.tensor([[0.0, 0, 4, 4], [2, 0, 6, 4], [4, 4, 8, 8], [1, 1, 1, 1]])
    torch.testing.assert_close(bx.paired_iou(left, right), torch.tensor([1, 1 / 3, 0, 0]))


def crowd(count):
    random = torch.Generator().manual_seed(count)
    corner, side = torch.rand(count, 2, generator=random) * 60, torch.rand(count, 2, generator=random) * 30 + 1
    return torch.cat([corner, corner + side], dim=1), torch.rand(count, generator=random), torch.randint(0, 3, (count,), generator=random)


@pytest.mark.parametrize("count", [0, 1, 40, 1200])
def test_nms_keeps_what_torchvision_keeps(count):
    boxes, scores, groups = crowd(count)
    assert torch.equal(bx.nms(boxes, scores, 0.4), ops.nms(boxes, scores, 0.4))
    assert torch.equal(bx.batched_nms(boxes, scores, groups, 0.4), ops.batched_nms(boxes, scores, groups, 0.4))


COLD = """
import sys, torch
from somaseg.models import boxes as bx
boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 9], [20, 0, 30, 10]])
assert bx.nms(boxes, torch.tensor([0.5, 0.9, 0.8]), 0.5).tolist() == [1, 2]
heavy = {"torchvision", "torch._dynamo", "timm"} & set(sys.modules)
assert not heavy, heavy
"""


def test_nms_imports_neither_torchvision_nor_the_compiler():
    done = subprocess.run([sys.executable, "-c", COLD], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
