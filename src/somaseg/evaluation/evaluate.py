"""The stage `evaluate`: read predictions and truth, pair their images, score them, write the scores.

Matching disregards class everywhere; "by class" means by the cell type of the truth's image.
"""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import numpy as np

from somaseg.annotations.image_folder import pair_names
from somaseg.annotations.read import inspect_annotations, locate, read_annotations, refuse
from somaseg.annotations.samples import Problem, Sample
from somaseg.annotations.submission import is_result_list, is_submission, read_result_list, read_submission
from somaseg.errors import InputError
from somaseg.evaluation.cell_scores import CellScores, cell_scores, image_cells
from somaseg.evaluation.coco_ap import CocoAp, coco_ap
from somaseg.evaluation.map_iou import MapIou, summarise
from somaseg.evaluation.matching import Record, compare_cells, comparison_counts, precision
from somaseg.evaluation.report import precision_figure
from somaseg.figures import can_draw
from somaseg.files import whole, write_whole
from somaseg.instances import Instances
from somaseg.texts.tables import csv_table, writable


class ImageScore(Record):
    """The scores of one image, a row of `images.csv`.

    Attributes:
        image: its name.
        cell_type: of the truth.
        map_iou: the mean of TP / (TP + FP + FN) over `somaseg.evaluation.matching.THRESHOLDS`.
        f1: at IoU .5.
        aji: aggregated Jaccard index.
        true: true cells.
        predicted: predicted cells.
        found: true cells with a partner of IoU above .5.
    """

    image: str
    cell_type: str
    map_iou: float
    f1: float
    aji: float
    true: int
    predicted: int
    found: int


class Evaluation(Record):
    """Everything that `somaseg evaluate` finds.

    Attributes:
        map_iou: the competition's score.
        cells: F1, PQ, AJI and counts of all images.
        cells_by_class: the same for each cell type.
        coco_ap: COCO mask AP.
        missing: images without a prediction; they count as images in which nothing was found.
        ignored: predicted images that the truth does not have; they do not count.
        remarks: what was odd about the truth or the predictions and changes what is counted.
        images: each image, worst `map_iou` first.
    """

    map_iou: MapIou
    cells: CellScores
    cells_by_class: dict[str, CellScores]
    coco_ap: CocoAp
    missing: tuple[str, ...]
    ignored: tuple[str, ...]
    remarks: tuple[str, ...] = ()
    images: tuple[ImageScore, ...]

    def notes(self) -> list[str]:
        """What a reader of the scores must know about the pairing of images, one sentence each."""
        notes = []
        if self.missing:
            notes.append(
                f"images without a prediction, counted as empty: {len(self.missing)} of {len(self.images)} ({_some(self.missing)})"
            )
        if self.ignored:
            notes.append(f"predicted images that the truth does not have, left out: {len(self.ignored)} ({_some(self.ignored)})")
        return [*notes, *self.remarks]


def evaluate(pred: Path, truth: Path, weights: Mapping[str, float] | None = None) -> Evaluation:
    """Score the predictions of a file or folder against the truth of another, images paired by name.

    Args:
        pred: the output folder of `somaseg segment`, a Kaggle submission (CSV with the columns id and predicted; it has no
            scores, so that its `coco_ap` means little), a COCO list of results, or anything that `read_annotations` reads.
        truth: anything that `read_annotations` reads.
        weights: proportions of the cell types, see `metrics.map_iou`.

    Raises:
        InputError: when a file cannot be read, sizes differ, no image of the truth was predicted, or the weights do not fit.
    """
    samples, problems = inspect_annotations(truth)
    refuse(truth, problems, opened=False)
    if not samples:
        raise InputError(f"{truth}: holds no image: give the annotations of at least one")
    predictions, others = read_predictions(pred, samples)
    check_paired(pred, predictions, others, truth, samples)
    return score_samples(samples, predictions, weights, others, _remarks(problems))


def _remarks(problems: Sequence[Problem]) -> tuple[str, ...]:
    """The first problem of each kind that changes what is counted."""
    remarks = []
    for kind in ("image listed twice", "only crowds", "bad piece"):
        found = [problem.message for problem in problems if problem.kind == kind]
        more = f" ({len(found) - 1} more like this)" if len(found) > 1 else ""
        remarks += [f"{kind}: {found[0]}{more}"] if found else []
    return tuple(remarks)


