import numpy as np
import pytest
from faster_coco_eval.core import mask as coco_mask
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from drawing import draw
from somaseg.instances import Instances
from somaseg.masks import crops as mk
from somaseg.masks.outlines import crop_from_outlines, outlines_from_crop

SIDES = array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=12)
MASKS = arrays(bool, SIDES)
STACKS = arrays(bool, array_shapes(min_dims=3, max_dims=3, min_side=1, max_side=8))

CELL = draw("""
    .....
    .##..
    .#.#.
    .....
""")


def crops(stack):
    pairs = [mk.crop_from_mask(mask) for mask in stack]
    return [crop for _, crop in pairs], np.array([box for box, _ in pairs], np.int32).reshape(-1, 4)


def dense_overlaps(left, right):
    return np.array([[np.count_nonzero(a & b) for b in right] for a in left], np.int64).reshape(len(left), len(right))


def coco_text(mask):
    return coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"].decode()


def test_a_crop_is_exactly_its_box():
    box, crop = mk.crop_from_mask(CELL)
    assert box == (1, 1, 4, 3)
    np.testing.assert_array_equal(crop, draw("##. #.#"))
    np.testing.assert_array_equal(mk.paste(crop, box, CELL.shape), CELL)


@pytest.mark.parametrize(("row", "column"), [(0, 0), (0, 4), (3, 0), (3, 4)])
def test_one_pixel_in_a_corner_survives_every_form(row, column):
    mask = np.zeros((4, 5), bool)
    mask[row, column] = True
    box, crop = mk.crop_from_mask(mask)
    assert box == (column, row, column + 1, row + 1)
    np.testing.assert_array_equal(mk.paste(crop, box, (4, 5)), mask)
    for order, pixel in (("C", row * 5 + column), ("F", column * 4 + row)):
        starts, lengths = mk.runs_from_crop(crop, box, (4, 5), order)
        assert (starts.tolist(), lengths.tolist()) == ([pixel], [1])
    assert crop_from_outlines(outlines_from_crop(crop, box), (4, 5))[0] == box


def test_an_empty_mask_survives_every_form():
    box, crop = mk.crop_from_mask(np.zeros((4, 5), bool))
    assert box == mk.EMPTY_BOX
    assert crop.shape == (0, 0)
    assert not mk.paste(crop, box, (4, 5)).any()
    rle = mk.coco_rle_from_crop(crop, box, (4, 5))
    assert rle == {"size": [4, 5], "counts": coco_text(np.zeros((4, 5), bool))}
    assert outlines_from_crop(crop, box) == []
    assert crop_from_outlines([], (4, 5))[0] == mk.EMPTY_BOX


@pytest.mark.parametrize(
    ("order", "starts", "lengths", "counts"),
    [("C", [6, 11, 13], [2, 1, 1], [6, 2, 3, 1, 1, 1, 6]), ("F", [5, 9, 14], [2, 1, 1], [5, 2, 2, 1, 4, 1, 5])],
)
def test_runs_and_counts_of_a_drawn_cell(order, starts, lengths, counts):
    box, crop = mk.crop_from_mask(CELL)
    runs = mk.runs_from_crop(crop, box, CELL.shape, order)
    assert (runs[0].tolist(), runs[1].tolist()) == (starts, lengths)
    assert mk.counts_from_runs(runs, CELL.size).tolist() == counts


def test_runs_join_where_a_cell_spans_the_border():
    full = np.ones((3, 4), bool)
    for order in ("C", "F"):
        starts, lengths = mk.runs_from_crop(full, (0, 0, 4, 3), (3, 4), order)
        assert (starts.tolist(), lengths.tolist()) == ([0], [12])


