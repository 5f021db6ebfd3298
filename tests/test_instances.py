import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from drawing import draw
from somaseg.errors import InputError
from somaseg.instances import Instances, Prediction

CLASSES = ("shsy5y", "astro")
STACKS = arrays(bool, array_shapes(min_dims=3, max_dims=3, min_side=1, max_side=8))


@pytest.fixture
def three():
    dense = np.stack([draw("##.. ##.. ...."), draw(".##. .##. ...."), draw(".... .... ...#")])
    return Instances.from_masks(dense, CLASSES, labels=[0, 1, 1], scores=[0.25, 0.5, 1])


def same(one, other):
    for field in dataclasses.fields(Instances):
        left, right = getattr(one, field.name), getattr(other, field.name)
        if field.name == "masks":
            assert len(left) == len(right)
            for a, b in zip(left, right, strict=True):
                np.testing.assert_array_equal(a, b)
        else:
            np.testing.assert_array_equal(left, right)


def test_fields_of_drawn_cells(three):
    assert len(three) == 3
    assert three.size == (3, 4)
    assert three.boxes.tolist() == [[0, 0, 2, 2], [1, 0, 3, 2], [3, 2, 4, 3]]
    assert [field.dtype for field in (three.boxes, three.labels, three.scores)] == [np.int32, np.int64, np.float32]
    assert three.area.tolist() == [4, 4, 1]


def test_iou_with_itself_and_with_fewer(three):
    np.testing.assert_array_equal(three.iou(three), [[1, 2 / 6, 0], [2 / 6, 1, 0], [0, 0, 1]])
    np.testing.assert_array_equal(three.iou(three[2]), [[0], [0], [1]])


@pytest.mark.parametrize(
    ("index", "kept"),
    [
        (1, [1]),
        (-1, [2]),
        (slice(None, None, -1), [2, 1, 0]),
        ([2, 0], [2, 0]),
        ([True, False, True], [0, 2]),
        ([], []),
        (np.zeros(3, bool), []),
    ],
)
def test_indexing(three, index, kept):
    chosen = three[index]
    assert chosen.boxes.tolist() == three.boxes[kept].tolist()
    assert chosen.labels.tolist() == three.labels[kept].tolist()
    assert chosen.scores.tolist() == three.scores[kept].tolist()
    assert [m.tolist() for m in chosen.masks] == [three.masks[i].tolist() for i in kept]
    assert (chosen.size, chosen.classes) == (three.size, three.classes)


def test_cat_undoes_a_cut(three):
    same(Instances.cat([three[:1], three[1:], Instances.empty((3, 4), CLASSES)]), three)
    with pytest.raises(InputError, match="differ in size or classes"):
        Instances.cat([three, Instances.empty((3, 5), CLASSES)])


def test_no_cells():
    none = Instances.empty((3, 4), CLASSES)
    assert len(none) == 0
    assert none.area.shape == (0,)
    assert none.iou(none).shape == (0, 0)
    assert none.to_masks().shape == (0, 3, 4)
    labels, lost = none.to_label_image()
    assert (labels.shape, labels.any(), lost) == ((3, 4), False, 0)
    same(Instances.from_label_image(labels, CLASSES), none)
    same(Instances.from_rle(none.to_rle(), (3, 4), CLASSES), none)
    assert len(Instances.from_label_image(np.zeros((0, 0), np.uint8), CLASSES)) == 0


def test_label_image_reports_what_the_view_loses(three):
    labels, lost = three.to_label_image()
    assert labels.tolist() == [[1, 1, 2, 0], [1, 1, 2, 0], [0, 0, 0, 3]]
    assert lost == 2


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.uint32, np.int64])
def test_label_image_with_gaps_and_pieces(dtype):
    labels = np.array([[9, 0, 9, 4], [0, 0, 0, 4]], dtype)
    cells = Instances.from_label_image(labels, CLASSES, label=1)
    assert cells.boxes.tolist() == [[3, 0, 4, 2], [0, 0, 3, 1]]
    assert cells.masks[1].tolist() == [[True, False, True]]
    assert cells.labels.tolist() == [1, 1]
    assert cells.scores.tolist() == [1, 1]


