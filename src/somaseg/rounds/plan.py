"""What rounds of self-training consist of: stages, what each depends on, which are done, when to stop, what they will take.

Pure functions: nothing here reads or writes a file.
"""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

State = Literal["done", "stale", "begun", "open"]
PREDICTION_BYTES = 1_000_000  # of an image: 596 detections take .95 MB (docs/architecture.md)


@dataclass(frozen=True)
class Stage:
    """A step of the whole, and a folder on disk.

    Attributes:
        name: kind and round, such as `train-1`.
        kind: train, score, predict, pseudo or final.
        round: 0 is the first training.
        after: names of the stages that it reads.
    """

    name: str
    kind: str
    round: int
    after: tuple[str, ...]


@dataclass(frozen=True)
class StageRecord:
    """What is on disk of a stage.

    Attributes:
        key: of what it is made from, see `keys`.
        done: whether it has ended; else it has begun.
        seconds: that its runs took together.
    """

    key: str
    done: bool
    seconds: float


@dataclass(frozen=True)
class BestRound:
    """What the scores say.

    Attributes:
        best: the round to keep.
        stop: the round that gained no more than chance, after which there is no other; None where there is none yet.
    """

    best: int
    stop: int | None


def make_plan(rounds: int) -> tuple[Stage, ...]:
    """All stages in their order, for this many rounds after the first training."""
    stages = [Stage("train-0", "train", 0, ()), Stage("score-0", "score", 0, ("train-0",))]
    for r in range(1, rounds + 1):
        stages += [
            Stage(f"predict-{r}", "predict", r, (f"train-{r - 1}",)),
            Stage(f"pseudo-{r}", "pseudo", r, (f"predict-{r}",)),
            Stage(f"train-{r}", "train", r, (f"pseudo-{r}", f"train-{r - 1}")),
            Stage(f"score-{r}", "score", r, (f"train-{r}",)),
        ]
    return (*stages, Stage("final", "final", rounds, tuple(f"score-{r}" for r in range(rounds + 1))))


def keys(plan: Sequence[Stage], made_from: Mapping[str, Any]) -> dict[str, str]:
    """A digest of all that a stage depends on, itself and through the stages before, by its name.

    Args:
        plan: in order.
        made_from: what each kind of stage is made from, as JSON takes it; `train` of round 0 is `first`, that of later ones `finetune`.
    """
    found: dict[str, str] = {}
    for stage in plan:
        kind = ("first" if stage.round == 0 else "finetune") if stage.kind == "train" else stage.kind
        content = [stage.name if stage.kind != "final" else "final", made_from[kind], [found[name] for name in stage.after]]
        found[stage.name] = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    return found


def states(plan: Sequence[Stage], wanted: Mapping[str, str], records: Mapping[str, StageRecord]) -> dict[str, State]:
    """How far each stage is: done, begun, open, or stale, which is made from other things than are asked for now."""
    found: dict[str, State] = {}
    for stage in plan:
        record = records.get(stage.name)
        if record is None:
            found[stage.name] = "open"
        elif record.key != wanted[stage.name]:
            found[stage.name] = "stale"
        else:
            found[stage.name] = "done" if record.done else "begun"
    return found


def dependents(plan: Sequence[Stage], name: str) -> tuple[str, ...]:
    """The stage and all that read it, themselves or through others, in order."""
    found = [name]
    for stage in plan:
        if stage.name not in found and set(stage.after) & set(found):
            found.append(stage.name)
    return tuple(found)


def seed_spread(scores: Sequence[float], folds: Sequence[int]) -> float:
    """Standard deviation of the scores of members that differ in their seed alone, pooled over folds; 0 where no fold has two."""
    squares, freedom = 0.0, 0
    for fold in set(folds):
        own = [score for score, of in zip(scores, folds, strict=True) if of == fold]
        mean = sum(own) / len(own)
        squares += sum((score - mean) ** 2 for score in own)
        freedom += len(own) - 1
    return math.sqrt(squares / freedom) if freedom else 0.0


def keep_best(scores: Sequence[float], spread: float) -> BestRound:
    """Which round to keep, and where to stop.

    Args:
        scores: out-of-fold `map_iou` of the fused members, of rounds 0, 1 and so on, as far as they are known; at least one.
        spread: of that score between seeds; a gain over the best round before that is no larger ends the rounds.
    """
    best = 0
    for number, score in enumerate(scores[1:], start=1):
        gain = score - scores[best]
        if gain > 0:
            best = number
        if gain <= spread:
            return BestRound(best, number)
    return BestRound(best, None)


def skipped(plan: Sequence[Stage], kept: BestRound | None) -> tuple[str, ...]:
    """The stages of rounds after the one at which to stop."""
    last = None if kept is None else kept.stop
    return () if last is None else tuple(stage.name for stage in plan if stage.round > last and stage.kind != "final")


@dataclass(frozen=True)
class StageWork:
    """What a stage goes through.

    Attributes:
        tasks: how many there are.
        steps: training steps of all tasks together.
        images: predicted images of all tasks together.
        weights: files of weights that it leaves, resumable state included, in sizes of one.
    """

    tasks: int = 1
    steps: int = 0
    images: int = 0
    weights: int = 0


def seconds(work: StageWork, per_step: float | None, per_image: float | None) -> float | None:
    """How long the stage will take, one task after another; None where the time of a step or an image is needed but not known."""
    if (work.steps and per_step is None) or (work.images and per_image is None):
        return None
    return work.steps * (per_step or 0) + work.images * (per_image or 0)


def disk(work: StageWork, weight_bytes: int) -> int:
    """Bytes that the stage will take."""
    return work.weights * weight_bytes + work.images * PREDICTION_BYTES
