import numpy as np
import pytest
from faster_coco_eval.core import mask as coco_mask
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from somaseg.annotations.kaggle import decode_annotations
from somaseg.annotations.write import kaggle_rles
from somaseg.errors import InputError
from somaseg.instances import Instances
from somaseg.masks import crops as mk
from somaseg.masks.rle import crops_from_runs, runs_from_texts, text_of_coco_rle

stacks = hnp.arrays(np.bool_, st.tuples(st.integers(1, 6), st.integers(1, 9), st.integers(1, 9)))


def same(instances: Instances, boxes: np.ndarray, masks: tuple[np.ndarray, ...]) -> None:
    np.testing.assert_array_equal(boxes, instances.boxes)
    assert boxes.dtype == np.int32
    for found, expected in zip(masks, instances.masks, strict=True):
        assert found.dtype == np.bool_
        np.testing.assert_array_equal(found, expected)


@given(stacks)
def test_coco_texts_of_another_encoder_decode_to_the_same_masks(stack: np.ndarray) -> None:
    size = stack.shape[1:]
    texts = [coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))["counts"] for mask in stack]
    starts, lengths, owner, reasons = runs_from_texts(texts, size[0] * size[1])
    assert not reasons
    same(Instances.from_masks(stack, ("cell",)), *crops_from_runs(starts, lengths, owner, len(stack), size, "F"))


@given(stacks)
def test_kaggle_texts_decode_to_the_same_masks(stack: np.ndarray) -> None:
    instances = Instances.from_masks(stack, ("cell",))
    texts = kaggle_rles(instances)
    (boxes, masks), findings = decode_annotations(texts, np.array([len(t.split()) for t in texts]), instances.size)
    assert not findings
    same(instances, boxes, masks)


@given(stacks, st.sampled_from(["C", "F"]))
def test_runs_in_both_orders(stack: np.ndarray, order: mk.Order) -> None:
    instances = Instances.from_masks(stack, ("cell",))
    runs = [mk.runs_from_crop(m, b, instances.size, order) for m, b in zip(instances.masks, instances.boxes, strict=True)]
    starts, lengths = (np.concatenate([r[i] for r in runs]) for i in (0, 1))
    owner = np.repeat(np.arange(len(runs)), [len(r[0]) for r in runs])
    same(instances, *crops_from_runs(starts, lengths, owner, len(runs), instances.size, order))


def test_touching_runs_and_counts_of_zero() -> None:
    texts = [bytes(coco_mask.frPyObjects({"size": [2, 3], "counts": counts}, 2, 3)["counts"]) for counts in ([1, 1, 0, 2, 2], [0, 6], [6])]
    starts, lengths, owner, reasons = runs_from_texts(texts, 6)
    assert (starts.tolist(), lengths.tolist(), owner.tolist(), reasons) == ([1, 2, 0], [1, 2, 6], [0, 0, 1], {})
    boxes, masks = crops_from_runs(starts, lengths, owner, 3, (2, 3), "F")
    assert boxes.tolist() == [[0, 0, 2, 2], [0, 0, 3, 2], [0, 0, 0, 0]]
    assert masks[0].tolist() == [[False, True], [True, True]]
    assert masks[2].shape == (0, 0)


@pytest.mark.parametrize(
    ("text", "reason"),
    [(b"", "cut off"), (b"0P", "cut off"), (b"0 1", "characters"), (b"1\xff", "characters"), (b"02", "sum to 6"), (b"O7", "sum to 6")],
)
def test_a_bad_text_is_reported_and_leaves_its_neighbours_alone(text: bytes, reason: str) -> None:
    good = coco_mask.encode(np.asfortranarray([[0, 1, 1], [0, 0, 1]], dtype=np.uint8))["counts"]
    starts, lengths, owner, reasons = runs_from_texts([good, text, good], 6)
    assert list(reasons) == [1]
    assert reason in reasons[1]
    assert owner.tolist() == [0, 0, 2, 2]
    assert (starts.tolist(), lengths.tolist()) == ([2, 4, 2, 4], [1, 2, 1, 2])


def test_no_text() -> None:
    starts, lengths, owner, reasons = runs_from_texts([], 6)
    boxes, masks = crops_from_runs(starts, lengths, owner, 0, (2, 3), "F")
    assert (boxes.shape, masks, reasons) == ((0, 4), (), {})


@given(st.lists(st.integers(1, 10**6), min_size=1, max_size=9))
def test_counts_of_any_length_and_difference(counts: list[int]) -> None:
    size = (sum(counts), 1)
    starts, lengths, _, reasons = runs_from_texts([text_of_coco_rle({"size": [*size], "counts": counts}, size)], size[0])
    ends = np.cumsum(counts)
    assert not reasons
    assert (lengths.tolist(), (starts + lengths).tolist()) == (counts[1::2], ends[1::2].tolist())


@pytest.mark.parametrize(
    ("rle", "message"),
    [
        ({"size": [3, 2], "counts": [6]}, r"size \[3, 2\] differs from \[2, 3\]"),
        ({"size": [2, 3], "counts": [5]}, "counts must be whole numbers from 0 that sum to 6"),
        ({"size": [2, 3], "counts": [7, -1]}, "counts must be whole numbers"),
        ({"size": [2, 3], "counts": None}, "counts must be whole numbers"),
        ({"size": [2, 3]}, "'counts' is missing"),
        ({"size": [2, 3], "counts": "0P"}, "counts of RLE 1: is cut off"),
    ],
)
def test_cells_of_a_bad_rle_are_refused(rle: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Instances.from_rle([{"size": [2, 3], "counts": [6]}, rle], (2, 3), ("cell",))