def test_label_image_without_background():
    cells = Instances.from_label_image(np.array([[5, 5, 7]]), CLASSES)
    assert cells.boxes.tolist() == [[0, 0, 2, 1], [2, 0, 3, 1]]


def test_label_image_with_negative_values_is_refused():
    with pytest.raises(InputError, match="found the value -1"):
        Instances.from_label_image(np.array([[-1, 0, 3]]), CLASSES)


@given(STACKS, st.data())
def test_round_trips_are_exact_to_the_pixel(stack, data):
    labels = data.draw(arrays(np.int64, len(stack), elements=st.integers(0, 1)))
    scores = data.draw(arrays(np.float32, len(stack), elements=st.floats(0, 1, width=32)))
    cells = Instances.from_masks(stack, CLASSES, labels, scores)
    np.testing.assert_array_equal(cells.to_masks(), stack)
    same(Instances.from_rle(cells.to_rle(), cells.size, CLASSES, labels, scores), cells)
    same(Instances.from_polygons(cells.to_polygons(), cells.size, CLASSES, labels, scores), cells)


@given(STACKS)
def test_label_image_round_trip_where_no_cells_overlap(stack):
    apart = stack & (np.cumsum(stack, axis=0) == 1)
    cells = Instances.from_masks(apart[apart.any(axis=(1, 2))], CLASSES)
    labels, lost = cells.to_label_image()
    assert lost == 0
    same(Instances.from_label_image(labels, CLASSES), cells)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": [0]}, r"Instances\.labels has 1 entries, boxes has 2"),
        ({"scores": [0.5]}, r"Instances\.scores has 1 entries"),
        ({"masks": ()}, r"Instances\.masks has 0 entries"),
        ({"boxes": [[0, 0, 2, 2], [2, 2, 5, 3]]}, r"boxes\[1\] = \[2, 2, 5, 3\] is not inside an image of size \(3, 4\)"),
        ({"boxes": [[-1, 0, 1, 2], [3, 2, 4, 3]]}, r"boxes\[0\].*is not inside"),
        ({"boxes": [[0, 0, 2, 3], [3, 2, 4, 3]]}, r"masks\[0\] is bool \(2, 2\), its box is \[0, 0, 2, 3\]"),
        ({"masks": (np.ones((2, 2), np.uint8), np.ones((1, 1), bool))}, r"masks\[0\] is uint8"),
        ({"labels": [0, 2]}, "there are 2 classes"),
        ({"labels": [-1, 0]}, "labels run from -1 to 0"),
        ({"scores": [0.5, 1.5]}, r"scores\[1\] = 1\.5"),
        ({"scores": [np.nan, 0.5]}, r"scores\[0\] = nan"),
    ],
)
def test_fields_that_disagree_are_refused(three, change, message):
    with pytest.raises(InputError, match=message):
        dataclasses.replace(three[[0, 2]], **change)


def test_prediction_indexing_and_check():
    found = Prediction(
        size=(3, 4),
        boxes=np.array([[0, 0, 2, 2], [1, 0, 3, 2]], np.float32),
        scores=np.array([0.5, 0.75], np.float32),
        labels=np.array([0, 1]),
        mask_probs=np.zeros((2, 28, 28), np.float16),
        classes=CLASSES,
    )
    assert len(found) == 2
    best = found[found.scores > 0.6]
    assert best.boxes.tolist() == [[1, 0, 3, 2]]
    assert best.mask_probs.shape == (1, 28, 28)
    assert (best.size, best.classes) == (found.size, CLASSES)
    with pytest.raises(InputError, match="2 boxes, 1 scores"):
        dataclasses.replace(found, scores=found.scores[:1])
