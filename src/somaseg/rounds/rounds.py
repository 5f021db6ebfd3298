"""The stages of rounds of self-training, on disk: each is a folder and a record, and a killed run goes on where it was.

OUT/stages/STAGE.json    what the stage was made from, whether it has ended, how long it took
OUT/train-R/MEMBER/      the training run of a member; R 0 is the first training
OUT/score-R/             predictions of the held-out images by member, and scores.json
OUT/predict-R/MEMBER/    predictions of the unlabelled images
OUT/pseudo-R/            pseudo-labels, see `somaseg.pseudolabels`
OUT/members/             the weights of the kept round, for `segment --weights`
OUT/index.html           a page that shows all this
"""

import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import orjson
from rich.console import Console

from somaseg.batch.saved.saved_runs import read_runs
from somaseg.checkpoints.names import SUFFIX, SUMS, sums_text
from somaseg.config import PseudoRunSettings
from somaseg.errors import InputError
from somaseg.files import only_run, write_whole
from somaseg.parallel.run import run_tasks
from somaseg.parallel.task import Task
from somaseg.pseudolabels import pseudo
from somaseg.pseudolabels.groups import read_annotated
from somaseg.rounds.plan import Stage, StageRecord, dependents
from somaseg.rounds.report import page
from somaseg.rounds.state import RECORD, WEIGHTS, Rounds
from somaseg.rounds.status import STATES, LabelledRound
from somaseg.rounds.tasks import score_round

TASKS = "somaseg.rounds.tasks"


def run_rounds(rounds: Rounds, console: Console, only: str | None = None) -> dict[str, str]:
    """Run all that is not done.

    Args:
        rounds: which.
        console: where to say what is done.
        only: make this stage again, whatever its state, and none after it, which then have to be made again too.

    Returns:
        What went wrong with tasks, by their names; the stages after it have not been run.

    Raises:
        InputError: when the settings or files cannot be used, a stage was made from other settings than these, or others run in the folder.
    """
    rounds.rows()  # goes through all that is given, so that what cannot be used is found now, not after days of training
    rounds.out.mkdir(parents=True, exist_ok=True)
    with only_run(rounds.out):
        return _run(rounds, console, only)


def _run(rounds: Rounds, console: Console, only: str | None) -> dict[str, str]:
    if only is not None:
        _forget(rounds, only)
    for stage in rounds.plan:
        state = rounds.states()[stage.name]
        if only not in (None, stage.name) or stage.name in rounds.skipped() or state == "done":
            continue
        if state == "stale" and stage.kind != "final":
            raise InputError(
                f"{rounds.out / stage.name}: was made from other settings: take these back, give another --out, or make it again "
                f"with --stage {stage.name}, which deletes it and all that was made from it"
            )
        console.rule(stage.name, align="left")
        if failures := _make(rounds, stage, console):
            return failures
    return {}


def _forget(rounds: Rounds, name: str) -> None:
    """Delete a stage and what was made from it, unless it cannot be made."""
    after, now, skipped = {stage.name: stage.after for stage in rounds.plan}, rounds.states(), rounds.skipped()
    if name not in after:
        raise InputError(f"--stage {name}: no such stage: give one of {', '.join(after)}")
    if name in skipped:
        raise InputError(f"--stage {name}: is {STATES['skipped']}: give an earlier stage, after which it may be needed")
    missing = [one for one in after[name] if now[one] != "done" and one not in skipped]
    if missing:
        raise InputError(f"--stage {name}: reads {missing[0]}, which is {STATES[now[missing[0]]]}: run that first")
    for one in dependents(rounds.plan, name):
        (rounds.out / "stages" / f"{one}.json").unlink(missing_ok=True)
        shutil.rmtree(rounds.out / one, ignore_errors=True)


def _make(rounds: Rounds, stage: Stage, console: Console) -> dict[str, str]:
    before = rounds.records().get(stage.name)
    key = rounds.keys()[stage.name]
    record = StageRecord(key, False, before.seconds if before and before.key == key else 0.0)
    _record(rounds, stage, record)
    begin = time.perf_counter()
    match stage.kind:
        case "train":
            failures = _train(rounds, stage)
        case "predict":
            failures = _predict(rounds, stage, {name: rounds.unlabelled for name in rounds.settings.members}, stage.round - 1)
        case "score":
            failures = _score(rounds, stage)
        case "pseudo":
            failures = _pseudo(rounds, stage, console)
        case _:
            failures = _final(rounds)
    _record(rounds, stage, replace(record, done=not failures, seconds=record.seconds + time.perf_counter() - begin))
    _page(rounds)
    return failures


