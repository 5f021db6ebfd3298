"""Fine-tuning on images of another magnification: the new weights take them as they are, and say so."""

import json
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest
import torch

pytest.importorskip("pytorch_lightning", reason="needs somaseg[train]")

from somaseg.annotations.samples import Sample
from somaseg.annotations.write import write_coco
from somaseg.checkpoints.checkpoint import load_checkpoint, save_checkpoint
from somaseg.config import AugmentSettings, Config, PostprocessSettings, TrainedSize, ZoomSettings
from somaseg.instances import Instances
from somaseg.models.cascade import CascadeMaskRCNN
from somaseg.training import finetune as stage
from somaseg.training.finetune import finetune
from tiny import TINY

QUICK = ["train.steps=1", "train.batch=1", "train.workers=0", "train.bf16=false", "augment.size.side=64"]
SIDE = 30  # px of a square cell: 33.85 px in diameter


@pytest.fixture
def base(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    model = TINY.model_copy(update={"trained_at": TrainedSize(cell_diameter={"round": 10.0, "long": 11.0})})
    config = Config(
        model=model, augment=AugmentSettings(size=ZoomSettings(side=64, factor=(1, 1.5))), postprocess=PostprocessSettings(min_area=60)
    )
    save_checkpoint(tmp_path / "base.safetensors", CascadeMaskRCNN(model), config, {})
    return tmp_path / "base.safetensors"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    samples = []
    for number in range(2):
        image = np.full((160, 200), 40, np.uint8)
        corners = [(10 + 60 * (i % 3), 10 + 70 * (i // 3)) for i in range(6)]
        crops = [((x, y, x + SIDE, y + SIDE), np.ones((SIDE, SIDE), bool)) for x, y in corners]
        for (x0, y0, x1, y1), _ in crops:
            image[y0:y1, x0:x1] = 150 + 20 * number
        path = tmp_path / "data" / f"{number}.png"
        path.parent.mkdir(exist_ok=True)
        iio.imwrite(path, image)
        samples.append(Sample(path, Instances.build((160, 200), crops, ("round", "long")), path.stem, group=path.stem))
    write_coco(samples, tmp_path / "data" / "annotations.json")
    return tmp_path / "data"


@pytest.mark.parametrize("asked", ["auto", "off"])
def test_weights_take_over_the_scale_of_their_images(base, data, tmp_path, monkeypatch, asked):
    zooms = []
    precisions = stage.image_precisions

    def watched(segmenter, samples, what, console=None, zoom=1.0):
        zooms.append(zoom)
        return precisions(segmenter, samples, what, console, zoom)

    monkeypatch.setattr(stage, "image_precisions", watched)
    result, _ = finetune(data, tmp_path / "run", str(base), [*QUICK, f"train.magnification='{asked}'"])
    config = load_checkpoint(tmp_path / "run" / "training" / "last.safetensors").config
    diameter = SIDE * 2 / np.sqrt(np.pi)
    zoom = 10 / diameter if asked == "auto" else 1
    assert zooms == [pytest.approx(zoom, rel=1e-3), 1.0]
    assert result.zoom == pytest.approx(zoom, rel=1e-3)
    assert config.model.detect.scale == pytest.approx(zoom, rel=1e-3)
    assert config.augment.size.factor == pytest.approx((zoom, 1.5 * zoom), rel=1e-3)
    assert config.postprocess.min_area["default"] == pytest.approx(60 / zoom**2, rel=1e-2)
    assert config.model.trained_at.cell_diameter["round"] == pytest.approx(diameter, abs=0.01)
    told = [note for note in result.notes if "times as large as those that the weights know" in note]
    assert len(told) == (asked == "auto")
    assert json.loads((tmp_path / "run" / "finetune.json").read_text())["zoom"] == result.zoom
