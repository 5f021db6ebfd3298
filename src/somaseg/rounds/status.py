"""How far rounds are: stages with their state, scores, and what was labelled."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from somaseg.evaluation.map_iou import MapIou
from somaseg.evaluation.matching import Record

STATES = {
    "done": "done",
    "begun": "begun",
    "open": "not begun",
    "stale": "made from other settings",
    "skipped": "not needed: the round before gained no more than chance",
}


class RoundScores(Record):
    """Out-of-fold scores of a round, as `scores.json` has them.

    Attributes:
        members: of each member by name, on its own fold.
        fused: of the fused members of each fold, over the images of all folds.
    """

    members: dict[str, MapIou]
    fused: MapIou


@dataclass(frozen=True)
class StageRow:
    """A stage of the plan.

    Attributes:
        name, tasks: of the stage.
        state: a key of `STATES`.
        took: seconds so far, of a stage that has begun.
        estimate: seconds of the whole stage, one task after another; None where nothing is known of the speed.
        disk: bytes that it takes.
    """

    name: str
    tasks: int
    state: str
    took: float
    estimate: float | None
    disk: int

    def texts(self) -> tuple[str, str, str, str, str, str]:
        """A cell a column of `COLUMNS`."""
        estimate = "" if self.state in ("done", "skipped") else duration(self.estimate)
        return self.name, STATES[self.state], str(self.tasks), duration(self.took) if self.took else "", estimate, size(self.disk)


COLUMNS = ("stage", "state", "tasks", "took", "estimate", "disk")


@dataclass(frozen=True)
class LabelledRound:
    """What a round made of the unlabelled images.

    Attributes:
        round: its number.
        images: with pseudo-labels.
        left_out: images that have none.
        cells: by class and fate.
        pictures: files.
    """

    round: int
    images: int
    left_out: int
    cells: Mapping[str, Mapping[str, int]]
    pictures: Sequence[Path]


UNKNOWN = "?"


def duration(seconds: float | None) -> str:
    """Seconds in words."""
    if seconds is None:
        return UNKNOWN
    for unit, length in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 1.5 * length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.0f} s"


def size(count: int) -> str:
    """Bytes in words."""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"
