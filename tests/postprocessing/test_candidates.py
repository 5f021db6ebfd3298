import numpy as np
import pytest

from drawing import draw
from somaseg.errors import InputError
from somaseg.instances import Instances, Prediction
from somaseg.postprocessing.candidates import Candidates


def cells() -> Instances:
    return Instances.from_masks(np.array([draw("##.. ...."), draw("..## ..#."), draw(".... .#..")]), ("a", "b"), [0, 1, 0], [0.5, 0.9, 0.5])


def test_instances_come_back_in_falling_order_of_score_with_equal_ones_in_theirs():
    back = Candidates.from_instances(cells()).to_instances()
    expected = cells()[[1, 0, 2]]
    assert back.boxes.tolist() == expected.boxes.tolist()
    assert back.labels.tolist() == [1, 0, 0]
    assert (back.to_masks() == expected.to_masks()).all()


def test_empty_masks_are_left_out():
    frames = np.array([draw("...."), draw(".#..")])
    assert Candidates.from_instances(Instances.from_masks(frames, ("a",), scores=[0.9, 0.3])).scores.tolist() == pytest.approx([0.3])


def test_raw_detections_are_sorted_and_have_no_masks_yet():
    boxes = np.array([[0, 0, 1, 1], [1, 1, 2, 2]], np.float32)
    found = Prediction((4, 4), boxes, np.array([0.2, 0.7], np.float32), np.array([1, 0]), np.ones((2, 2, 2), np.float16), ("a", "b"))
    candidates = Candidates.from_prediction(found)
    assert candidates.boxes.tolist() == boxes[::-1].tolist()
    assert candidates.labels.tolist() == [0, 1]
    with pytest.raises(InputError, match="put the step `paste` before"):
        candidates.to_instances()


def test_with_crops_makes_boxes_tight_and_lets_empty_ones_go():
    candidates = Candidates.from_instances(cells())  # order: "..## ..#.", "##.. ....", ".... .#.."
    crops = candidates.pasted.crops
    left = candidates.with_crops([draw(".. #."), np.zeros((1, 2), bool), crops[2]])
    assert left.pasted.boxes.tolist() == [[2, 1, 3, 2], [1, 1, 2, 2]]
    assert left.scores.tolist() == pytest.approx([0.9, 0.5])
    assert left.pasted.crops[1] is crops[2]
