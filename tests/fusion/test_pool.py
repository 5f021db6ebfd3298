import numpy as np
import pytest

from somaseg.errors import InputError
from somaseg.fusion.pool import pool
from somaseg.instances import Instances, Prediction
from somaseg.postprocessing.candidates import Candidates


def raw(scores: list[float]) -> Candidates:
    n = len(scores)
    boxes = np.array([[i, 0, i + 5, 5] for i in range(n)], np.float32).reshape(n, 4)
    grids = np.ones((n, 4, 4), np.float16)
    return Candidates.from_prediction(Prediction((20, 20), boxes, np.array(scores, np.float32), np.zeros(n, np.int64), grids, ("a", "b")))


def drawn(*scores: float) -> Candidates:
    cells = [((i, 0, i + 2, 1), np.ones((1, 2), bool)) for i in range(len(scores))]
    return Candidates.from_instances(Instances.build((20, 20), cells, ("a", "b"), None, scores))


def test_falling_score_then_model_then_place():
    together = pool([raw([0.5, 0.9, 0.5]), raw([]), raw([0.5, 0.9])])
    assert together.members == 3
    assert together.member.tolist() == [0, 2, 0, 0, 2]
    assert together.cells.scores.tolist() == pytest.approx([0.9, 0.9, 0.5, 0.5, 0.5])
    assert together.cells.boxes[:, 0].tolist() == [1, 1, 0, 2, 0]


def test_pixels_and_probabilities_stay_with_their_cells_where_all_models_have_them():
    together = pool([drawn(0.3, 0.6), drawn(0.5)])
    assert together.cells.mask_probs is None
    assert together.cells.pasted.boxes[:, 0].tolist() == [1, 0, 0]
    assert together.cells.pasted.quality.tolist() == [1, 1, 1]
    mixed = pool([raw([0.3]), drawn(0.5)])
    assert mixed.cells.mask_probs is None
    assert mixed.cells.pixels is None
    assert pool([raw([0.3]), raw([0.5])]).cells.mask_probs is not None


def test_models_of_other_images_or_classes_are_refused():
    with pytest.raises(InputError, match="expected those of at least one"):
        pool([])
    other = Candidates.from_instances(Instances.empty((20, 20), ("b", "a")))
    with pytest.raises(InputError, match=r"classes of model 2 is \('b', 'a'\), of model 1 \('a', 'b'\)"):
        pool([raw([0.3]), other])
