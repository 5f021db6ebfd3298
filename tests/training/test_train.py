"""Training end to end on tiny synthetic cultures: the command, resuming after a kill, two processes, NaN."""

import csv
import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml

pl = pytest.importorskip("pytorch_lightning", reason="needs somaseg[train]")

from somaseg.checkpoints.checkpoint import load_checkpoint  # noqa: E402
from somaseg.config import Config, load_settings  # noqa: E402
from somaseg.errors import InputError  # noqa: E402
from somaseg.models.cascade import CascadeMaskRCNN  # noqa: E402
from somaseg.synth.folder import write_cultures  # noqa: E402
from somaseg.training.module import NotFiniteError  # noqa: E402
from somaseg.training.train import fit, reached_step  # noqa: E402

TINY = {
    "model": {
        "backbone": {"trunk": {"kind": "timm", "freeze_at": 0}, "strides": [4, 8, 16], "fpn_width": 16},
        "rpn": {"sizes": [[24], [48], [96]], "samples": 100000, "positive_share": 1.0, "train_pre_nms": 50, "train_post_nms": 30},
        "heads": {"samples": 100000, "positive_share": 1.0, "box_fc_width": 16, "mask_convs": 1, "mask_width": 16, "mask_samples": 0},
        "detect": {"scale": 1.0, "max_detections": 50},
    },
    "augment": {"size": {"kind": "zoom", "side": 96}},
    "train": {
        "steps": 6, "batch": 2, "optimizer": {"kind": "adamw", "warmup": 1}, "schedule": {"kind": "flat", "cooldown": 2},
        "validate_every": 3, "validate_images": 2, "folds": 2, "bf16": False, "workers": 0, "init": "none",
        "checkpoint_minutes": 0.0001, "log_every": 1,
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def cultures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cultures")
    write_cultures(folder, count=6, seed=3, cell_type="mixed")
    return folder


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(TINY))
    return path


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-W", "ignore", "-m", "somaseg.cli.main", "train", *map(str, arguments)]


def losses(run: Path) -> dict[int, float]:
    with (run / "csv" / "metrics.csv").open() as file:
        return {int(row["step"]): float(row["loss"]) for row in csv.DictReader(file) if row.get("loss")}


def validations(run: Path) -> list[int]:
    with (run / "csv" / "metrics.csv").open() as file:
        return [int(row["step"]) for row in csv.DictReader(file) if row.get("map_iou")]


def environment() -> dict[str, str]:
    return os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}


