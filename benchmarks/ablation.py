"""What each step of the method is worth on held-out images, from saved predictions: the tables of docs/ablation.md.

    somaseg predict HELD_OUT --weights MODEL_A --out predictions/a        (and so on, one folder a model)
    python benchmarks/ablation.py ROWS.yaml --annotations ANNOTATIONS --out DIR

ROWS.yaml lists the rows (`Row` below; benchmarks/ablation.yaml is an example); their folders are relative to the working folder. The
images must be ones that no model was trained on, and the same in all folders. Every row starts from the same thresholds, those of the
settings and not of the weights, whose own may have been chosen on these very images. Thresholds are chosen on one half of the images, by
field of view, and scored on the other (`cross_fit.py`).

Written are `table.md`, `forest.png` (the differences), `results.json` (every number, the settings chosen for each half, what the
predictions were made with), and `rows/`, from which a rerun takes rows that it has already. What a row's numbers depend on is its
predictions, the truth, its settings and the version of somaseg; delete `rows/` after a change to the code.
"""

import argparse
import hashlib
import json
import os
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

os.environ["OMP_NUM_THREADS"] = "1"  # before NumPy loads its BLAS: processor time is that of one core

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator
from rich.console import Console
from rich.markdown import Markdown

from ablation_report import Line, forest_figure, tables
from cross_fit import GRID, ROUNDS, Images, cross_fitted, halved, scorer_of
from full_set import FULL_SET_IMAGES
from somaseg.annotations.read import read_annotations
from somaseg.batch.saved.saved_runs import SavedRuns, about_models, read_runs
from somaseg.config import FuseSettings, PostprocessSettings, SegmentSettings, Settings, load_settings
from somaseg.errors import InputError
from somaseg.evaluation.map_iou import MapIou, summarise
from somaseg.evaluation.matching import Record
from somaseg.files import write_whole
from somaseg.tuning.cross_fitting import Tuning
from somaseg.tuning.trials import Case, method
from somaseg.tuning.tune import read_cases, study_key

DRAWS, SEED = 1000, 0
"""Of the bootstrap."""


@dataclass(frozen=True)
class Way:
    """From raw detections to cells: settings to start from, and which of their thresholds are chosen."""

    postprocess: PostprocessSettings
    fields: tuple[str, ...] = tuple(GRID)
    by_class: bool = True


# Detectron2 pastes at .5, suppresses boxes at IoU .5 and has one least score for everything.
RAW = PostprocessSettings(steps=("screen", "box_nms", "paste"), box_nms_iou=0.5, mask_thresh={"default": 0.5})
WAYS = {
    "raw": Way(RAW, ("score_thresh",), by_class=False),
    "voted": Way(RAW.model_copy(update={"steps": ("vote", *RAW.steps)}), ("score_thresh",)),
    "scores": Way(PostprocessSettings(), ("score_thresh",)),
    "full": Way(PostprocessSettings()),
}


class Row(Settings):
    """A row of the table.

    Attributes:
        name: of the row.
        predictions: folders of `somaseg predict`, one a model, the best one first.
        postprocess: "raw" is what a detector without any of our steps gives (least score, box NMS, mask at .5, one least score for all);
            "voted" gives all cells the class of the image, and each class its least score; "full" is what the product does,
            and "scores" the same with no other thresholds chosen than least scores.
        fuse: how several models are fused.
        rescored: whether each model's scores are multiplied by its `map_iou` on the images that thresholds are chosen on, over that of the
            best model for the class.
        against: name of the row above that this one builds on.
    """

    name: str
    predictions: tuple[Path, ...] = Field(min_length=1)
    postprocess: Literal["raw", "voted", "scores", "full"] = "full"
    fuse: FuseSettings = FuseSettings()
    rescored: bool = False
    against: str | None = None

    @model_validator(mode="after")
    def _fusion_needs_models(self) -> Self:
        if len(self.predictions) == 1 and {"fuse", "rescored"} & self.model_fields_set:
            raise ValueError("fuse and rescored are for several models: give several folders of predictions, or leave them out")
        if len(self.predictions) > 1 and self.postprocess in ("raw", "voted"):
            raise ValueError("fused cells go through the steps that `fuse` lists: give postprocess full or scores")
        return self


