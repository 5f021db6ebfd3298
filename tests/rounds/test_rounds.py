"""Rounds of self-training from the command line, with the smallest of networks."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from filelock import FileLock
from typer.testing import CliRunner, Result

pytest.importorskip("pytorch_lightning", reason="needs somaseg[train]")

import imageio.v3 as iio

from fields import annotated, field
from somaseg.checkpoints.header import read_header
from somaseg.cli.main import app
from somaseg.config import AugmentSettings, Config, PseudoTrainSettings, RoundsSettings, TrainSettings, ZoomSettings
from somaseg.errors import InputError
from somaseg.files import file_sha256
from somaseg.inference.segmenter import load
from somaseg.rounds.plan import make_plan
from somaseg.rounds.state import Rounds
from tiny import TINY

MEMBER = Config(
    model=TINY,
    augment=AugmentSettings(size=ZoomSettings(side=64, factor=(1, 1))),
    train=TrainSettings(
        init="none", steps=2, batch=2, folds=3, bf16=False, workers=0, ema=0, validate_every=0, validate_images=1, log_every=1,
        pseudo=PseudoTrainSettings(weight=1, start=0, full=0, share=1),
    ),
)  # fmt: skip
NOTHING_IS_SURE = {"ignore_score": 0, "accept_score": 0, "accept_mask_prob": 0, "accept_agreement": 0, "min_area": 0}
STAGES = [stage.name for stage in make_plan(1)]
FOLD = 1  # holds out field0, which an unlabelled image shows too


def rounds_file(folder: Path, **changes: Any) -> Path:
    """Settings of two members and one round, with all their data, in a folder."""
    if not (folder / "known").exists():
        annotated(folder / "known", True)
        (folder / "unlabelled").mkdir()
        iio.imwrite(folder / "unlabelled" / "later.png", field(0, (1, 2), noise=1))
        iio.imwrite(folder / "unlabelled" / "other.png", field(97))
        (folder / "member.yaml").write_text(yaml.safe_dump(MEMBER.model_dump(mode="json")))
    settings = {
        "annotations": [str(folder / "known")],
        "unlabelled": [str(folder / "unlabelled")],
        "members": {name: {"config": str(folder / "member.yaml"), "fold": FOLD, "seed": seed} for seed, name in enumerate("ab")},
        "pseudo": NOTHING_IS_SURE,
        "finetune": ["train.steps=3"],
        "shards": 2,
    }
    (folder / "rounds.yaml").write_text(yaml.safe_dump(settings | changes))
    return folder / "rounds.yaml"


def rounds(folder: Path, *words: str, **changes: Any) -> Result:
    return CliRunner().invoke(app, ["rounds", str(rounds_file(folder, **changes)), "--out", str(folder / "out"), *words])


def states(folder: Path) -> dict[str, str]:
    settings = RoundsSettings.model_validate(yaml.safe_load((folder / "rounds.yaml").read_text()))
    return dict(Rounds(settings, folder / "out").states())


def members(folder: Path) -> dict[str, str]:
    return {path.name: file_sha256(path) for path in sorted((folder / "out" / "members").glob("*.safetensors"))}


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which one round has been run."""
    folder = tmp_path_factory.mktemp("rounds")
    ran = rounds(folder)
    assert ran.exit_code == 0, ran.output
    return folder


def test_a_round_from_data_to_an_ensemble(ended: Path) -> None:
    out = ended / "out"
    assert states(ended) == dict.fromkeys(STAGES, "done")
    for number, steps in ((0, 2), (1, 3)):
        about = read_header(out / f"train-{number}" / "a" / "last.safetensors")
        assert (about.provenance["step"], about.config.train.seed, about.provenance["held_out"]) == (steps, 0, 2)
    start = file_sha256(out / "train-0" / "a" / "last.safetensors")
    assert start in about.provenance["start"]
    # Of two pseudo-labelled images one shows a field that the members hold out: it was not trained on.
    assert {path.stem for path in (out / "score-1" / "a").glob("*.npz")} == {"field0", "field3"}
    assert json.loads((out / "pseudo-1" / "run.json").read_text())["images"] == 2
    assert about.provenance["pseudo_images"] == 1
    scores = json.loads((out / "score-1" / "scores.json").read_text())
    assert set(scores["members"]) == {"a", "b"}
    best = max((0, 1), key=lambda r: json.loads((out / f"score-{r}" / "scores.json").read_text())["fused"]["overall"]["value"])
    assert members(ended) == {
        f"{number}_{name}.safetensors": file_sha256(out / f"train-{best}" / name / "last.safetensors")
        for number, name in enumerate("ab", start=1)
    }
    assert load(out / "members").classes == TINY.classes


