"""What `pip install somaseg` brings is enough to segment; what needs an extra says which."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import somaseg
from somaseg.synth.render import SynthSettings, render

# As if no extra were installed: an import of these fails, and nothing finds them.
WITHOUT = """
import sys
for name in ("onnx", "torch", "torchvision", "timm", "pytorch_lightning", "tensorboard"):
    sys.modules[name] = None
sys.argv = ["somaseg", *sys.argv[1:]]
from somaseg.cli.main import main
main()
"""


def run(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", WITHOUT, *map(str, words)], capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("images") / "culture.png"
    Image.fromarray(render(SynthSettings(cell_type="cort", size=(120, 140), cells=8), seed=3)[0]).save(path)
    return path


def test_segmenting_needs_no_extra(image: Path, tmp_path: Path) -> None:
    ran = run("segment", image, "--out", tmp_path / "result")
    assert ran.returncode == 0, ran.stderr
    told = json.loads((tmp_path / "result" / "run.json").read_text(encoding="utf-8"))
    assert told["runtime"].items() >= {"name": "onnx", "precision": "float32", "device": "cpu"}.items()
    assert told["runtime"]["threads"] >= 1
    assert sum(told["cells"].values()) == len(somaseg.load(runtime="onnx").segment(np.array(Image.open(image))))
    again = run("segment", image, "--out", tmp_path / "result", "--runtime", "torch")
    assert again.returncode == 0  # what one runtime made is done for the other
    assert json.loads((tmp_path / "result" / "run.json").read_text(encoding="utf-8"))["skipped"] == 1


@pytest.mark.parametrize(
    ("words", "extra"),
    [
        (("weights", "export", "default", "out.safetensors"), "torch"),
        (("weights", "convert", "in.pth", "out.safetensors"), "torch"),
        (("segment", "IMAGE", "--out", "result", "--runtime", "torch"), "torch"),
        (("train", "settings.yaml", "--data", "data"), "train"),
        (("finetune", "--data", "data", "--out", "out"), "train"),
    ],
)
def test_what_needs_an_extra_names_it(
    words: tuple[str, ...], extra: str, image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("settings.yaml").write_text("{}\n")
    ran = run(*(str(image) if word == "IMAGE" else word for word in words))
    assert ran.returncode == 2
    assert f"is not installed: run  pip install 'somaseg[{extra}]'" in ran.stderr


def test_weights_are_shown_and_verified_without_an_extra() -> None:
    assert "for onnxruntime" in run("weights", "info").stdout
    ran = run("weights", "verify")
    assert (ran.returncode, "whole, SHA-256" in ran.stdout) == (0, True)
