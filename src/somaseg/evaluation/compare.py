"""The stage `compare`: pictures of the images on which results are worst, the truth and the results side by side."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image
from rich.table import Table

from somaseg.annotations.samples import Sample
from somaseg.batch.saved.prediction_file import SUFFIX, load_prediction
from somaseg.batch.saved.saved_runs import read_runs
from somaseg.config import PostprocessSettings
from somaseg.errors import InputError
from somaseg.evaluation import panels as pictures
from somaseg.evaluation.evaluate import check_paired, predicted, read_predictions
from somaseg.evaluation.panels import JudgedCells, Part
from somaseg.export.overlay import png
from somaseg.files import write_whole
from somaseg.fusion.methods import single
from somaseg.images.normalize import to_grey
from somaseg.images.read import read_image
from somaseg.instances import Instances


@dataclass(frozen=True)
class PictureSettings:
    """What pictures show.

    Attributes:
        iou: a cell hits a true one when their IoU is above this.
        colour: cells by outcome (hit, miss, false alarm) or by score.
        steps: whether to also draw what each step of post-processing removed.
        zoom: x0 y0 x1 y1, the part of the image to show; None for all of it.
    """

    iou: float = 0.5
    colour: Literal["outcome", "score"] = "outcome"
    steps: bool = False
    zoom: Part | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.iou < 1:
            raise InputError(f"iou: found {self.iou}, expected a number from 0 up to but not 1: cells hit above it")


@dataclass(frozen=True)
class Side:
    """What one side found.

    Attributes:
        name: in titles.
        cells: by name of the image.
        files: the saved predictions that they were made from, by name of the image; none where the cells were read as they are.
        postprocess: made the cells of saved predictions; None where there are none.
        notes: what a reader must know, one sentence each.
    """

    name: str
    cells: dict[str, Instances]
    files: dict[str, Path] = field(default_factory=dict)
    postprocess: PostprocessSettings | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class ImagePictures:
    """An image with pictures.

    Attributes:
        name: of the image.
        true: number of true cells.
        judged: its cells in each result.
        files: the pictures.
    """

    name: str
    true: int
    judged: tuple[JudgedCells, ...]
    files: tuple[Path, ...]


def read_results(
    paths: Sequence[Path], truth: Path, samples: Sequence[Sample], settings_file: Path | None = None, assignments: Sequence[str] = ()
) -> list[Side]:
    """Read what is compared.

    Args:
        paths: folders of `somaseg predict`, or anything that `somaseg evaluate` scores.
        truth: where `samples` were read from, for messages.
        samples: the truth.
        settings_file: thresholds for saved predictions; what it leaves out stays as it came with the weights.
        assignments: the same as KEY=VALUE.

    Raises:
        InputError: when a path cannot be read, or has none of the images; when a setting is wrong, or there is no use for it.
    """
    names = [path.name if [p.name for p in paths].count(path.name) == 1 else str(path) for path in paths]
    saved = [path.is_dir() and any(path.glob(f"[!.]*{SUFFIX}")) for path in paths]
    if not any(saved) and (settings_file is not None or assignments):
        raise InputError(
            f"settings: {', '.join(names)} hold cells, no predictions to set thresholds for: give a folder of `somaseg predict`"
        )
    results = []
    for name, path, is_saved in zip(names, paths, saved, strict=True):
        if is_saved:
            result, others = _from_predictions(name, path, samples, settings_file, assignments)
        else:
            cells, others = read_predictions(path, samples)
            result = Side(name, cells)
        check_paired(path, result.cells, others, truth, samples)
        results.append(result)
    return results


def compare(
    samples: Sequence[Sample], results: Sequence[Side], out: Path, look: PictureSettings, worst: int = 6, chosen: Sequence[str] = ()
) -> list[ImagePictures]:
    """Write pictures of some images into a folder, DIR/NUMBER_IMAGE.png, the worst image first.

    Args:
        samples: the truth, with its images.
        results: at least one; an image that one lacks counts as one in which it found nothing.
        out: the folder.
        look: what pictures show; with steps also DIR/NUMBER_IMAGE_steps_RESULT.png for each result of saved predictions.
        worst: how many images, those of the least `map_iou`, the mean over results.
        chosen: names of images to draw instead.

    Returns:
        The images in the order of the pictures.

    Raises:
        InputError: when a name is unknown, an image cannot be read, sizes differ, or there are no predictions to draw the steps of.
    """
    if look.steps and not any(result.files for result in results):
        raise InputError("steps: found only cells, expected predictions that steps can start from: give a folder of `somaseg predict`")
    unknown = sorted(set(chosen) - {sample.name for sample in samples})
    if unknown:
        raise InputError(f"image {unknown[0]!r}: is not in the truth: give names of its images, without a suffix such as .png")
    wanted = [sample for sample in samples if not chosen or sample.name in chosen]
    judged = {
        s.name: tuple(pictures.judge(r.name, predicted(r.cells, s), s.instances, look.iou, s.ignored) for r in results) for s in wanted
    }
    wanted.sort(key=lambda sample: (np.mean([one.map_iou for one in judged[sample.name]]), sample.name))
    compared = []
    for number, sample in enumerate(wanted if chosen else wanted[:worst], start=1):
        files = []
        for kind, picture in _pictures(sample, judged[sample.name], results, look):
            files.append(out / f"{number:02d}_{sample.name.replace('/', '_')}{kind}.png")
            write_whole(files[-1], png(picture))
        compared.append(ImagePictures(sample.name, len(sample.instances), judged[sample.name], tuple(files)))
    return compared


def table(compared: Sequence[ImagePictures], iou: float) -> Table:
    """A line for each image and result."""
    shown = Table(title=f"Worst image first; hits, misses and false alarms at IoU above {iou:g}", title_justify="left")
    for name in ("image", "result"):
        shown.add_column(name, overflow="fold")
    for name in ("map_iou", "true", "hits", "misses", "false alarms"):
        shown.add_column(name, justify="right")
    for image in compared:
        for number, one in enumerate(image.judged):
            counts = (image.true, one.hits, image.true - one.hits, one.false_alarms)
            shown.add_row("" if number else image.name, one.name, f"{one.map_iou:.3f}", *map(str, counts))
        shown.add_section()
    return shown


def parse_zoom(text: str) -> Part:
    """A part of an image from `x0,y0,x1,y1`."""
    try:
        x0, y0, x1, y1 = (int(number) for number in text.split(","))
    except ValueError:
        raise InputError(f"zoom: found {text!r}, expected whole numbers x0,y0,x1,y1 in pixels, such as 100,100,300,250") from None
    return x0, y0, x1, y1


def _from_predictions(
    name: str, path: Path, samples: Sequence[Sample], settings_file: Path | None, assignments: Sequence[str]
) -> tuple[Side, tuple[str, ...]]:
    """The result of saved predictions, and the names of images that are not among `samples`."""
    runs = read_runs([path])
    settings = runs.settings(settings_file, assignments).postprocess
    method = single(settings, runs.classes)
    files = {members.files[0].stem: members.files[0] for members in runs.images}
    known = {sample.name for sample in samples} & set(files)
    cells, notes = {}, [f"{name}: {reason}" for reason in runs.failures.values()]
    for image in files:
        if image in known:
            saved = load_prediction(files[image])
            cells[image], _ = method.cells([saved.prediction])
            notes += [f"{name}: {image}: {warning}" for warning in saved.origin.warnings]
    return Side(name, cells, files, settings, tuple(notes)), tuple(image for image in files if image not in known)


def _pictures(
    sample: Sample, judged: Sequence[JudgedCells], results: Sequence[Side], look: PictureSettings
) -> Iterator[tuple[str, Image.Image]]:
    """Each picture of an image, and what its name ends in."""
    truth = sample.instances
    grey = to_grey(np.asarray(read_image(sample.image).picture))
    if grey.shape != truth.size:
        raise InputError(f"{sample.image}: is of size {grey.shape}, its annotation of {truth.size}: give the image that was annotated")
    about = f"{sample.name}, IoU above {look.iou:g}" + ("; numbers of the whole image" if look.zoom else "")
    if look.colour == "score":
        yield "", pictures.sheet(grey, pictures.score_panels(truth, judged), None, about, look.zoom)
    else:
        yield "", pictures.sheet(grey, pictures.outcome_panels(truth, judged), pictures.outcome_legend(len(results)), about, look.zoom)
    for result in results if look.steps else ():
        if result.postprocess is not None and sample.name in result.files:
            prediction = load_prediction(result.files[sample.name]).prediction
            panels = pictures.step_panels(prediction, result.postprocess, truth, look.iou)
            yield f"_steps_{result.name.replace('/', '_')}", pictures.sheet(grey, panels, pictures.STEP_LEGEND, about, look.zoom)