class Rows(Settings):
    """The rows, each below the one that it builds on."""

    rows: tuple[Row, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _names_are_known(self) -> Self:
        seen: set[str] = set()
        for row in self.rows:
            if row.name in seen:
                raise ValueError(f"two rows are called {row.name!r}: give each a name of its own")
            if row.against is not None and row.against not in seen:
                raise ValueError(f"row {row.name!r} is against {row.against!r}, which is no row above it")
            seen.add(row.name)
        return self


class Found(Record):
    """What was computed for a row.

    Attributes:
        precisions: TP / (TP + FP + FN) by name of the image, at each IoU threshold.
        settings: those that the images of half 0 are scored with, and those of half 1.
        milliseconds: median processor time of an image's post-processing and fusion.
    """

    precisions: dict[str, tuple[float, ...]]
    settings: tuple[SegmentSettings, SegmentSettings]
    milliseconds: float


@dataclass(frozen=True, eq=False)
class Input:
    """What a row is computed from."""

    row: Row
    runs: SavedRuns
    cases: Sequence[Case]
    halves: NDArray[np.int64]

    @property
    def start(self) -> SegmentSettings:
        """The settings to start from."""
        return SegmentSettings(postprocess=WAYS[self.row.postprocess].postprocess, fuse=self.row.fuse)

    @property
    def digest(self) -> str:
        """Changes with all that the row's numbers depend on, but for the code; not with its name or what it is compared to."""
        way = WAYS[self.row.postprocess]
        parts = study_key(self.runs, Tuning(self.cases, self.halves, self.start, trials=0, seed=0))
        chosen = [GRID, ROUNDS, way.fields, way.by_class, self.row.rescored]
        return hashlib.sha256(json.dumps([parts, chosen], sort_keys=True).encode()).hexdigest()

    def compute(self) -> Found:
        """Choose thresholds on each half, score them on the other."""
        way = WAYS[self.row.postprocess]
        members = self._member_scores() if self.row.rescored else None

        def fit(seen: Images) -> SegmentSettings:
            return self.start if members is None else self._rescored(members, seen)

        found = cross_fitted(self.cases, self.halves, fit, way.fields, way.by_class)
        by_name = {case.name: tuple(line) for case, line in zip(self.cases, found.precisions.tolist(), strict=True)}
        return Found(precisions=by_name, settings=found.settings, milliseconds=self._milliseconds(found.settings))

    def _member_scores(self) -> NDArray[np.float64]:
        """`map_iou` of each model alone on each image (models, images), with the thresholds to start from."""
        scores = []
        for number in range(len(self.row.predictions)):
            alone = [Case(case.name, (case.predictions[number],), case.truth, case.cell_type) for case in self.cases]
            with scorer_of(alone, self.start) as scorer:
                scores.append(scorer.scores(self.start, range(len(alone))))
        return np.array(scores)

    def _rescored(self, members: NDArray[np.float64], seen: Images) -> SegmentSettings:
        types = np.array([case.cell_type for case in self.cases])[seen]
        means = {str(name): members[:, seen[types == name]].mean(axis=1) for name in np.unique(types)}
        weights = [
            {"default": 1.0} | {name: float(own[i] / max(own.max(), 1e-9)) for name, own in means.items()} for i in range(len(members))
        ]
        return self.start.model_copy(update={"fuse": self.row.fuse.model_copy(update={"member_weights": tuple(weights)})})

    def _milliseconds(self, settings: Sequence[SegmentSettings]) -> float:
        seconds = []
        for case, half in zip(self.cases, self.halves.tolist(), strict=True):
            cells = method(settings[half], len(case.predictions), case.truth.classes).cells
            begin = time.process_time()
            cells(case.predictions)
            seconds.append(time.process_time() - begin)
        return statistics.median(seconds) * 1e3


def found_of(given: Input, folder: Path, console: Console) -> Found:
    """The numbers of a row: from an earlier run, or computed and kept."""
    path = folder / f"{given.digest[:16]}.json"
    if path.is_file():
        return Found.model_validate_json(path.read_text(encoding="utf-8"))
    begin = time.perf_counter()
    found = given.compute()
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(path, found.model_dump_json(indent=1).encode())
    console.print(f"{given.row.name}: {time.perf_counter() - begin:.0f} s")
    return found


def summary(given: Input, found: Found, base: Found | None = None) -> MapIou:
    """The scores of a row, or how much they are above those of another row; the same images are drawn in both."""
    lines = np.array([found.precisions[case.name] for case in given.cases])
    if base is not None:
        lines = lines - np.array([base.precisions[case.name] for case in given.cases])
    return summarise(lines, [case.cell_type for case in given.cases], FULL_SET_IMAGES, DRAWS, SEED)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", type=Path, help="YAML file with the rows")
    parser.add_argument("--annotations", type=Path, required=True, help="truth of the images")
    parser.add_argument("--out", type=Path, required=True, help="folder for the results")
    arguments = parser.parse_args()
    console = Console()

    truth = read_annotations(arguments.annotations)
    founds: dict[str, Found] = {}
    lines: list[Line] = []
    results = []
    for row in load_settings(Rows, arguments.rows).rows:
        runs = read_runs(row.predictions)
        cases, samples = read_cases(runs, truth)
        given = Input(row, runs, cases, halved(samples))
        found = founds[row.name] = found_of(given, arguments.out / "rows", console)
        if set(found.precisions) != set(next(iter(founds.values())).precisions):
            raise InputError(f"{arguments.rows}: row {row.name!r} has other images than the first row: predict the same images for all")
        difference = None if row.against is None else summary(given, found, founds[row.against])
        lines.append(Line(row.name, row.against, summary(given, found), difference, found.milliseconds))
        results.append(
            {
                "name": row.name,
                "against": row.against,
                "digest": given.digest,
                "models": about_models(runs),
                "settings_by_half": [own.model_dump(mode="json", exclude={"tta"}) for own in found.settings],
                "milliseconds": found.milliseconds,
                "map_iou": lines[-1].score.model_dump(),
                "difference": None if difference is None else difference.model_dump(),
            }
        )
    table = tables(lines)
    about = {
        "images": len(cases),
        "halves": {case.name: half for case, half in zip(cases, given.halves.tolist(), strict=True)},
        "bootstrap": {"draws": DRAWS, "seed": SEED},
        "rows": results,
    }
    write_whole(arguments.out / "results.json", json.dumps(about, indent=1).encode())
    write_whole(arguments.out / "table.md", table.encode())
    forest_figure(lines).savefig(arguments.out / "forest.png", dpi=120)
    console.print(Markdown(table))


if __name__ == "__main__":
    main()
