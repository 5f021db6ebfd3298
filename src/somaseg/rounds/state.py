"""What rounds of self-training are made of and how far they are, as their folder says."""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from pydantic import TypeAdapter

from somaseg.annotations.samples import Sample
from somaseg.checkpoints.header import read_header
from somaseg.checkpoints.names import shipped_names, weights_path
from somaseg.config import Config, MemberSettings, RoundsSettings, TrainSettings, load_settings, override
from somaseg.errors import InputError
from somaseg.evaluation.map_iou import check_type_weights
from somaseg.images.read import find_images, image_stem
from somaseg.models.cascade import CascadeMaskRCNN
from somaseg.rounds.plan import (
    BestRound,
    Stage,
    StageRecord,
    StageWork,
    State,
    disk,
    keep_best,
    keys,
    make_plan,
    seconds,
    seed_spread,
    skipped,
    states,
)
from somaseg.rounds.status import RoundScores, StageRow
from somaseg.training.held_out import read_split

RECORD = TypeAdapter(StageRecord)
WEIGHTS = "last.safetensors"
"""Of a training run. Not the best: they are chosen on the very images that the rounds are scored on."""
RUN_WEIGHTS = 9  # sizes of one half-precision file that a training run leaves: two of them, and a state to resume from


@dataclass(frozen=True)
class Rounds:
    """Rounds of self-training in a folder, and how far they are.

    Attributes:
        settings: of the rounds.
        out: the folder of everything.
        ray: where tasks run; see `run_tasks`.
    """

    settings: RoundsSettings
    out: Path
    ray: str = "none"

    @cached_property
    def configs(self) -> dict[str, Config]:
        """Settings of each member's first training, by name; see `member_configs`."""
        return member_configs(self.settings.members)

    @cached_property
    def plan(self) -> tuple[Stage, ...]:
        """All stages, in order."""
        return make_plan(self.settings.rounds)

    @cached_property
    def unlabelled(self) -> list[Path]:
        """The unlabelled images.

        Raises:
            InputError: when two have one name, since their predictions and pseudo-labels would, too.
        """
        files = find_images(self.settings.unlabelled) if self.settings.rounds else []
        twice = [name for name, count in Counter(map(image_stem, files)).items() if count > 1]
        if twice:
            raise InputError(f"unlabelled: several images are called {twice[0]}: rename all but one, or leave them out")
        return [path.resolve() for path in files]

    @cached_property
    def held_out(self) -> dict[int, list[Sample]]:
        """The images of a person that members never see, by fold.

        Raises:
            InputError: when the file of an annotated image is missing, or `evaluation.type_weights` does not fit the held-out ones.
        """
        found: dict[int, list[Sample]] = {}
        for name, member in self.settings.members.items():
            if member.fold not in found:
                training, found[member.fold] = read_split(self.configs[name], self.settings.annotations)
                for sample in (*training, *found[member.fold]):
                    if not sample.image.is_file():
                        raise InputError(f"{sample.image}: no such image: put it where its annotations say")
        types = [sample.type_name for samples in found.values() for sample in samples]
        classes = next(iter(self.configs.values())).model.classes
        check_type_weights(self.settings.evaluation, types, classes, "`annotations` that are held out")
        return found

    @cached_property
    def weight_bytes(self) -> int:
        """Size of a file of weights of the first member, in half precision."""
        return 2 * sum(p.numel() for p in CascadeMaskRCNN(next(iter(self.configs.values())).model).parameters())

    def config(self, name: str, number: int) -> Config:
        """Settings of a member's training in a round."""
        config = self.configs[name]
        if number == 0:
            return config
        return override(config, [*self.settings.finetune, f"train.init={json.dumps(str(self.weights(name, number - 1)))}"])

    def weights(self, name: str, number: int) -> Path:
        """Where the weights of a member are after a round."""
        given = self.settings.members[name].weights if number == 0 else None
        path = self.out / f"train-{number}" / name / WEIGHTS if given is None else weights_path(given)
        return path.resolve()

    def records(self) -> dict[str, StageRecord]:
        """What is on disk, by stage."""
        return {path.stem: RECORD.validate_json(path.read_bytes()) for path in (self.out / "stages").glob("*.json")}

    def keys(self) -> dict[str, str]:
        """A digest of the settings that each stage depends on."""
        given = self.settings.model_dump(mode="json")
        # How a training is scored changes nothing of the weights that it ends with.
        configs = {name: config.model_dump(mode="json", exclude={"evaluation"}) for name, config in self.configs.items()}
        data = given["annotations"]
        made_from = {
            "first": [configs, [member["weights"] for member in given["members"].values()], data],
            "finetune": given["finetune"],
            "predict": [given["unlabelled"], given["tta"]],
            "pseudo": [given["pseudo"], given["fuse"], data],
            "score": [given["tta"], given["fuse"], given["evaluation"]["type_weights"], data],
            "final": None,
        }
        return keys(self.plan, made_from)

    def states(self) -> dict[str, State]:
        """How far each stage is."""
        return states(self.plan, self.keys(), self.records())

    def scores(self) -> list[RoundScores]:
        """Scores of the rounds that have been scored, from round 0."""
        now, found = self.states(), []
        for number in range(self.settings.rounds + 1):
            if now[f"score-{number}"] != "done":
                break
            found.append(RoundScores.model_validate_json((self.out / f"score-{number}" / "scores.json").read_bytes()))
        return found

    def spread(self) -> float:
        """Standard deviation between seeds of the members' first scores; 0 where no fold has two."""
        first = self.scores()[0]
        return seed_spread([result.headline.value for result in first.members.values()], [m.fold for m in self.settings.members.values()])

    def kept(self) -> BestRound | None:
        """Which round to keep so far; None before one is scored."""
        scored = self.scores()
        return keep_best([one.fused.headline.value for one in scored], self.spread()) if scored else None

    def skipped(self) -> tuple[str, ...]:
        """Stages of rounds that are not needed, since the one before gained no more than chance."""
        return skipped(self.plan, self.kept())

    def work(self, stage: Stage) -> StageWork:
        """What a stage goes through."""
        members, images = len(self.settings.members), len(self.unlabelled)
        match stage.kind:
            case "train":
                trained = [name for name, m in self.settings.members.items() if stage.round or m.weights is None]
                # The weights to start from may not be there yet; they have no part in the steps.
                finetune = self.settings.finetune if stage.round else ()
                steps = sum(override(self.configs[name], finetune).train.steps for name in trained)
                return StageWork(len(trained), steps=steps, weights=RUN_WEIGHTS * len(trained))
            case "score":
                return StageWork(members, images=sum(len(self.held_out[m.fold]) for m in self.settings.members.values()))
            case "predict":
                return StageWork(members * self.settings.shards, images=members * images)
            case "final":
                return StageWork(weights=members)
            case _:
                return StageWork(images=images)

    def rows(self) -> list[StageRow]:
        """The plan with the state of each stage, and what it takes."""
        work, records, now, skip = {stage.name: self.work(stage) for stage in self.plan}, self.records(), self.states(), self.skipped()
        per_step = self._speed("train", {name: one.steps for name, one in work.items()}) or self.settings.seconds_per_step
        per_image = self._speed("predict", {name: one.images for name, one in work.items()}) or self.settings.seconds_per_image
        return [
            StageRow(
                stage.name,
                work[stage.name].tasks,
                "skipped" if stage.name in skip else now[stage.name],
                records[stage.name].seconds if stage.name in records else 0.0,
                seconds(work[stage.name], per_step, per_image),
                disk(work[stage.name], self.weight_bytes),
            )
            for stage in self.plan
        ]

    def _speed(self, kind: str, amounts: Mapping[str, int]) -> float | None:
        """Seconds of a step or an image in the stages of a kind that are done."""
        now, records = self.states(), self.records()
        done = [stage.name for stage in self.plan if stage.kind == kind and now[stage.name] == "done" and amounts[stage.name]]
        return sum(records[name].seconds for name in done) / sum(amounts[name] for name in done) if done else None


