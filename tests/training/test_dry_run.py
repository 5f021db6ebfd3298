"""Dry runs, and the weights that a run starts from."""

from pathlib import Path

import pytest
import torch

pytest.importorskip("pytorch_lightning", reason="needs somaseg[train]")

from somaseg.checkpoints.checkpoint import save_checkpoint
from somaseg.config import Config, EdgeSettings, InputSettings, ZoomSettings
from somaseg.errors import InputError
from somaseg.models.cascade import CascadeMaskRCNN
from somaseg.synth.folder import write_cultures
from somaseg.training.dry_run import dry_run, mean_pixels, smaller
from somaseg.training.held_out import read_split
from somaseg.training.module import initial_model
from tiny import TINY

POOL = ("SH-SY5Y", "round", "astro")


def run(init: str, **model: object) -> Config:
    settings = Config(model=TINY.model_copy(update={"classes": ("astro", "cort", "shsy5y"), **model}))
    train = settings.train.model_copy(update={"init": init, "batch": 2, "folds": 2, "steps": 1000, "bf16": False})
    edges = EdgeSettings(edges=(520, 1040), longest=2000, crop=1)
    augment = settings.augment.model_copy(update={"size": edges})
    return settings.model_copy(update={"train": train, "augment": augment})


@pytest.fixture
def pool(tmp_path: Path) -> Path:
    """Weights of three classes, two of which go on."""
    torch.manual_seed(3)
    model = CascadeMaskRCNN(TINY.model_copy(update={"classes": POOL}))
    save_checkpoint(tmp_path / "pool.safetensors", model, Config(model=model.settings), {})
    return tmp_path / "pool.safetensors"


def test_a_run_keeps_the_rows_of_the_classes_that_go_on(pool: Path) -> None:
    torch.manual_seed(3)
    source = CascadeMaskRCNN(TINY.model_copy(update={"classes": POOL})).state_dict()
    model, text = initial_model(run(str(pool)))
    assert "kept: astro, shsy5y (was SH-SY5Y); drawn anew: cort; dropped: round" in text
    state = model.state_dict()
    close = {"rtol": 1e-3, "atol": 1e-6}  # weights are saved in half precision
    for name in ("roi_heads.box_predictor.1.cls_score.weight", "roi_heads.mask_head.predictor.weight"):
        torch.testing.assert_close(state[name][[0, 2]], source[name][[2, 0]], **close)
        assert not torch.allclose(state[name][1], source[name][1], **close)
    name = "roi_heads.box_predictor.1.cls_score.weight"
    torch.testing.assert_close(state[name][3], source[name][3], **close)  # the background
    name = "backbone.fpn_output2.weight"
    torch.testing.assert_close(state[name], source[name], **close)


def test_weights_of_other_pixel_values_or_another_model_are_refused(pool: Path) -> None:
    with pytest.raises(InputError, match=r"pool\.safetensors was trained on other pixel values"):
        initial_model(run(str(pool), input=InputSettings(values="grey8")))
    with pytest.raises(InputError, match=r"tensors of .*pool\.safetensors do not fit `model`"):
        initial_model(run(str(pool), backbone=TINY.backbone.model_copy(update={"fpn_width": 8})))
    with pytest.raises(InputError, match=r"gone\.safetensors"):
        initial_model(run("gone.safetensors"))


def test_what_one_annotation_holds_out_does_not_depend_on_the_others(tmp_path: Path) -> None:
    write_cultures(tmp_path / "one", count=4, seed=1, cell_type="mixed")
    write_cultures(tmp_path / "two", count=4, seed=2, cell_type="mixed")
    settings = run("none")
    alone = [{s.name for s in part} for part in read_split(settings, [tmp_path / "one"])]
    joined = [{s.name for s in part} for part in read_split(settings, [tmp_path / "two", tmp_path / "one"])]
    assert all(part < whole for part, whole in zip(alone, joined, strict=True))
    assert sum(map(len, joined)) == 8
    with pytest.raises(InputError, match="4 images are in several annotations"):
        read_split(settings, [tmp_path / "one", tmp_path / "one"])


def test_a_dry_run_takes_two_steps_and_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_cultures(tmp_path, count=4, seed=1, cell_type="cort")
    before = sorted(tmp_path.rglob("*"))
    monkeypatch.chdir(tmp_path)
    result = dry_run(run("none"), [tmp_path], edge=64)
    assert sorted(tmp_path.rglob("*")) == before
    assert len(result.seconds) == len(result.losses) == 2
    assert result.whole == pytest.approx(result.seconds[1] * result.growth * 1000)
    # 520 and 1040 become 32 and 64, 704 x as wide as 520.
    assert result.growth == pytest.approx(16.25**2, rel=0.05)
    text = result.text()
    assert "starts from weights drawn at random" in text
    assert "step 2: " in text
    assert "the whole run: 1000 steps" in text


def test_smaller_crops_show_cells_as_large_as_before() -> None:
    assert smaller(ZoomSettings(side=384), 96) == ZoomSettings(side=96)
    assert smaller(ZoomSettings(side=64), 96).side == 64  # type: ignore[union-attr]
    full = EdgeSettings(edges=(500, 1000), crop=0.9, longest=2000)
    less = smaller(full, 100)
    assert less.model_copy(update={"crop": 0.09}) == EdgeSettings(edges=(50, 100), crop=0.09, longest=200)
    assert less.crop == pytest.approx(0.09)  # type: ignore[union-attr]
    assert smaller(full, 1500) == full


def test_mean_pixels() -> None:
    assert mean_pixels(ZoomSettings(side=10 + 22), (5, 5)) == 1024
    assert mean_pixels(EdgeSettings(edges=(10, 30)), (10, 20)) == (10 * 20 + 30 * 60) / 2
    assert mean_pixels(EdgeSettings(edges=(10, 12), draw="range"), (10, 10)) == (100 + 121 + 144) / 3
