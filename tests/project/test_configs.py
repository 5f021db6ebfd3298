"""The settings files: that they can be read, and hold what the method did (docs/method.md)."""

from pathlib import Path

import pytest

from somaseg.config import X152, Config, ModelSettings, RoundsSettings, load_settings, override
from somaseg.rounds.state import member_configs

CONFIGS = Path(__file__).parents[2] / "configs"


def config(name: str) -> Config:
    return load_settings(Config, CONFIGS / f"{name}.yaml")


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_file_is_a_run(path: Path) -> None:
    assert load_settings(Config, path).train.steps > 0


@pytest.mark.parametrize(
    ("name", "batch", "rate", "steps", "falls", "warmup", "decay", "classes", "held"),
    [
        ("baseline", 2, 0.005, 10_000, (5000, 7500, 9000), 200, 0.01, 3, 2),
        ("pretrain_pool", 4, 0.005, 20_000, (15_000, 17_500, 19_000), 1000, 5e-5, 10, 0),
        ("finetune", 2, 0.001, 10_000, (7000, 9000, 9500), 200, 5e-5, 3, 2),
    ],
)
def test_the_methods_runs(
    name: str, batch: int, rate: float, steps: int, falls: tuple[int, ...], warmup: int, decay: float, classes: int, held: int
) -> None:
    run = config(name)
    train, optimizer = run.train, run.train.optimizer
    assert (train.batch, train.steps, train.ema, train.clip) == (batch, steps, 0, 0)
    assert (optimizer.kind, optimizer.rate, optimizer.weight_decay, optimizer.warmup) == ("sgd", rate, decay, warmup)
    assert train.schedule.kind == "multi_step"
    assert train.schedule.at == falls
    trunk = run.model.backbone.trunk
    assert trunk == X152.backbone.trunk.model_copy(update={"freeze_at": held, "recompute": True})
    assert len(run.model.classes) == classes
    assert run.model.detect.max_detections == 1000


def test_what_a_preset_gives_can_be_replaced_singly() -> None:
    given = ModelSettings.model_validate({"preset": "X152", "heads": {"samples": 7}, "classes": ["cell"]})
    assert given == X152.model_copy(update={"heads": X152.heads.model_copy(update={"samples": 7}), "classes": ("cell",)})
    other = ModelSettings.model_validate({"preset": "X152", "backbone": {"trunk": {"kind": "timm", "name": "resnet18"}}})
    assert (other.backbone.trunk.kind, other.backbone.fpn_width) == ("timm", 256)
    with pytest.raises(ValueError, match="preset: found 'X101', expected one of X152"):
        ModelSettings.model_validate({"preset": "X101"})


@pytest.mark.parametrize(("name", "members", "folds", "rounds"), [("full", 6, 3, 2), ("compact", 3, 1, 1)])
def test_rounds(name: str, members: int, folds: int, rounds: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(CONFIGS.parent)  # from where the files name others
    settings = load_settings(RoundsSettings, CONFIGS / "rounds" / f"{name}.yaml")
    configs = member_configs(settings.members)
    assert (len(configs), len({config.train.fold for config in configs.values()}), settings.rounds) == (members, folds, rounds)
    assert all(override(config, settings.finetune).train.steps < config.train.steps for config in configs.values())
    assert sum(settings.evaluation.type_weights.values()) == 606


def test_no_member_of_the_full_run_starts_from_a_pool_with_its_held_out_images(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(CONFIGS.parent)
    configs = member_configs(load_settings(RoundsSettings, CONFIGS / "rounds" / "full.yaml").members)
    assert {config.train.init for config in configs.values()} == {f"runs/pool_fold{fold}/last.safetensors" for fold in range(3)}
    assert all(config.train.init == f"runs/pool_fold{config.train.fold}/last.safetensors" for config in configs.values())