@given(MASKS, st.sampled_from(["C", "F"]))
def test_runs_agree_with_the_coco_library_in_both_orders(mask, order):
    box, crop = mk.crop_from_mask(mask)
    counts = mk.counts_from_runs(mk.runs_from_crop(crop, box, mask.shape, order), mask.size)
    # COCO's order is column-major; the row-major code of a mask is the column-major code of its transpose.
    coco = mask if order == "F" else mask.T
    assert coco_mask.frPyObjects({"size": list(coco.shape), "counts": counts.tolist()}, *coco.shape)["counts"].decode() == coco_text(coco)


@given(MASKS)
def test_compressed_rle_round_trip_agrees_with_the_coco_library(mask):
    box, crop = mk.crop_from_mask(mask)
    rle = mk.coco_rle_from_crop(crop, box, mask.shape)
    assert rle == {"size": list(mask.shape), "counts": coco_text(mask)}
    plain = mk.counts_from_runs(mk.runs_from_crop(crop, box, mask.shape, "F"), mask.size).tolist()
    back = Instances.from_rle(
        [{**rle, "counts": counts} for counts in (rle["counts"], rle["counts"].encode(), plain)], mask.shape, ("cell",)
    )
    assert back.boxes.tolist() == [list(box)] * 3
    for found in back.masks:
        np.testing.assert_array_equal(found, crop)


def test_label_image_gives_shared_pixels_to_the_first_and_counts_the_loss():
    stack = [draw("##.. ##.."), draw(".##. .##."), draw("##.. ##..")]
    labels, lost = mk.label_image(*crops(stack), (2, 4))
    assert labels.dtype == np.uint32
    assert labels.tolist() == [[1, 1, 2, 0], [1, 1, 2, 0]]
    assert lost == 2 + 4


@given(STACKS)
def test_label_image_loses_exactly_the_shared_pixels(stack):
    labels, lost = mk.label_image(*crops(stack), stack.shape[1:])
    np.testing.assert_array_equal(labels > 0, stack.any(axis=0))
    assert lost == np.count_nonzero(stack) - np.count_nonzero(labels)


def test_iou_of_drawn_cells():
    left = [draw("##.. ##.."), draw(".... ....")]
    right = [draw(".##. .##."), draw("##.. ##.."), draw("...# ...."), draw(".... ....")]
    iou = mk.pairwise_iou(*crops(left), *crops(right), (2, 4))
    np.testing.assert_array_equal(iou, [[2 / 6, 1, 0, 0], [0, 0, 0, 0]])
    assert mk.pairwise_iou(*crops([]), *crops(right), (2, 4)).shape == (0, 4)
    assert mk.pairwise_iou(*crops(right), *crops([]), (2, 4)).shape == (4, 0)


@given(STACKS, st.data())
def test_iou_agrees_with_dense_masks(stack, data):
    other = data.draw(arrays(bool, (data.draw(st.integers(0, 4)), *stack.shape[1:])))
    size = stack.shape[1:]
    shared = dense_overlaps(stack, other)
    union = np.array([[np.count_nonzero(a | b) for b in other] for a in stack]).reshape(shared.shape)
    np.testing.assert_array_equal(mk.pairwise_iou(*crops(stack), *crops(other), size), shared / np.maximum(union, 1))


def test_iou_of_a_thousand_cells():
    # 1,000 squares of 8 x 8 on a grid of step 6: each shares 2 x 8 pixels with a neighbour beside or below, 2 x 2 with a diagonal one.
    y, x = (6 * axis.ravel() for axis in np.mgrid[:25, :40])
    boxes = np.stack([x, y, x + 8, y + 8], axis=1).astype(np.int32)
    squares = [np.ones((8, 8), bool)] * 1000
    iou = mk.pairwise_iou(squares, boxes, squares, boxes, (152, 242))
    assert iou.shape == (1000, 1000)
    steps = np.maximum(np.abs(x[:, None] - x), np.abs(y[:, None] - y)) // 6
    straight = (x[:, None] == x) | (y[:, None] == y)
    expected = np.where(steps == 0, 1.0, np.where(steps > 1, 0.0, np.where(straight, 16 / 112, 4 / 124)))
    np.testing.assert_array_equal(iou, expected)