def test_what_is_done_is_left_alone(ended: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in (ended / "out").rglob("*") if path.is_file()}
    assert rounds(ended).exit_code == 0
    assert {path: path.stat().st_mtime_ns for path in (ended / "out").rglob("*") if path.is_file()} == before


def test_the_page_stands_alone(ended: Path) -> None:
    page = (ended / "out" / "index.html").read_text()
    assert re.findall(r'(?:src|href)="(?!data:|#)[^"]*"', page) == []
    assert page.count("data:image/jpeg") == 2
    assert all(f"<td>{name}</td>" in page for name in STAGES)
    assert "<svg" in page


def test_a_changed_setting_is_not_mixed_with_what_was_made_before(ended: Path) -> None:
    asked = rounds(ended, "--set", "pseudo.max_cells=999")
    assert isinstance(asked.exception, InputError)
    assert "pseudo-1: was made from other settings" in str(asked.exception)
    assert "--stage pseudo-1" in str(asked.exception)
    assert states(ended) == dict.fromkeys(STAGES, "done")


def test_two_runs_do_not_share_a_folder(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with FileLock(tmp_path / "out" / ".lock"):
        ran = rounds(tmp_path)
    assert isinstance(ran.exception, InputError)
    assert "out: is in use by another run" in str(ran.exception)
    assert states(tmp_path) == dict.fromkeys(STAGES, "open")


def test_a_plan_is_shown_and_nothing_is_done(tmp_path: Path) -> None:
    ran = rounds(tmp_path, "--dry-run", seconds_per_step=2, seconds_per_image=0.5)
    assert ran.exit_code == 0, ran.output
    assert not (tmp_path / "out").exists()
    shown = {line.split("│")[1].strip(): line for line in ran.output.splitlines() if line.startswith("│")}
    assert list(shown) == STAGES
    assert "not begun" in shown["train-0"]
    assert " 8 s" in shown["train-0"]  # 2 members x 2 steps
    assert " 12 s" in shown["train-1"]
    assert " 2 s" in shown["predict-1"]  # 2 members x 2 images
    assert "left: 27 s" in ran.output


def test_one_stage_again(ended: Path, tmp_path: Path) -> None:
    before = members(ended)
    ran = rounds(ended, "--stage", "pseudo-1")
    assert ran.exit_code == 0, ran.output
    left = dict(zip(STAGES, ("done", "done", "done", "done", "open", "open", "open"), strict=True))
    assert states(ended) == left
    assert not (ended / "out" / "train-1").exists()
    assert "reads train-1, which is not begun" in str(rounds(ended, "--stage", "score-1").exception)
    assert "no such stage: give one of train-0" in str(rounds(ended, "--stage", "polish").exception)
    assert rounds(ended).exit_code == 0
    assert members(ended) == before


def test_a_stage_that_cannot_be_made_is_not_deleted(ended: Path) -> None:
    before = states(ended)
    for words, problem in (
        (("--stage", "score-1", "--set", "pseudo.max_cells=999"), "reads train-1, which is made from other settings"),
        (("--stage", "predict-2", "--set", "rounds=2"), "predict-2: is not needed: the round before gained no more than chance"),
    ):
        assert problem in str(rounds(ended, *words).exception)
    assert states(ended) == before == dict.fromkeys(STAGES, "done")


def test_a_killed_run_goes_on_and_ends_as_if_it_had_not_been_killed(ended: Path, tmp_path: Path) -> None:
    config = rounds_file(tmp_path)
    command = [sys.executable, "-m", "somaseg.cli.main", "rounds", str(config), "--out", str(tmp_path / "out")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True) as process:
        while not (tmp_path / "out" / "train-1" / "b" / "settings.yaml").exists():  # the second of two trainings
            assert process.poll() is None, process.stdout.read().decode() if process.stdout else ""
            time.sleep(0.02)
        os.killpg(process.pid, signal.SIGKILL)
    assert states(tmp_path)["train-1"] == "begun"
    trained = tmp_path / "out" / "train-1" / "a" / "last.safetensors"
    before = trained.stat().st_mtime_ns
    ran = rounds(tmp_path)
    assert ran.exit_code == 0, ran.output
    assert trained.stat().st_mtime_ns == before
    assert states(tmp_path) == dict.fromkeys(STAGES, "done")
    mine, theirs = ((folder / "out" / "score-1" / "scores.json").read_text() for folder in (tmp_path, ended))
    assert mine == theirs


def test_a_task_that_fails_is_named_and_the_others_are_kept(tmp_path: Path) -> None:
    rounds_file(tmp_path)
    (tmp_path / "unlabelled" / "torn.png").write_bytes(b"no image")
    ran = rounds(tmp_path)
    assert ran.exit_code == 1
    assert "failed: predict-1 of a, shard 1" in ran.output
    assert "torn.png" in ran.output
    assert states(tmp_path)["predict-1"] == "begun"
    assert {path.stem for path in (tmp_path / "out" / "predict-1" / "b").glob("*.npz")} == {"later", "other"}
    iio.imwrite(tmp_path / "unlabelled" / "torn.png", np.zeros((64, 64), np.uint8))
    assert rounds(tmp_path).exit_code == 0


def test_what_cannot_be_used_is_named_before_anything_is_done(ended: Path, tmp_path: Path) -> None:
    trained = str(ended / "out" / "train-0" / "a" / "last.safetensors")
    config = str(tmp_path / "member.yaml")
    for changes, words in (
        ({"members": {"a": {"weights": trained}}}, "members.a.fold: is 0 of 3 .*, but the fold that .* never saw is 1 of 3"),
        ({"members": {"a": {"config": config, "overrides": [f"train.init={trained}"]}}}, "members.a.fold: is 0 .* never saw is 1"),
        ({"members": {"a": {"config": config, "fold": 3}}}, "members.a.fold: is 3, but train.folds is 3: give 0 to 2"),
        ({"evaluation": {"type_weights": {"long": 1}}}, "evaluation.type_weights: found .*long.* are of the cell types round: give each"),
        ({"type_weights": {"round": 1}}, "rounds.yaml: type_weights: there is no such setting"),
        ({"members": {"a": {"weights": trained, "config": config}}}, "members.a.*give config.*or weights"),
        ({"members": {"a": {"config": config}, "b": {"config": config, "overrides": ["train.folds=4"]}}}, "members.b: train.folds is 4"),
        ({"unlabelled": []}, "unlabelled is empty"),
        ({"unlabelled": [str(tmp_path / "nowhere")]}, "nowhere: no such file or folder"),
        ({"unlabelled": [str(tmp_path / "unlabelled"), str(tmp_path / "copy")]}, "several images are called other"),
    ):
        rounds_file(tmp_path)
        (tmp_path / "copy").mkdir(exist_ok=True)
        iio.imwrite(tmp_path / "copy" / "other.png", field(97))
        for mode in ((), ("--dry-run",)):
            ran = rounds(tmp_path, *mode, **changes)
            assert isinstance(ran.exception, InputError)
            assert re.search(words, str(ran.exception)), ran.exception
    (tmp_path / "known" / "field5.png").unlink()  # of a training image
    assert "field5.png: no such image" in str(rounds(tmp_path).exception)
    assert not (tmp_path / "out").exists()


def test_given_weights_stand_for_the_first_training(ended: Path, tmp_path: Path) -> None:
    trained = ended / "out" / "train-0"
    given = {name: {"weights": str(trained / name / "last.safetensors"), "fold": FOLD, "seed": seed} for seed, name in enumerate("ab")}
    ran = rounds(tmp_path, members=given, rounds=0)
    assert ran.exit_code == 0, ran.output
    assert not (tmp_path / "out" / "train-0").exists()
    first = ended / "out" / "score-0" / "scores.json"
    assert (tmp_path / "out" / "score-0" / "scores.json").read_text() == first.read_text()
