"""`map_iou`: exact hand-made cases, and the definition written out densely."""

import numpy as np
import pytest

from somaseg.config import EvaluationSettings
from somaseg.errors import InputError
from somaseg.evaluation import map_iou as metrics
from somaseg.evaluation import matching
from somaseg.instances import Instances

SIZE = (40, 50)


def cells(*boxes: tuple[int, int, int, int], size: tuple[int, int] = SIZE) -> Instances:
    """Filled rectangles, half-open x0 y0 x1 y1."""
    return Instances.build(size, [(b, np.ones((b[3] - b[1], b[2] - b[0]), bool)) for b in boxes], ("cell",))


def test_nothing_and_nothing_is_one() -> None:
    assert metrics.image_map_iou(cells(), cells()) == 1.0


def test_one_of_the_two_empty_is_zero() -> None:
    assert metrics.image_map_iou(cells(), cells((0, 0, 5, 5))) == 0.0
    assert metrics.image_map_iou(cells((0, 0, 5, 5)), cells()) == 0.0


def test_same_cells_are_one_even_at_full_overlap() -> None:
    truth = cells((0, 0, 5, 5), (0, 0, 5, 5), (10, 10, 20, 30))
    assert metrics.image_map_iou(truth[[2, 1, 0]], truth) == 1.0


def test_a_duplicate_is_a_false_positive() -> None:
    truth = cells((0, 0, 5, 5))
    tp, fp, fn = matching.match_counts(truth[[0, 0]], truth)
    assert (tp.tolist(), fp.tolist(), fn.tolist()) == ([1] * 10, [1] * 10, [0] * 10)
    assert metrics.image_map_iou(truth[[0, 0]], truth) == 0.5


def test_empty_masks_count_as_wrong() -> None:
    none = Instances.from_masks(np.zeros((1, *SIZE), bool), ("cell",))
    tp, fp, fn = matching.match_counts(none, none, (0.5,))
    assert (tp.tolist(), fp.tolist(), fn.tolist()) == ([0], [1], [1])


def test_a_thousand_cells() -> None:
    grid = [(x, y, x + 6, y + 6) for x in range(0, 400, 10) for y in range(0, 250, 10)]
    truth = cells(*grid, size=(260, 410))
    pred = cells(*((x + 1, y, x1 + 1, y1) for x, y, x1, y1 in grid[:900]), size=(260, 410))  # IoU 30 / 42
    tp, fp, fn = matching.match_counts(pred, truth, (0.7, 0.75))
    assert (tp.tolist(), fp.tolist(), fn.tolist()) == ([900, 0], [0, 900], [100, 1000])


def test_map_iou_by_class_threshold_and_weight() -> None:
    truth = cells((0, 0, 20, 1))
    perfect, half, wrong = (truth, truth), (cells((0, 0, 15, 1)), truth), (cells(), truth)  # 15 of 20: a match below .75
    result = metrics.map_iou([perfect, half, wrong, perfect], ["astro", "cort", "cort", "cort"], {"astro": 1, "cort": 3})
    assert result.overall.value == pytest.approx((1 + 0.5 + 0 + 1) / 4)
    assert {name: (s.images, s.value) for name, s in result.by_class.items()} == {"astro": (1, 1.0), "cort": (3, pytest.approx(0.5))}
    assert result.by_class["cort"].by_threshold == pytest.approx([2 / 3] * 5 + [1 / 3] * 5)
    assert result.weighted is not None
    assert result.weighted.value == pytest.approx((1 + 3 * 0.5) / 4)
    assert result.by_class["astro"].low is result.by_class["astro"].high is None  # one image says nothing of the spread
    assert 0 <= result.by_class["cort"].low < 0.5 < result.by_class["cort"].high <= 1
    assert metrics.MapIou.model_validate_json(result.model_dump_json()) == result


def test_the_bootstrap_interval_is_that_of_the_mean() -> None:
    """400 images of score 1 or 0 alike: the standard error of the mean is .025; the seed decides the draws."""
    table = np.repeat([[1.0], [0.0]], 200, axis=0) * np.ones(len(matching.THRESHOLDS))
    score = metrics.summarise(table, ["cort"] * 400, draws=4000).overall
    assert (score.low, score.high) == pytest.approx((0.5 - 1.96 * 0.025, 0.5 + 1.96 * 0.025), abs=0.005)
    assert metrics.summarise(table, ["cort"] * 400, draws=4000).overall == score
    assert metrics.summarise(table, ["cort"] * 400, draws=4000, seed=1).overall != score


def test_there_is_no_interval_where_no_type_has_two_images() -> None:
    table = np.linspace(0, 1, 30).reshape(3, 10)
    one, each, three = (metrics.summarise(table[: len(types)], types) for types in (["a"], ["a", "b", "c"], ["a", "b", "b"]))
    for score in (one.overall, one.by_class["a"], each.overall, *each.by_class.values(), three.by_class["a"]):
        assert (score.low, score.high, score.sign) == (None, None, 0)
    for score in (three.overall, three.by_class["b"]):
        assert score.low is not None
        assert score.high is not None
        assert score.low < score.value < score.high
    assert metrics.summarise(table[:1], ["a"], {"a": 2.0}).headline.low is None
    assert metrics.MapIou.model_validate_json(three.model_dump_json()) == three


@pytest.mark.parametrize(("low", "high", "sign"), [(0.1, 0.2, 1), (-0.2, -0.1, -1), (-0.1, 0.1, 0), (0.0, 0.1, 0), (None, None, 0)])
def test_the_sign_of_a_difference(low: float | None, high: float | None, sign: int) -> None:
    assert metrics.Score(images=3, value=0.1, low=low, high=high, by_threshold=()).sign == sign


@pytest.mark.parametrize("weights", [{"cort": 1.0, "astro": 2.0}, {"astro": 1.0}, {"cort": 0.0}])
def test_weights_must_name_the_cell_types(weights: dict[str, float]) -> None:
    with pytest.raises(InputError, match="weights"):
        metrics.map_iou([(cells(), cells())], ["cort"], weights)


def test_weights_of_the_types_that_are_there() -> None:
    mix = {"astro": 1.0, "cort": 3.0}
    assert metrics.present_weights(mix, ["cort", "cort"]) == {"cort": 3.0}
    assert metrics.present_weights({}, ["cort"]) is None  # every image alike


@pytest.mark.parametrize(("weights", "fits"), [({}, True), ({"astro": 1, "cort": 1}, True), ({"astro": 1, "cort": 1, "shsy5y": 2}, True),
                                               ({"cort": 1}, False), ({"astro": 1, "cort": 1, "other": 1}, False)])  # fmt: skip
def test_weights_name_the_types_that_there_are_and_no_other(weights: dict[str, float], fits: bool) -> None:
    def check() -> None:
        metrics.check_type_weights(EvaluationSettings(type_weights=weights), ["cort", "astro", "cort"], ["shsy5y"], "truth.json")

    if fits:
        check()
        return
    message = (
        r"evaluation\.type_weights: found .*, the images of truth\.json are of the cell types astro, cort: give each of these a weight"
    )
    with pytest.raises(InputError, match=message):
        check()


def test_no_image_is_refused() -> None:
    with pytest.raises(InputError, match="0 images"):
        metrics.map_iou([], [])
