"""Which thresholds are tuned, and over which values."""

import pytest

from somaseg.config import FuseSettings, PostprocessSettings, SegmentSettings
from somaseg.tuning.thresholds import thresholds, with_values


def names(settings, models=1, classes=("astro",)):
    return [t.name for t in thresholds(settings, models, dict.fromkeys(classes, 100.0))]


def test_those_that_take_effect_are_tuned():
    by_class = ["postprocess.score_thresh.astro", "postprocess.mask_thresh.astro", "postprocess.min_area.astro"]
    shared = ["postprocess.nms_iou", "postprocess.max_covered"]
    assert names(SegmentSettings()) == [*shared, *by_class]
    screened = SegmentSettings(fuse=FuseSettings(method="screening"))
    assert names(screened, models=2) == [*shared, "fuse.support_iou", "fuse.nms_iou", *by_class]
    weighted = SegmentSettings(fuse=FuseSettings(method="weighted"))
    assert names(weighted, models=3) == [*shared, "fuse.box_iou", *by_class]
    assert names(weighted) == [*shared, *by_class]
    few = SegmentSettings(postprocess=PostprocessSettings(steps=("box_nms", "paste", "overlaps"), overlaps="keep"))
    assert names(few) == ["postprocess.box_nms_iou", "postprocess.mask_thresh.astro"]
    assert names(few, classes=()) == ["postprocess.box_nms_iou"]


def test_steps_are_counted_from_the_start():
    settings = SegmentSettings(postprocess=PostprocessSettings(mask_thresh={"default": 0.42, "astro": 0.8}, min_area={"default": 7}))
    found = {t.name: t for t in thresholds(settings, 1, {"cort": 100.0, "astro": 20.0})}
    cort, astro = found["postprocess.mask_thresh.cort"], found["postprocess.mask_thresh.astro"]
    assert (cort.low, cort.high, cort.step, cort.start) == (0.27, 0.67, 0.05, 0.42)
    assert (astro.low, astro.high, astro.start) == (0.25, 0.8, 0.8)  # a start beyond the range is its end
    area, small = found["postprocess.min_area.cort"], found["postprocess.min_area.astro"]
    assert (area.low, area.high, area.step) == (1, 99, 2)
    assert (small.low, small.high, small.step) == (0, 20, 1)


def test_the_value_that_settings_hold():
    settings = SegmentSettings(postprocess=PostprocessSettings(score_thresh={"default": 0.3, "astro": 0.5}, nms_iou=0.2))
    found = {t.name: t.value_in(settings) for t in thresholds(settings, 2, {"astro": 100.0, "cort": 100.0})}
    assert (found["postprocess.score_thresh.astro"], found["postprocess.score_thresh.cort"]) == (0.5, 0.3)
    assert (found["postprocess.nms_iou"], found["fuse.box_iou"]) == (0.2, settings.fuse.box_iou)


def test_values_go_to_their_places():
    own = PostprocessSettings(score_thresh={"default": 0.3, "cort": 0.6})
    settings = SegmentSettings(postprocess=own, fuse=FuseSettings(method="screening"))
    tuned = thresholds(settings, 2, {"cort": 50.0, "astro": 50.0})
    assert with_values(settings, tuned, {t.name: t.start for t in tuned}).postprocess.min_area == {"default": 60, "cort": 60, "astro": 60}
    values = {t.name: t.low for t in tuned} | {"fuse.nms_iou": 0.4}
    changed = with_values(settings, tuned, values)
    assert changed.postprocess.score_thresh == {"default": 0.3, "cort": 0.1, "astro": 0.1}
    assert (changed.postprocess.nms_iou, changed.fuse.nms_iou, changed.fuse.support_iou) == pytest.approx((0.05, 0.4, 0))
    assert settings.postprocess.score_thresh == {"default": 0.3, "cort": 0.6}
