"""What rounds are made of, as their settings and folder say."""

from pathlib import Path

import pytest
import yaml

pytest.importorskip("pytorch_lightning", reason="needs somaseg[train]")

from somaseg.config import Config, RoundsSettings
from somaseg.errors import InputError
from somaseg.rounds.plan import StageRecord
from somaseg.rounds.state import RECORD, Rounds, member_configs


def settings(folder: Path, **changes: object) -> RoundsSettings:
    (folder / "a.yaml").write_text(yaml.safe_dump({"train": {"steps": 40, "folds": 3}}))
    members = {name: {"config": str(folder / "a.yaml"), "seed": seed} for seed, name in enumerate("ab")}
    return RoundsSettings.model_validate(
        {"annotations": ["x"], "unlabelled": ["y"], "members": members, "finetune": ["train.steps=7"]} | changes
    )


def test_members_have_settings_of_their_own(tmp_path: Path) -> None:
    given = settings(tmp_path, members={"a": {"config": str(tmp_path / "a.yaml"), "fold": 2, "seed": 5, "overrides": ["train.batch=2"]}})
    train = member_configs(given.members)["a"].train
    assert (train.steps, train.folds, train.fold, train.seed, train.batch) == (40, 3, 2, 5, 2)
    rounds = Rounds(given, tmp_path / "out")
    assert rounds.config("a", 0).train.steps == 40
    later = rounds.config("a", 1).train
    assert (later.steps, later.init) == (7, str((tmp_path / "out" / "train-0" / "a" / "last.safetensors").resolve()))


def test_a_fold_that_there_is_not(tmp_path: Path) -> None:
    given = settings(tmp_path, members={"a": {"config": str(tmp_path / "a.yaml"), "fold": 3}})
    with pytest.raises(InputError, match=r"members\.a\.fold: is 3, but train\.folds is 3: give 0 to 2"):
        member_configs(given.members)


def test_stages_depend_on_what_changes_them_and_on_nothing_else(tmp_path: Path) -> None:
    def changed(**changes: object) -> set[str]:
        now = Rounds(settings(tmp_path, **changes), tmp_path / "out").keys()
        return {name.split("-")[0] for name, key in now.items() if key != before[name]}

    before = Rounds(settings(tmp_path), tmp_path / "out").keys()
    assert changed() == set()
    assert changed(evaluation={"type_weights": {"round": 1}}) == {"score", "final"}
    assert changed(shards=5) == set()
    assert "predict" in changed(unlabelled=["z"])
    scored = Config.model_validate({"train": {"steps": 40, "folds": 3}, "evaluation": {"type_weights": {"round": 1}}})
    (tmp_path / "scored.yaml").write_text(yaml.safe_dump(scored.model_dump(mode="json")))
    members = {name: {"config": str(tmp_path / "scored.yaml"), "seed": seed} for seed, name in enumerate("ab")}
    assert changed(members=members) == set()  # how a training is scored changes none of its last weights


def test_how_far_stages_are(tmp_path: Path) -> None:
    rounds = Rounds(settings(tmp_path), tmp_path / "out")
    (tmp_path / "out" / "stages").mkdir(parents=True)
    for name, record in {
        "train-0": StageRecord(rounds.keys()["train-0"], True, 5.0),
        "score-0": StageRecord(rounds.keys()["score-0"], False, 1.0),
        "predict-1": StageRecord("of other settings", True, 1.0),
    }.items():
        (tmp_path / "out" / "stages" / f"{name}.json").write_bytes(RECORD.dump_json(record))
    states = rounds.states()
    assert [states[name] for name in ("train-0", "score-0", "predict-1", "pseudo-1")] == ["done", "begun", "stale", "open"]
    assert rounds.scores() == []
    assert rounds.kept() is None
    assert rounds.skipped() == ()