def score_samples(
    samples: Sequence[Sample],
    predictions: Mapping[str, Instances],
    weights: Mapping[str, float] | None = None,
    ignored: tuple[str, ...] = (),
    remarks: tuple[str, ...] = (),
) -> Evaluation:
    """Score predictions, by the name of the image, against samples; an image without a prediction counts as empty.

    Ignored regions of a sample are neither cell nor background, see `matching`.
    """
    pairs = [(predicted(predictions, sample), sample.instances, sample.ignored) for sample in samples]
    types = [sample.type_name for sample in samples]
    rows, table, cells = [], [], []
    for sample, cell_type, pair in zip(samples, types, pairs, strict=True):
        comparison = compare_cells(*pair)
        table.append(precision(*comparison_counts(comparison)))
        cells.append(image_cells(comparison))
        rows.append(
            ImageScore(
                image=sample.name,
                cell_type=cell_type,
                map_iou=float(table[-1].mean()),
                f1=cells[-1].f1,
                aji=cells[-1].aji,
                true=cells[-1].true,
                predicted=cells[-1].predicted,
                found=cells[-1].found,
            )
        )
    return Evaluation(
        map_iou=summarise(np.array(table), types, weights),
        cells=cell_scores(cells),
        cells_by_class={t: cell_scores([c for c, of in zip(cells, types, strict=True) if of == t]) for t in sorted(set(types))},
        coco_ap=coco_ap(pairs, types),
        missing=tuple(sample.name for sample in samples if sample.name not in predictions),
        ignored=ignored,
        remarks=remarks,
        images=tuple(sorted(rows, key=lambda row: (row.map_iou, row.image))),
    )


def write_evaluation(evaluation: Evaluation, out: Path) -> list[Path]:
    """Write `metrics.json`, `images.csv` (worst image first) and, with the extra `plots`, `precision.png`; returns their paths."""
    paths = [out / "metrics.json", out / "images.csv"]
    write_whole(paths[0], evaluation.model_dump_json(indent=2, exclude={"images"}) + "\n")
    rows = [{**row.model_dump(), "image": writable(row.image)} for row in evaluation.images]
    write_whole(paths[1], csv_table(list(rows[0]) if rows else [], [list(row.values()) for row in rows]))
    if can_draw():
        paths.append(out / "precision.png")
        with whole(paths[-1]) as part:
            precision_figure(evaluation.map_iou).savefig(part, format="png", dpi=160)
    return paths


def read_predictions(path: Path, samples: Sequence[Sample]) -> tuple[dict[str, Instances], tuple[str, ...]]:
    """Predicted cells by name of the image, and the names of predicted images that are not among `samples`."""
    if is_submission(path):
        return read_submission(path, {sample.name: sample.instances.size for sample in samples})
    if path.exists() and is_result_list(file := locate(path)):
        return read_result_list(file, samples)
    found = {sample.name: sample.instances for sample in read_annotations(path, opened=False)}
    names = pair_names(found, [sample.name for sample in samples])
    return {names[name]: cells for name, cells in found.items() if name in names}, tuple(name for name in found if name not in names)


def check_paired(pred: Path, predictions: Collection[str], others: Sequence[str], truth: Path, samples: Sequence[Sample]) -> None:
    """Raise InputError when `predictions`, names of the images of `pred` that are among `samples`, are none; `others` are the rest."""
    if not predictions:
        names = [sample.name for sample in samples]
        raise InputError(
            f"{pred}: has none of the {len(names)} images of {truth} ({_some(names)}); its images are {_some(others) or 'none'}: "
            "images are paired by name, so give both the same file names"
        )


def predicted(predictions: Mapping[str, Instances], sample: Sample) -> Instances:
    """The cells predicted for an image; none where it has no prediction.

    Raises:
        InputError: when they are of an image of another size.
    """
    truth = sample.instances
    pred = predictions.get(sample.name, Instances.empty(truth.size, truth.classes))
    if pred.size != truth.size:
        raise InputError(f"image {sample.name}: prediction of size {pred.size}, truth of size {truth.size}: predict at the truth's size")
    return pred


def parse_weights(text: str) -> dict[str, float]:
    """Weights by cell type from `shsy5y=155,astro=131,cort=320`."""
    try:
        pairs = [part.split("=") for part in text.split(",")]
        return {name.strip(): float(value) for name, value in pairs}
    except ValueError:
        raise InputError(f"weights by type: found {text!r}, expected a form like shsy5y=155,astro=131,cort=320") from None


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