def test_the_command_leaves_weights_settings_and_logs(cultures: Path, config: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    ran = subprocess.run(command(config, "--data", cultures, "--out", run), check=True, env=environment(), capture_output=True, text=True)
    checkpoint = load_checkpoint(run / "best.safetensors")
    known = checkpoint.config.model.trained_at  # what the run finds out of its images
    assert set(known.cell_diameter) <= set(checkpoint.config.model.classes)
    assert all(5 < diameter < 60 for diameter in known.cell_diameter.values())
    given = load_settings(Config, config)
    assert checkpoint.config == given.model_copy(update={"model": given.model.model_copy(update={"trained_at": known})})
    assert checkpoint.provenance["images"] + checkpoint.provenance["held_out"] == 6
    assert sorted(losses(run)) == [0, 1, 2, 3, 4, 5]
    assert any((run / "tensorboard").iterdir())
    assert load_settings(Config, run / "settings.yaml") == checkpoint.config
    assert ran.stderr == "starts from weights drawn at random\n"
    told = ran.stdout.splitlines()
    assert [line.split(":")[0] for line in told if ": map_iou " in line] == ["step 3", "step 6"]
    assert told[-1] == f"wrote {run / 'best.safetensors'}"
    assert not [line for line in told if not line.startswith(("step ", "note: ", "wrote "))]  # nothing of Lightning's own


def test_a_killed_run_resumes_with_the_losses_it_would_have_had(cultures: Path, config: Path, tmp_path: Path) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    subprocess.run(command(config, "--data", cultures, "--out", whole), check=True, env=environment(), capture_output=True)
    process = subprocess.Popen(
        command(config, "--data", cultures, "--out", broken), env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 300
    while not (broken / "last.ckpt").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    reached = int(torch.load(broken / "last.ckpt", weights_only=True)["global_step"])
    assert reached > 0
    kept = losses(broken) if (broken / "csv" / "metrics.csv").exists() else {}
    subprocess.run(command(config, "--data", cultures, "--out", broken), check=True, env=environment(), capture_output=True)
    again, first = losses(broken), losses(whole)
    assert sorted(again) == sorted({step for step in kept if step < reached} | set(range(reached, 6)))  # what was logged stays
    assert validations(broken)[-1:] == validations(whole)[-1:] == [5]
    assert set(validations(broken)) <= set(validations(whole)) == {2, 5}
    assert [again[s] for s in again] == pytest.approx([first[s] for s in again], rel=1e-3)


def test_two_processes_have_the_losses_of_one_with_the_joint_batch(cultures: Path, config: Path, tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    subprocess.run(command(config, "--data", cultures, "--out", one), check=True, env=environment(), capture_output=True)
    launch = [sys.executable, "-W", "ignore", "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    subprocess.run(
        [*launch, "-m", "somaseg.cli.main", "train", str(config), "--data", str(cultures), "--out", str(two)],
        check=True, env=environment(), capture_output=True,
    )  # fmt: skip
    together, alone = losses(two), losses(one)
    assert sorted(together) == sorted(alone)
    # The same weights give the same loss; rounding grows with each update of them.
    assert [together[s] for s in (0, 1)] == pytest.approx([alone[s] for s in (0, 1)], rel=1e-3)
    assert [together[s] for s in sorted(alone)] == pytest.approx([alone[s] for s in sorted(alone)], rel=3e-2)


def test_a_loss_that_is_not_finite_stops_the_run_and_saves_the_batch(cultures: Path, tmp_path: Path) -> None:
    settings = Config.model_validate(
        TINY | {"train": TINY["train"] | {"optimizer": {"kind": "adamw", "rate": 1e30, "warmup": 0}, "clip": 1e30}}
    )
    with pytest.raises(NotFiniteError, match=r"not_finite_step_\d+\.pt"):
        fit(settings, [cultures], tmp_path)
    saved = torch.load(next(tmp_path.glob("not_finite_step_*.pt")), weights_only=False)
    assert len(saved["images"]) == 2


@pytest.mark.filterwarnings("ignore:detections reached their cap")
def test_held_parts_stay_as_they_are(cultures: Path, tmp_path: Path) -> None:
    few = {"steps": 2, "validate_every": 0, "validate_images": 1, "schedule": {"kind": "cosine"}, "hold": ["backbone", "roi_heads"]}
    settings = Config.model_validate(TINY | {"train": TINY["train"] | few})
    fit(settings, [cultures], tmp_path)
    torch.manual_seed(settings.train.seed)
    before, after = CascadeMaskRCNN(settings.model).state_dict(), load_checkpoint(tmp_path / "last.safetensors").model.state_dict()
    for part in ("backbone", "roi_heads", "proposal_generator"):
        # Files hold what multiplies features in half precision.
        stored = {name: weight.half().float() if weight.ndim > 1 else weight for name, weight in before.items() if name.startswith(part)}
        same = {torch.equal(after[name], weight) for name, weight in stored.items()}
        assert same == {part != "proposal_generator"}


@pytest.mark.filterwarnings("ignore:detections reached their cap")
@pytest.mark.parametrize("fast", [False, True])
def test_bf16_only_where_the_processor_is_fast_at_it(fast: bool, cultures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = set()
    forward = CascadeMaskRCNN.forward

    def watched(self: CascadeMaskRCNN, *arguments: object) -> object:
        seen.add(torch.is_autocast_enabled("cpu"))
        return forward(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(CascadeMaskRCNN, "forward", watched)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: fast)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    few = {"steps": 1, "validate_every": 0, "validate_images": 1, "schedule": {"kind": "cosine"}, "bf16": True}
    fit(Config.model_validate(TINY | {"train": TINY["train"] | few}), [cultures], tmp_path)
    assert seen == {fast}


def test_other_settings_do_not_resume_a_run(cultures: Path, tmp_path: Path) -> None:
    settings = Config.model_validate(TINY)
    (tmp_path / "settings.yaml").write_text(yaml.safe_dump({"train": {"clip": 1.0}}))
    with pytest.raises(InputError, match="other settings"):
        fit(settings, [cultures], tmp_path)


def test_settings_that_cannot_be_used_leave_no_run_behind(cultures: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    wrong = Config.model_validate(TINY | {"train": TINY["train"] | {"folds": 99}})
    with pytest.raises(InputError, match=r"train\.folds: is 99, but the images of .* are of 6 fields of view"):
        fit(wrong, [cultures], run)
    assert not (run / "settings.yaml").exists()
    fit(Config.model_validate(TINY | {"train": TINY["train"] | {"steps": 1, "validate_images": 1}}), [cultures], run)


class Bomb:
    """Makes a folder when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.path),)


def bomb(tmp_path: Path, how: str) -> Path:
    """A `last.ckpt` of a stranger's run that runs code when it is unpickled, or is none at all."""
    path, state = tmp_path / "last.ckpt", {"global_step": 3, "state": Bomb(tmp_path / "burst")}
    match how:
        case "saved by torch":
            torch.save(state, path)
        case "old format of torch":
            torch.save(state, path, _use_new_zipfile_serialization=False)
        case "plain pickle":
            path.write_bytes(pickle.dumps(state))
        case "cut off":
            torch.save({"global_step": 3, "state": torch.zeros(1000)}, path)
            path.write_bytes(path.read_bytes()[:2000])
        case "no run":
            torch.save({"weights": torch.zeros(3)}, path)
    return path


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("saved by torch", "refused, and nothing in it was run"),
        ("old format of torch", "cannot be read as a run to resume"),
        ("plain pickle", "cannot be read as a run to resume"),
        ("cut off", "cannot be read as a run to resume"),
        ("no run", "cannot be read as a run to resume"),
    ],
)
def test_a_checkpoint_that_is_none_is_refused_and_never_run(tmp_path: Path, how: str, words: str) -> None:
    path = bomb(tmp_path, how)
    with pytest.raises(InputError, match=rf"last\.ckpt: {words}.*delete the file to train from the start"):
        reached_step(path)
    assert not (tmp_path / "burst").exists()


def test_a_run_of_a_stranger_is_not_resumed(cultures: Path, tmp_path: Path) -> None:
    bomb(tmp_path, "saved by torch")
    with pytest.raises(InputError, match="refused, and nothing in it was run"):
        fit(Config.model_validate(TINY), [cultures], tmp_path)
    assert not (tmp_path / "burst").exists()
