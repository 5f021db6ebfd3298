"""Scores of settings on images in memory."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jitter import CLASSES, culture
from somaseg.config import FuseSettings, PostprocessSettings, SegmentSettings
from somaseg.errors import InputError
from somaseg.evaluation.map_iou import image_map_iou
from somaseg.fusion.fuse import fuse
from somaseg.postprocessing.steps import postprocess
from somaseg.tuning.trials import CachedImage, Case, Scorer

FLOOR = {"default": 0.25, "large": 0.3}
STEPS = (
    ("vote", "screen", "paste", "rank", "mask_nms", "fill_holes", "overlaps", "pieces", "min_area"),
    ("screen", "paste", "overlaps"),
    ("paste", "vote", "rank", "mask_nms"),
    ("screen", "vote", "paste", "mask_nms"),
    ("vote", "screen", "box_nms", "paste", "overlaps", "min_area"),
)


def shown(cells):
    boxes, areas = cells.boxes.tolist(), cells.area.tolist()
    return sorted(zip(boxes, areas, cells.labels.tolist(), np.round(cells.scores, 4).tolist(), strict=True))


@st.composite
def drawn(draw, base):
    by_class = st.fixed_dictionaries({"default": st.sampled_from((0.2, 0.3, 0.5)), "large": st.sampled_from((0.28, 0.4))})
    own = PostprocessSettings(
        steps=base.postprocess.steps,
        overlaps=base.postprocess.overlaps,
        score_thresh=draw(by_class),
        mask_thresh=draw(by_class),
        min_area={"default": draw(st.sampled_from((0, 60)))},
        nms_iou=draw(st.sampled_from((0.1, 0.5))),
        max_covered=draw(st.sampled_from((0.1, 0.6))),
        box_nms_iou=draw(st.sampled_from((0.2, 0.7))),
    )
    fusion = base.fuse.model_copy(update={"support_iou": draw(st.sampled_from((0.0, 0.4))), "nms_iou": draw(st.sampled_from((0.1, 0.5)))})
    return SegmentSettings(postprocess=own, fuse=fusion)


@pytest.mark.parametrize("steps", STEPS, ids=" ".join)
@settings(max_examples=15, deadline=None)
@given(data=st.data(), overlaps=st.sampled_from(("trim", "probability", "drop")))
def test_cells_are_those_of_postprocess(steps, data, overlaps):
    prediction, _ = culture(data.draw(st.integers(0, 3)), label=1)
    base = SegmentSettings(postprocess=PostprocessSettings(steps=steps, overlaps=overlaps))
    image = CachedImage([prediction], base, FLOOR)
    for tried in data.draw(st.lists(drawn(base), min_size=1, max_size=8)):
        assert shown(image.cells(tried)) == shown(postprocess(prediction, tried.postprocess))


@pytest.mark.parametrize("method", ["screening", "nms", "mask_nms", "weighted"])
@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_cells_are_those_of_fuse(method, data):
    predictions = [culture(seed)[0] for seed in (1, 2)]
    base = SegmentSettings(fuse=FuseSettings(method=method, member_weights=({"default": 1.0}, {"default": 0.9})))
    image = CachedImage(predictions, base, FLOOR)
    for tried in data.draw(st.lists(drawn(base), min_size=1, max_size=4)):
        assert shown(image.cells(tried)) == shown(fuse(predictions, tried.fuse, tried.postprocess)[0])


def cases(count):
    return [Case(f"i{n}", (prediction,), truth, CLASSES[n % 2]) for n in range(count) for prediction, truth in [culture(n, n % 2)]]


def test_scores_are_those_of_the_images_asked_for():
    start, every = SegmentSettings(), cases(5)
    expected = [image_map_iou(postprocess(case.predictions[0], start.postprocess), case.truth) for case in every]
    assert 0.1 < min(expected) < max(expected)
    with Scorer(every, start, FLOOR) as scorer:
        assert scorer.scores(start, [4, 1]).tolist() == pytest.approx([expected[4], expected[1]])
        table = scorer.precisions(start, range(5))
        assert table.shape == (5, 10)
        assert table.mean(axis=1).tolist() == pytest.approx(expected)


def test_processes_give_the_same_and_pass_on_errors():
    start, every = SegmentSettings(), cases(3)
    other = SegmentSettings(postprocess=PostprocessSettings(score_thresh={"default": 0.5}))
    with Scorer(every, start, FLOOR, processes=1) as one, Scorer(every, start, FLOOR, processes=2) as two:
        for tried in (start, other):
            assert two.scores(tried, [2, 0, 1]).tolist() == one.scores(tried, [2, 0, 1]).tolist()
        with pytest.raises(InputError, match="score_thresh names class 'none'"):
            two.precisions(SegmentSettings(postprocess=PostprocessSettings(score_thresh={"default": 0.5, "none": 1})), range(3))
        assert two.precisions(start, [1]).tolist() == one.precisions(start, [1]).tolist()