def member_configs(members: Mapping[str, MemberSettings]) -> dict[str, Config]:
    """Settings of each member's first training: its file's, or those that its weights carry, with its own on top.

    Raises:
        InputError: when a file cannot be used, there is no such fold, weights saw it, or members are split into folds or named classes in
            different ways.
    """
    found: dict[str, Config] = {}
    for name, member in members.items():
        if member.weights is not None:
            base = read_header(weights_path(member.weights)).config
        else:
            assert member.config is not None  # one of the two is given
            base = load_settings(Config, member.config)
        found[name] = override(base, [*member.overrides, f"train.fold={member.fold}", f"train.seed={member.seed}"])
        folds = found[name].train.folds
        if member.fold >= folds:
            raise InputError(f"members.{name}.fold: is {member.fold}, but train.folds is {folds}: give 0 to {folds - 1}")
        _check_unseen(name, member.weights or found[name].train.init, found[name].train)
    (first, one), *others = found.items()
    for name, config in others:
        for field, own, theirs in (
            ("train.folds", config.train.folds, one.train.folds),
            ("train.seed_of_folds", config.train.seed_of_folds, one.train.seed_of_folds),
            ("model.classes", config.model.classes, one.model.classes),
        ):
            if own != theirs:
                raise InputError(f"members.{name}: {field} is {own}, that of {first} is {theirs}: members must agree on it")
    return found


def _check_unseen(name: str, weights: str, train: TrainSettings) -> None:
    """Refuse weights that learned from what the member holds out, which would be scored too high; those without a fold are taken."""
    if weights not in shipped_names() and not Path(weights).is_file():
        return  # also words such as imagenet; whoever reads the weights says that they are missing
    about = read_header(weights_path(weights))
    theirs = about.config.train.model_copy(update={"fold": about.provenance.get("fold")})
    own, other = (f"{t.fold} of {t.folds} (seed_of_folds {t.seed_of_folds})" for t in (train, theirs))
    if theirs.fold is not None and own != other:
        raise InputError(
            f"members.{name}.fold: is {own}, but the fold that {weights} never saw is {other}: give weights of that fold; if they saw none "
            "of these annotations, train the member from them with `somaseg train`, and give what comes of it as `weights`"
        )