def _record(rounds: Rounds, stage: Stage, record: StageRecord) -> None:
    write_whole(rounds.out / "stages" / f"{stage.name}.json", RECORD.dump_json(record))


def _page(rounds: Rounds) -> None:
    scored, kept = rounds.scores(), rounds.kept()
    best, spread = (None, 0.0) if kept is None else (kept.best, rounds.spread())
    text = page(rounds.out, rounds.rows(), scored, best, spread, _labelled(rounds))
    write_whole(rounds.out / "index.html", text.encode())


def _labelled(rounds: Rounds) -> list[LabelledRound]:
    found, now = [], rounds.states()
    for number in range(1, rounds.settings.rounds + 1):
        folder = rounds.out / f"pseudo-{number}"
        if now[folder.name] == "done":
            run = orjson.loads((folder / "run.json").read_bytes())
            pictures = sorted((folder / "pictures").glob("*.png"))
            found.append(LabelledRound(number, run["images"], len(run["left_out"]), run["cells"], pictures))
    return found


def _train(rounds: Rounds, stage: Stage) -> dict[str, str]:
    data = [*rounds.settings.annotations, *([rounds.out / f"pseudo-{stage.round}" / "annotations.json"] if stage.round else [])]
    tasks = []
    for name, member in rounds.settings.members.items():
        if stage.round == 0 and member.weights is not None:
            continue
        run = (rounds.out / stage.name / name).resolve()
        config = rounds.config(name, stage.round).model_dump(mode="json")
        arguments = {"config": config, "data": [path.resolve() for path in data], "run": run}
        needs = rounds.settings.train_needs
        tasks.append(Task(f"{stage.name} of {name}", f"{TASKS}:train_member", arguments, needs.cpus, needs.gpus, (run / WEIGHTS,)))
    return run_tasks(tasks, rounds.ray)


def _predict(rounds: Rounds, stage: Stage, images: Mapping[str, Sequence[Path]], number: int) -> dict[str, str]:
    """Predict each member's images with its weights of a round."""
    tasks, needs = [], rounds.settings.predict_needs
    for name, files in images.items():
        for shard in range(min(rounds.settings.shards, len(files))):
            arguments = {
                "weights": rounds.weights(name, number),
                "images": files[shard :: rounds.settings.shards],
                "out": (rounds.out / stage.name / name).resolve(),
                "tta": rounds.settings.tta.model_dump(mode="json"),
            }
            label = f"{stage.name} of {name}" + (f", shard {shard + 1}" if rounds.settings.shards > 1 else "")
            tasks.append(Task(label, f"{TASKS}:predict_images", arguments, needs.cpus, needs.gpus))
    return run_tasks(tasks, rounds.ray)


def _score(rounds: Rounds, stage: Stage) -> dict[str, str]:
    members = rounds.settings.members
    images = {name: [sample.image.resolve() for sample in rounds.held_out[member.fold]] for name, member in members.items()}
    if failures := _predict(rounds, stage, images, stage.round):
        return failures
    folders = {name: (member.fold, rounds.out / stage.name / name) for name, member in members.items()}
    thresholds = next(iter(rounds.configs.values())).postprocess
    found = score_round(rounds.held_out, folders, rounds.settings.fuse, thresholds, rounds.settings.evaluation.type_weights)
    write_whole(rounds.out / stage.name / "scores.json", found.model_dump_json(indent=1).encode())
    return {}


def _pseudo(rounds: Rounds, stage: Stage, console: Console) -> dict[str, str]:
    runs = read_runs([rounds.out / f"predict-{stage.round}" / name for name in rounds.settings.members])
    chosen = {"fuse": rounds.settings.fuse, "pseudo": rounds.settings.pseudo}
    settings = runs.settings_of(PseudoRunSettings).model_copy(update=chosen)
    summary = pseudo.label_folder(runs, rounds.out / stage.name, settings, read_annotated(rounds.settings.annotations), console=console)
    console.print(summary.table())
    if not summary.images:
        raise InputError(
            f"{rounds.out / stage.name}: no image has pseudo-labels: look at its pictures, then lower `pseudo` or leave rounds"
        )
    return summary.failures


def _final(rounds: Rounds) -> dict[str, str]:
    kept, folder = rounds.kept(), rounds.out / "members"
    assert kept is not None  # every round has been scored
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    copies = [folder / f"{number}_{name}{SUFFIX}" for number, name in enumerate(rounds.settings.members, start=1)]  # the first leads
    for name, copy in zip(rounds.settings.members, copies, strict=True):
        shutil.copyfile(rounds.weights(name, kept.best), copy)
    write_whole(folder / SUMS, sums_text(copies).encode())
    return {}
