import io
import re

import pytest
import torch
from rich.console import Console
from safetensors.torch import save_file
from typer.testing import CliRunner

from somaseg.checkpoints.checkpoint import load_checkpoint, save_checkpoint
from somaseg.checkpoints.header import CheckpointHeader
from somaseg.checkpoints.names import SHIPPED, known_hash, shipped_names, weights_files
from somaseg.checkpoints.report import facts, in_words, info, input_in_words, size_in_words, verify
from somaseg.cli.main import app
from somaseg.config import X152, Config, TrainedSize
from somaseg.errors import InputError
from somaseg.files import file_sha256
from somaseg.models.cascade import CascadeMaskRCNN
from tiny import TINY


@pytest.fixture
def saved(tmp_path):
    torch.manual_seed(0)
    path = tmp_path / "tiny.safetensors"
    save_checkpoint(path, CascadeMaskRCNN(TINY), Config(model=TINY), {"data": "[bold]drawn[/bold]", "fold": 0})
    return path


def run(*words):
    return CliRunner().invoke(app, ["weights", *map(str, words)], env={"COLUMNS": "200"})


def test_the_x152_in_words():
    assert in_words(X152) == (
        "Cascade Mask R-CNN on ResNeXt-152 32x8d (blocks 3, 8, 36, 3; FrozenBN; deformable: plain in res3, plain in res4, plain in res5); "
        "pyramid of 5 levels with 256 channels; 3 anchors at a place; "
        "box stages at IoU 0.5, 0.6, 0.7, each 4 convolutions of 256 and 1 layers of 1024; "
        "mask head of 8 convolutions of 256; heads with norm GN"
    )
    assert input_in_words(X152.input) == "grey values 0 to 255 in 3 equal channels, less 103.53, 116.28, 123.675, over 1, 1, 1"
    about = CheckpointHeader(Config(model=X152), {}, {"a": (1000, 1000), "b": (5, 1000)}, ("F16", "F32"))
    shown = facts(about, "abc")
    assert shown["input"].endswith("; shorter edge 800 px, longer at most 1333")
    assert shown["parameters"] == "1.00 million in 2 tensors, stored as F16 and F32"
    assert shown["provenance"] == "the file says nothing"


def test_what_a_file_is(saved):
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(info(saved))
    text = console.export_text()
    assert "test_efficientnet" in text
    assert "round, long" in text
    assert "data: [bold]drawn[/bold]" in text
    assert file_sha256(saved) in text


@pytest.mark.parametrize("path", [path for name in shipped_names() for path in weights_files(name)], ids=lambda path: path.stem)
def test_weights_that_come_with_somaseg_have_the_hash_that_their_card_and_the_sums_say(path):
    digest, problems = verify(path)
    assert problems == []
    assert digest == known_hash(path)
    cards = [folder / "MODEL_CARD.md" for folder in (path.parent, SHIPPED)]
    card = next(card for card in cards if card.is_file()).read_text(encoding="utf-8")
    assert re.search(rf"`{path.name}`", card)
    assert digest in re.findall(r"SHA-256 \| `(\w+)`", card)


def test_weights_that_come_with_somaseg_are_small():
    assert 0 < sum(path.stat().st_size for path in SHIPPED.rglob("*.safetensors")) <= 60e6


def test_verify(saved):
    digest = file_sha256(saved)
    assert verify(saved) == verify(saved, digest.upper()) == (digest, [])
    _, problems = verify(saved, "a" * 64)
    assert problems == [f"the hash is {digest}, expected {'a' * 64}: this is another file, or it was changed"]
    with pytest.raises(InputError, match="--sha256 abc: expected 64 hexadecimal digits"):
        verify(saved, "abc")


def test_sums_beside_a_file_are_read(saved):
    (saved.parent / "SHA256SUMS").write_text(f"{'b' * 64}  other.safetensors\n{'a' * 64} *tiny.safetensors\n")
    assert known_hash(saved) == "a" * 64
    assert len(verify(saved)[1]) == 1
    assert known_hash(saved.parent / "third.safetensors") is None


def test_values_that_are_not_finite_are_found(saved):
    checkpoint = load_checkpoint(saved)
    with torch.no_grad():
        checkpoint.model.roi_heads.mask_head.predictor.bias[0] = float("inf")
    save_checkpoint(saved, checkpoint.model, checkpoint.config, {})
    assert verify(saved)[1] == ["roi_heads.mask_head.predictor.bias holds values that are not finite"]


def test_exit_codes_of_verify(saved, tmp_path):
    whole = run("verify", saved)
    assert (whole.exit_code, whole.stdout.strip()) == (0, f"{saved}: whole, SHA-256 {file_sha256(saved)}")
    changed = run("verify", saved, "--sha256", "a" * 64)
    assert changed.exit_code == 1
    assert "expected aaaa" in changed.stdout
    saved.write_bytes(saved.read_bytes()[:-10])
    broken = run("verify", saved)
    assert broken.exit_code != 0
    assert isinstance(broken.exception, InputError)
    assert run("info", saved).exit_code != 0


def test_a_folder_of_members_is_told_of_and_verified_file_by_file(saved, tmp_path):
    other = tmp_path / "other.safetensors"
    other.write_bytes(saved.read_bytes())
    shown, whole = run("info", tmp_path), run("verify", tmp_path)
    assert shown.stdout.count("test_efficientnet") == 2
    assert (whole.exit_code, whole.stdout.count(": whole, SHA-256 ")) == (0, 2)
    digest = file_sha256(saved)
    (tmp_path / "SHA256SUMS").write_text(f"{digest}  tiny.safetensors\n{'a' * 64}  other.safetensors\n")
    changed = run("verify", tmp_path)
    assert changed.exit_code == 1
    assert f"{other}: not as it should be" in changed.stdout
    assert f"{saved}: whole" in changed.stdout
    several = run("verify", tmp_path, "--sha256", digest)
    assert isinstance(several.exception, InputError)


def test_convert_tells_what_became_of_the_tensors(tmp_path):
    source, out, settings = (tmp_path / name for name in ("model.safetensors", "out.safetensors", "settings.yaml"))
    torch.manual_seed(0)
    state = {name: tensor.contiguous() for name, tensor in CascadeMaskRCNN(TINY).state_dict().items()}
    save_file(state | {"pixel_mean": torch.ones(1)}, source)
    settings.write_text(Config(model=TINY).model_dump_json())  # JSON is YAML
    ran = run(
        "convert",
        source,
        out,
        "--architecture",
        settings,
        "--classes",
        "long,flat",
        "--source-classes",
        "round, long",
        "--json",
        tmp_path / "all.json",
    )
    assert ran.exit_code == 0
    assert re.search(r"unexpected: left out\s*│ 1\s*│ pixel_mean", ran.stdout)
    assert "note: classes: 2 in the file; kept: long; drawn anew: flat; dropped: round" in ran.stdout
    for path in (out, out.with_suffix(".yaml"), tmp_path / "all.json"):
        assert f"wrote {path}" in ran.stdout
        assert path.is_file()
    assert load_checkpoint(out).config.model.classes == ("long", "flat")


def test_what_weights_know_of_sizes_is_told() -> None:
    assert size_in_words(TrainedSize()) == "median diameter of cells: not known; edge of a pixel: not known"
    known = TrainedSize(pixel_size=0.65, cell_diameter={"round": 16.2, "long": 30})
    assert size_in_words(known) == "median diameter of cells: round 16.2 px, long 30 px; edge of a pixel: 0.65 µm"
