import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from drawing import draw
from somaseg.config import FuseSettings, PostprocessSettings
from somaseg.errors import InputError
from somaseg.fusion.fuse import fuse, mask_nms_fusion, nms_fusion
from somaseg.fusion.pool import pool
from somaseg.instances import Instances, Prediction
from somaseg.postprocessing.candidates import Candidates
from somaseg.postprocessing.steps import postprocess

CLASSES = ("shsy5y", "astro")
METHODS = ("screening", "nms", "mask_nms", "weighted")
BARE = PostprocessSettings(score_thresh=0.0, min_area=0.0, mask_thresh=0.5, max_covered=1.0)


def predicted(boxes: list[list[float]], scores: list[float], labels: list[int] | None = None, probs=None, classes=CLASSES) -> Prediction:
    n = len(boxes)
    return Prediction(
        size=(40, 60),
        boxes=np.array(boxes, np.float32).reshape(n, 4),
        scores=np.array(scores, np.float32),
        labels=np.array([0] * n if labels is None else labels, np.int64),
        mask_probs=np.ones((n, 4, 4), np.float16) if probs is None else np.asarray(probs, np.float16),
        classes=classes,
    )


def equal(one: Instances, other: Instances) -> bool:
    same = [(getattr(one, name) == getattr(other, name)).all() for name in ("boxes", "scores", "labels") if len(one) == len(other)]
    return len(same) == 3 and all(same) and all((a == b).all() for a, b in zip(one.masks, other.masks, strict=True))


def random_prediction(seed: int, count: int = 25) -> Prediction:
    rng = np.random.default_rng(seed)
    corner = rng.uniform(-5, 45, (count, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(3, 25, (count, 2))], axis=1)
    probs = rng.uniform(0.3, 1, (count, 4, 4))
    return predicted(boxes.tolist(), rng.integers(1, 9, count) / 8, rng.integers(0, 2, count).tolist(), probs)


@pytest.mark.parametrize("method", METHODS)
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), copies=st.integers(2, 6))
def test_a_model_fused_with_itself_is_the_model_alone(method, seed, copies):
    found, chosen = random_prediction(seed), FuseSettings(method=method)
    if method == "weighted":  # a mean of equal numbers may round the last digit
        found = predicted(np.round(found.boxes).tolist(), found.scores.tolist(), found.labels.tolist(), found.mask_probs > 0.6)
        copies = 2 ** (copies // 2)
    alone, _ = fuse([found], chosen, BARE)
    together, _ = fuse([found] * copies, chosen, BARE)
    assert equal(alone, together)


@pytest.mark.parametrize("method", ["screening", "mask_nms", "weighted"])
def test_one_model_gives_what_post_processing_alone_gives(method):
    found, chosen = random_prediction(3), FuseSettings(method=method)
    steps = PostprocessSettings(**{**BARE.model_dump(), "steps": (*chosen.member_steps, *chosen.final_steps[1:])})
    assert equal(fuse([found], chosen, BARE)[0], postprocess(found, steps))


@pytest.mark.parametrize("method", METHODS)
def test_a_model_without_detections_and_six_models(method):
    none = predicted([], [])
    one = predicted([[2, 2, 12, 12]], [0.9])
    for members, cells in [([none], 0), ([none] * 6, 0), ([one, none], 1), ([one, none, one, one, none, one], 1)]:
        fused, counts = fuse(members, FuseSettings(method=method), BARE)
        assert len(fused) == counts["cells"] == cells
        assert fused.size == (40, 60)
        assert fused.classes == CLASSES


def test_what_the_first_model_misses_is_lost_to_screening_alone():
    none, one = predicted([], []), predicted([[2, 2, 12, 12]], [0.9])
    assert [len(fuse([none, one], FuseSettings(method=m), BARE)[0]) for m in METHODS] == [0, 1, 1, 1]


def test_counts_add_up_over_models_and_steps():
    first = predicted([[0, 0, 10, 10], [30, 0, 40, 10], [1, 0, 11, 10]], [0.9, 0.2, 0.8])
    second = predicted([[0, 1, 10, 11], [30, 20, 40, 30]], [0.7, 0.6])
    thresholds = PostprocessSettings(score_thresh=0.5, mask_thresh=0.5, min_area=0.0)
    fused, counts = fuse([first, second], FuseSettings(method="screening"), thresholds)
    assert fused.boxes.tolist() == [[0, 0, 10, 10]]
    assert counts == {
        "detections": 5,
        "vote": 0,
        "screen": 1,
        "paste": 0,
        "rank": 0,
        "mask_nms": 1,
        "fusion": 2,
        "fill_holes": 0,
        "overlaps": 0,
        "pieces": 0,
        "min_area": 0,
        "cells": 1,
    }


def test_weights_change_which_model_wins_a_cell_by_its_class():
    first, second = predicted([[0, 0, 10, 10]], [0.8]), predicted([[0, 0, 10, 9]], [0.6])
    plain, _ = fuse([first, second], FuseSettings(method="mask_nms"), BARE)
    assert plain.boxes.tolist() == [[0, 0, 10, 10]]
    weights = ({"default": 1.0, "shsy5y": 0.5}, {"default": 1.0})
    weighed, _ = fuse([first, second], FuseSettings(method="mask_nms", member_weights=weights), BARE)
    assert weighed.boxes.tolist() == [[0, 0, 10, 9]]
    other_class, _ = fuse([first, second], FuseSettings(method="mask_nms", member_weights=({"default": 1.0, "astro": 0.5}, 1.0)), BARE)
    assert equal(other_class, plain)


def test_nms_goes_by_boxes_and_mask_nms_by_masks():
    lower = draw("#... ##.. ###. ####")
    cells = Instances(
        (8, 8), np.array([[0, 0, 4, 4]] * 2), (lower, np.rot90(lower, 2) & ~lower), np.zeros(2, int), np.array([0.5, 0.9]), CLASSES
    )
    assert len(cells) == 2
    together = pool([Candidates.from_instances(cells)])
    assert nms_fusion(together, 0.5).scores.tolist() == pytest.approx([0.9])
    assert mask_nms_fusion(together, 0.5).scores.tolist() == pytest.approx([0.9, 0.5])


@pytest.mark.parametrize(
    ("members", "chosen", "message"),
    [
        ([], {}, "expected those of at least one"),
        ([predicted([], []), predicted([], [], classes=("astro", "shsy5y"))], {}, r"classes of model 2 is \('astro', 'shsy5y'\)"),
        ([predicted([], []), random_prediction(0)], {"member_weights": (1.0,)}, "1 entries for 2 models: give one a model"),
        ([random_prediction(0)], {"member_weights": ({"default": 1.0, "asto": 0.5},)}, r"fuse\.member_weights\.0 names class 'asto'"),
    ],
)
def test_members_that_do_not_fit_are_refused(members, chosen, message):
    with pytest.raises(InputError, match=message):
        fuse(members, FuseSettings(**chosen), BARE)


def test_images_of_two_sizes_and_grids_of_two_sides_are_refused():
    small = Prediction((4, 4), *(getattr(predicted([], []), name) for name in ("boxes", "scores", "labels", "mask_probs", "classes")))
    with pytest.raises(InputError, match=r"size of model 2 is \(4, 4\), of model 1 \(40, 60\)"):
        fuse([predicted([], []), small], FuseSettings(), BARE)
    fine: NDArray[np.float64] = np.ones((1, 8, 8))
    with pytest.raises(InputError, match=r"sides of \[4, 8\] cells"):
        fuse([random_prediction(0), predicted([[0, 0, 9, 9]], [1.0], probs=fine)], FuseSettings(), BARE)
