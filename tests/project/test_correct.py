"""The page on corrections, from the first command to the last: segment, export, correct, check, fine-tune."""

import json
import re
import shlex
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest
import torch

pytest.importorskip("pytorch_lightning", reason="needs somaseg[train]")

import somaseg
from somaseg.checkpoints.checkpoint import save_checkpoint
from somaseg.cli.main import app
from somaseg.config import AugmentSettings, Config, PostprocessSettings, ZoomSettings
from somaseg.models.cascade import CascadeMaskRCNN
from somaseg.synth.render import SynthSettings, render
from somaseg.training import finetune as stage
from tiny import TINY

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/correct.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(bash|python)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
QUICK = ["train.steps=2", "train.batch=1", "train.workers=0", "train.bf16=false", "augment.size.side=96"]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working folder with two images."""
    monkeypatch.chdir(tmp_path)
    Path("my-images").mkdir()
    for name, seed in (("culture", 1), ("second", 2)):
        iio.imwrite(f"my-images/{name}.png", render(SynthSettings(size=(104, 144)), seed=seed)[0])
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield tmp_path
    torch.set_num_threads(threads)


@pytest.fixture
def base(tmp_path):
    """Small weights, so that two steps are quick."""
    torch.manual_seed(0)
    model = TINY.model_copy(update={"detect": TINY.detect.model_copy(update={"max_detections": 50})})
    config = Config(model=model, augment=AugmentSettings(size=ZoomSettings(side=96)), postprocess=PostprocessSettings(score_thresh=0.99))
    save_checkpoint(tmp_path / "base.safetensors", CascadeMaskRCNN(model), config, {"data": "none"})
    return tmp_path / "base.safetensors"


def run(words):
    return app(words, standalone_mode=False)


def correct_in_qupath(path):
    """Delete the first object, move the second, draw one without a class, and save as QuPath does."""
    document = json.loads(path.read_bytes())
    kept = document["features"][1:]
    for ring in kept[0]["geometry"]["coordinates"]:
        ring[:] = [[x + 2, y] for x, y in ring]
    ring = [[20, 20], [40, 20], [40, 35], [20, 35], [20, 20]]
    drawn = {"type": "Feature", "geometry": {"type": "Polygon", "coordinates": [ring]}, "properties": {"objectType": "annotation"}}
    path.write_text(json.dumps([*kept, drawn], indent=2))


def test_the_page_from_the_first_command_to_the_last(folder, base, monkeypatch):
    scores = iter((0.25, 0.5))
    monkeypatch.setattr(stage, "image_precisions", lambda _model, samples, *_: (np.full((len(samples), 10), next(scores)), []))
    learned = {}
    fit = stage.fit
    monkeypatch.setattr(stage, "fit", lambda config, data, out: learned.update(data=data) or fit(config, data, out))
    done = []
    for language, code in BLOCKS:
        if language == "python":
            before = somaseg.read_annotations("result")[0]
            exec(compile(code, "docs/correct.md", "exec"), {"__name__": "page"})
            continue
        for line in code.splitlines():
            words = shlex.split(line)[1:]
            if words[0] == "finetune":
                words += ["--weights", str(base), *(word for given in QUICK for word in ("--set", given))]
            assert run(words) in (None, 0, 1 if words[:2] == ["data", "check"] else 0), words
            done.append(words[0])
    assert done == ["segment", "export", "data", "finetune", "segment"]

    corrected, untouched = somaseg.read_annotations("corrections/imagej")
    cells, old = corrected.instances, before.instances
    assert (corrected.name, before.name, corrected.image) == ("culture", "culture", folder / "my-images/culture.png")
    assert len(cells) == len(old)
    assert np.array_equal(cells.boxes[1:-1], old.boxes[2:])
    assert cells.boxes[0].tolist() == (old.boxes[1] + [2, 0, 2, 0]).tolist()
    assert np.array_equal(cells.masks[0], old.masks[1])
    assert (cells.boxes[-1].tolist(), cells.masks[-1].all()) == ([20, 20, 40, 35], True)
    assert cells.labels[-1] == cells.labels[0]
    assert np.array_equal(untouched.instances.to_masks(), somaseg.read_annotations("result")[1].instances.to_masks())

    report = json.loads(Path("runs/corrected/finetune.json").read_bytes())
    assert sorted((*report["training"], *report["validation"])) == ["culture", "second"]
    assert learned["data"] == [Path("corrections/imagej")]

    correct_in_qupath(Path("corrections/qupath/culture.geojson"))
    same = somaseg.read_annotations("corrections/qupath")[0].instances
    assert np.array_equal(same.to_masks(), cells.to_masks())
    assert np.array_equal(same.labels, cells.labels)
