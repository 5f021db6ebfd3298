"""How the predictions of an image become its cells."""

import numpy as np
import pytest

from jitter import CLASSES, culture
from somaseg.config import FuseSettings, PostprocessSettings
from somaseg.errors import InputError
from somaseg.fusion.fuse import fuse
from somaseg.fusion.methods import fused, single
from somaseg.postprocessing.steps import postprocess_with_report

SETTINGS = PostprocessSettings(score_thresh=0.5, min_area=4)


def same(one, other):
    (cells, report), (others, other_report) = one, other
    assert report == other_report
    np.testing.assert_array_equal(cells.to_masks(), others.to_masks())


def test_one_model_is_post_processed_and_several_are_fused():
    predictions = [culture(seed)[0] for seed in (1, 2)]
    method = single(SETTINGS, CLASSES)
    assert method.settings == {"postprocess": SETTINGS.model_dump(mode="json")}
    same(method.cells(predictions[:1]), postprocess_with_report(predictions[0], SETTINGS))
    method = fused(FuseSettings(method="nms"), SETTINGS, CLASSES)
    assert method.settings.keys() == {"fuse", "postprocess"}
    same(method.cells(predictions), fuse(predictions, FuseSettings(method="nms"), SETTINGS))


def test_classes_are_checked_before_any_image():
    wrong = SETTINGS.model_copy(update={"min_area": {"default": 1, "flat": 2}})
    for make in (lambda: single(wrong, CLASSES), lambda: fused(FuseSettings(), wrong, CLASSES)):
        with pytest.raises(InputError, match=r"postprocess\.min_area names class 'flat'"):
            make()
