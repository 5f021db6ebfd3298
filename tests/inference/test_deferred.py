"""A segmenter that waits with its network is the segmenter that it becomes."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from somaseg.checkpoints.checkpoint import save_checkpoint
from somaseg.config import Config, DetectSettings, PredictSettings, TtaSettings, override
from somaseg.errors import InputError, WeightsError
from somaseg.inference.deferred import DeferredSegmenter
from somaseg.inference.segmenter import load
from somaseg.models.cascade import CascadeMaskRCNN
from tiny import TINY

IMAGE = np.random.default_rng(0).integers(0, 256, (40, 48), np.uint8)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights")
    for seed, scale in enumerate((1.0, 2.0)):
        torch.manual_seed(seed)
        settings = TINY.model_copy(update={"detect": DetectSettings(scale=scale, score_thresh=0)})
        save_checkpoint(folder / f"{seed}.safetensors", CascadeMaskRCNN(settings), Config(model=settings), {"data": "none"})
    return folder


@pytest.mark.parametrize("name", ["0.safetensors", ""])
def test_it_says_and_finds_what_the_segmenter_does(weights, name):
    deferred, segmenter = DeferredSegmenter([weights / name]), load(weights / name)
    for field in ("name", "sha256", "classes", "about", "provenance", "settings", "model_settings", "other_settings"):
        assert getattr(deferred, field) == getattr(segmenter, field)
    found, expected = deferred.predict(IMAGE), segmenter.predict(IMAGE)
    np.testing.assert_array_equal(found.boxes, expected.boxes)
    assert len(found)


def test_settings_given_before_the_first_image_hold_for_it(weights):
    settings = override(
        PredictSettings(detect=DetectSettings(scale=1.0, score_thresh=0)), ["detect.max_detections=3", "tta.flips=[horizontal]"]
    )
    deferred, segmenter = DeferredSegmenter([weights]), load(weights)
    deferred.configure(settings)
    segmenter.configure(settings)
    assert segmenter.tta == TtaSettings(flips=("horizontal",))
    assert [s.detect.scale for s in (segmenter.model_settings, *segmenter.other_settings)] == [1, 2]  # only what was changed is shared
    assert [s.detect.max_detections for s in (segmenter.model_settings, *segmenter.other_settings)] == [3, 3]
    assert deferred.about == segmenter.about
    with pytest.warns(UserWarning, match="detections reached their cap of 3"):
        found = deferred.predict(IMAGE)
    with pytest.warns(UserWarning, match="detections reached their cap of 3"):
        np.testing.assert_array_equal(found.boxes, segmenter.predict(IMAGE).boxes)


def test_weights_that_do_not_fit_are_found_by_the_first_image(tmp_path):
    model = CascadeMaskRCNN(TINY)
    other = TINY.model_copy(update={"classes": (*TINY.classes, "another")})
    save_checkpoint(tmp_path / "wrong.safetensors", model, Config(model=other), {})
    deferred = DeferredSegmenter([tmp_path / "wrong.safetensors"])
    with pytest.raises(WeightsError, match=r"wrong\.safetensors: \d+ tensors do not fit the model of its settings"):
        deferred.predict(IMAGE)


def test_weights_that_are_no_numbers_are_found_by_the_first_image(tmp_path):
    model = CascadeMaskRCNN(TINY)
    torch.nn.init.constant_(model.roi_heads.mask_head.predictor.bias, float("nan"))
    save_checkpoint(tmp_path / "nan.safetensors", model, Config(model=TINY), {})
    with pytest.raises(WeightsError, match=r"nan\.safetensors: .*predictor\.bias holds values that are not finite"):
        DeferredSegmenter([tmp_path / "nan.safetensors"]).predict(IMAGE)


def test_weights_that_are_not_there_or_changed_are_found_at_once(tmp_path, weights):
    with pytest.raises(InputError, match="no such weights"):
        DeferredSegmenter([tmp_path / "gone.safetensors"])
    with pytest.raises(InputError, match="found none"):
        DeferredSegmenter([])
    (tmp_path / "a.safetensors").write_bytes((weights / "0.safetensors").read_bytes())
    (tmp_path / "SHA256SUMS").write_text(f"{'0' * 64}  a.safetensors\n")
    with pytest.raises(InputError, match="the file was changed or cut off"):
        DeferredSegmenter([tmp_path / "a.safetensors"])


def test_torch_is_not_loaded_before_the_first_image(weights):
    code = f"""
import sys
from somaseg.inference.deferred import DeferredSegmenter
DeferredSegmenter([{str(weights)!r}]).about
sys.exit("torch" in sys.modules)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
