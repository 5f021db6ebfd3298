"""The stage `tune`: thresholds chosen on saved predictions with truth, what that is worth, and the settings file."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
import yaml
from rich.console import Console

from somaseg.annotations.read import read_annotations
from somaseg.annotations.samples import Sample, with_classes
from somaseg.batch.saved.prediction_file import load_prediction
from somaseg.batch.saved.saved_runs import SavedRuns
from somaseg.config import SegmentSettings, TuneRunSettings
from somaseg.data.groups import grouped
from somaseg.data.splits import make_folds
from somaseg.errors import InputError
from somaseg.evaluation.map_iou import check_type_weights
from somaseg.files import whole, write_whole
from somaseg.tuning.cross_fitting import Tuning, TuningResult, tune
from somaseg.tuning.report import response_figure, verdict
from somaseg.tuning.search import Studies
from somaseg.tuning.trials import Case


@dataclass(frozen=True)
class TuneRequest:
    """What to tune, on what, and where the results go.

    Attributes:
        truth: annotations.
        out: the YAML file to write.
        settings: thresholds to begin with, and the proportions of the cell types in the score.
        study: SQLite file with all trials, from which a search that was stopped goes on; by default `out` with the suffix .db.
        report: folder for `tuning.json` and `response.png`; by default `out` without a suffix.
        trials: of each search; there is one a fold, and one on all images.
        folds: into which the images are parted by field of view.
        seed: of the folds and the searches.
        find_groups: whether to look for images of one field, too.
        force: write the chosen settings whatever the gain is.
        processes: among which the images are shared out; None takes one a core.
    """

    truth: Path
    out: Path
    settings: TuneRunSettings
    study: Path | None = None
    report: Path | None = None
    trials: int = 60
    folds: int = 2
    seed: int = 0
    find_groups: bool = False
    force: bool = False
    processes: int | None = None


def tune_runs(runs: SavedRuns, request: TuneRequest, console: Console | None = None) -> tuple[TuningResult, list[Path]]:
    """Choose thresholds for saved predictions, score them by cross-fitting, and write settings.

    The settings are those chosen on all images where the cross-fitted gain is outside the noise, and those to begin with where it is not.

    Args:
        runs: predictions of images that the models were not trained on; of several models fusion is tuned too, in their order.
        request: what to do.
        console: where to show a progress bar; None shows none.

    Returns:
        What was found, and the files that were written, the settings first.

    Raises:
        InputError: when predictions, truth, folds or settings do not fit each other, or the study is of another search.
    """
    out = request.out
    study, report = request.study or out.with_suffix(".db"), request.report or out.with_suffix("")
    if out.suffix.lower() not in (".yaml", ".yml"):
        raise InputError(f"{out}: expected the name of a YAML file for the settings, such as {out.with_suffix('.yaml')}")
    tuning = _tuning(runs, request)
    tuned, found = tune(tuning, Studies(study, study_key(runs, tuning)), request.processes, console)
    takes_chosen = tuned.is_sure or request.force
    which = "thresholds chosen on all images" if takes_chosen else "thresholds to begin with, as tuning gained nothing that is sure"
    written = found.settings if takes_chosen else tuning.start
    write_settings(out, written, tuning.models, f"somaseg tune: {which}.\n{verdict(tuned)}")
    write_whole(report / "tuning.json", tuned.model_dump_json(indent=2) + "\n")
    with whole(report / "response.png") as part:
        response_figure(found, written).savefig(part, format="png", dpi=120)
    return tuned, [out, report / "tuning.json", report / "response.png", study]


def _tuning(runs: SavedRuns, request: TuneRequest) -> Tuning:
    """The images with their folds, and where the search begins."""
    settings, truth = request.settings, request.truth
    cases, samples = read_cases(runs, read_annotations(truth))
    check_type_weights(settings.evaluation, [case.cell_type for case in cases], runs.classes, f"{truth} that were predicted")
    folds = make_folds(grouped(samples, find=request.find_groups), request.folds, request.seed, source=str(truth))
    start = SegmentSettings(tta=settings.tta, postprocess=settings.postprocess, fuse=settings.fuse)
    numbers = np.array([folds[case.name] for case in cases])
    return Tuning(cases, numbers, start, request.trials, request.seed, settings.evaluation.type_weights)


def read_cases(runs: SavedRuns, samples: Sequence[Sample]) -> tuple[list[Case], list[Sample]]:
    """The images that have both predictions and truth, paired by name, and their samples.

    Raises:
        InputError: when there is none, a prediction is damaged, or the truth has another size or classes that the models do not know.
    """
    for failure in runs.failures.values():
        raise InputError(failure)
    truth = {sample.name: sample for sample in samples}
    cases, paired = [], []
    for members in runs.images:
        name = members.files[0].stem
        if name not in truth:
            continue
        sample = with_classes(truth[name], runs.classes)
        predictions = tuple(load_prediction(file).prediction for file in members.files)
        if predictions[0].size != sample.instances.size:
            raise InputError(
                f"{members.files[0]}: size: found {predictions[0].size}, the truth of {name} has {sample.instances.size}: "
                "predict the images that were annotated"
            )
        cases.append(Case(name, predictions, sample.instances, sample.type_name, sample.ignored))
        paired.append(sample)
    if not cases:
        raise InputError(
            f"{runs.folders[0]}: none of its {len(runs.images)} images is among the {len(samples)} of the truth: "
            "images are paired by name, so give both the same file names"
        )
    return cases, paired


def study_key(runs: SavedRuns, tuning: Tuning) -> dict[str, str]:
    """What the scores of trials depend on, by its name in messages, as text that changes when it does."""
    names = {case.name for case in tuning.cases}
    origins = {m.files[0].stem: [origin.key() for origin in m.origins] for m in runs.images if m.files[0].stem in names}
    truth = hashlib.sha256()
    for case in tuning.cases:
        truth.update(f"{case.name} {case.cell_type}".encode())
        for part in (case.truth, case.ignored):
            if part is not None:
                truth.update(part.boxes.tobytes() + b"".join(m.tobytes() for m in part.masks))
    return {
        "predictions": hashlib.sha256(json.dumps(origins, sort_keys=True).encode()).hexdigest(),
        "truth": truth.hexdigest(),
        "folds": hashlib.sha256(tuning.folds.tobytes()).hexdigest(),
        "starting settings": json.dumps([tuning.start.model_dump(mode="json"), dict(tuning.type_weights)]),
        "seed": str(tuning.seed),
        "version of somaseg": version("somaseg"),
    }


def write_settings(path: Path, settings: SegmentSettings, models: int, comment: str) -> None:
    """Settings as YAML that `segment`, `postprocess` and `fuse` take, below a comment of one or more lines."""
    values = settings.model_dump(mode="json", exclude={"detect", "tiles"} if models > 1 else {"detect", "fuse", "tiles"})
    lines = "".join(f"# {line}\n" for line in comment.splitlines())
    write_whole(path, lines + yaml.safe_dump(values, sort_keys=False))
