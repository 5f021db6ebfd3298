"""The stage `pseudo`: pseudo-labels of unlabelled images from saved predictions of several models.

DIR/annotations.json   COCO JSON: accepted cells with their scores, ignored ones as ignored regions, groups
DIR/pictures/NAME.png  each image with its accepted, ignored and dropped cells
DIR/cells.csv          a row a fused cell, with its fate and why
DIR/run.json           how they were made, counts, images that are left out, what went wrong
"""

import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import orjson
from rich.console import Console
from rich.table import Table

from somaseg.annotations.samples import Sample
from somaseg.annotations.write import write_coco
from somaseg.batch.loop import ImageDone, go_through
from somaseg.batch.prediction_file import load_prediction
from somaseg.batch.saved_runs import ImagePredictions, SavedRuns, about_models, check_other_folder, is_still
from somaseg.config import PseudoRunSettings, PseudoSettings
from somaseg.errors import InputError
from somaseg.files import write_whole
from somaseg.images.normalize import to_grey
from somaseg.images.read import find_images, read_image
from somaseg.instances import Instances
from somaseg.postprocessing.steps import check_classes
from somaseg.provenance import versions
from somaseg.pseudolabels.evidence import gather, lowered
from somaseg.pseudolabels.groups import Groups, groups_beside
from somaseg.pseudolabels.report import Row, cell_rows, count, count_table, fates_csv, picture
from somaseg.pseudolabels.screening import check_screening, screen_cells


@dataclass(frozen=True)
class PseudoSummary:
    """What a run did.

    Attributes:
        out: the folder with the results.
        images: images with pseudo-labels.
        cells: cells by class and fate, those of images that are left out as dropped.
        left_out: why an image is left out, by name.
        failures: what went wrong, by file.
        notes: what a reader must know.
        seconds: of the whole run.
    """

    out: Path
    images: int
    cells: dict[str, dict[str, int]]
    left_out: dict[str, str]
    failures: dict[str, str]
    notes: tuple[str, ...]
    seconds: float

    def table(self) -> Table:
        """Cells by class and fate."""
        return count_table(self.cells)

    def text(self) -> str:
        """The rest for people, a line a fact."""
        lines = [f"note: {note}" for note in self.notes]
        lines += [f"left out: {name}: {reason}" for name, reason in self.left_out.items()]
        lines += [f"failed: {reason}" for reason in self.failures.values()]
        lines.append(f"{self.images} images with pseudo-labels, {len(self.left_out)} left out, in {self.seconds:.1f} s")
        if self.failures:
            lines.append(f"{len(self.failures)} files failed, see above and run.json")
        return "\n".join([*lines, f"results in {self.out}"])


def label_folder(
    runs: SavedRuns,
    out: Path,
    settings: PseudoRunSettings,
    near: Sequence[Sample] | None = None,
    images: Sequence[str | Path] | None = None,
    console: Console | None = None,
) -> PseudoSummary:
    """Fuse the predictions of each image, screen the cells, and write annotations, pictures and tables.

    What cannot be read is noted, and the others go on. The same input gives the same files, over those of an earlier run.

    Args:
        runs: the predictions of the models.
        out: folder for the results.
        settings: how to fuse and to screen.
        near: annotated images; an unlabelled image of the field of one has its group (see `groups_beside`). Without them no image has a
            group, and training refuses it.
        images: files, folders and globs with the images, where they are no longer where they were predicted.
        console: where to show a progress bar; None shows none.

    Raises:
        InputError: when `out` is a file or a folder of predictions, the settings name an unknown class, or an image of `near` or
            anything of `images` cannot be read.
    """
    begin = time.perf_counter()
    check_other_folder(runs, out)
    check_classes(settings.postprocess, runs.classes)
    settings = settings.model_copy(update={"pseudo": _for_classes(settings.pseudo, runs.classes)})
    check_screening(settings.pseudo, runs.classes)
    given = None if images is None else _by_name(find_images(images))
    members = {one.files[0]: one for one in runs.images}
    found: dict[Path, Sample] = {}

    def locate(file: Path) -> Iterator[ImageDone]:
        found[file] = _unlabelled(members[file], given)
        yield ImageDone(file.stem, None, False)

    failures = {**runs.failures, **go_through(list(members), locate).failures}
    groups = Groups({}, {}) if near is None else groups_beside(list(found.values()), near)
    postprocess = lowered(settings.postprocess, settings.pseudo.ignore_score, runs.classes)
    samples: list[Sample] = []
    rows: list[Row] = []
    left_out: dict[str, str] = {}

    def label(file: Path) -> Iterator[ImageDone]:
        sample = found[file]
        evidence = gather([load_prediction(one).prediction for one in members[file].files], settings.fuse, postprocess)
        screened = screen_cells(evidence.cells, evidence.mask_prob, evidence.agreement, settings.pseudo)
        if sample.name in groups.left_out:
            screened = replace(screened, left_out=groups.left_out[sample.name])
        image = picture(to_grey(read_image(sample.image).array), sample.name, evidence, screened)
        path = out / "pictures" / f"{sample.name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        image.save(path, compress_level=1)
        rows.extend(cell_rows(sample.name, evidence, screened))
        if screened.left_out:
            left_out[sample.name] = screened.left_out
        else:
            accepted, ignored = (evidence.cells[screened.where(fate)] for fate in ("accepted", "ignored"))
            group = groups.of.get(sample.name)
            # Made anew, so that the cell type is that of the accepted cells.
            samples.append(
                Sample(sample.image, accepted, sample.name, group, source="pseudo", pixel_size=sample.pixel_size, ignored=ignored)
            )
        yield ImageDone(sample.name, None, False)

    gathered = go_through(list(found), label, console)
    failures |= gathered.failures
    write_coco(samples, out / "annotations.json")
    write_whole(out / "cells.csv", fates_csv(rows))
    notes = _notes(runs, near, samples)
    seconds = round(time.perf_counter() - begin, 3)
    summary = PseudoSummary(out, len(samples), count(rows, runs.classes), left_out, failures, notes, seconds)
    manifest = {
        "settings": settings.model_dump(mode="json"),
        **about_models(runs),
        "versions": versions(),
        "images": len(samples),
        "cells": summary.cells,
        "reasons": dict(Counter(reason for row in rows if (reason := row[4]))),
        "groups": {sample.name: sample.group for sample in samples},
        "left_out": left_out,
        "failures": failures,
        "notes": notes,
        "seconds": seconds,
    }
    write_whole(out / "run.json", orjson.dumps(manifest, option=orjson.OPT_INDENT_2))
    return summary


def _for_classes(settings: PseudoSettings, classes: Sequence[str]) -> PseudoSettings:
    """The settings without what our own defaults say of other classes, which nobody asked for."""
    own = PseudoSettings()
    changed = {}
    for field in ("ignore_score", "accept_score"):
        values, ours = getattr(settings, field), getattr(own, field)
        changed[field] = {name: value for name, value in values.items() if name in ("default", *classes) or ours.get(name) != value}
    return settings.model_copy(update=changed)


def _by_name(files: Sequence[Path]) -> dict[str, list[Path]]:
    by_name = defaultdict(list)
    for file in files:
        by_name[file.name].append(file)
    return by_name


def _unlabelled(members: ImagePredictions, given: Mapping[str, Sequence[Path]] | None) -> Sample:
    """The image of a prediction, without any cell.

    Raises:
        InputError: when it is a page of a stack, is gone, was changed, or cannot be read.
    """
    origin, file = members.origins[0], members.files[0]
    if origin.page is not None:
        raise InputError(
            f"{file}: origin.page: is page {origin.page} of {origin.file}, expected an image with a file of its own, since annotations "
            "name files: save the pages as files and predict those"
        )
    name = Path(origin.file).name
    candidates = [Path(origin.file)] if given is None else given.get(name, [])
    path = next((path for path in candidates if is_still(path, origin.sha256)), None)
    if path is None:
        where = f"{origin.file} is gone or was changed" if given is None else f"{name} is not among the images, or was changed"
        raise InputError(f"{file}: origin.file: {where} since the prediction: say where it is (--images), or predict again")
    height, width = read_image(path).array.shape[:2]
    return Sample(path.resolve(), Instances.empty((height, width), origin.classes), file.stem, pixel_size=origin.pixel_size)


def _notes(runs: SavedRuns, near: Sequence[Sample] | None, samples: Sequence[Sample]) -> tuple[str, ...]:
    notes = []
    if near is None:
        notes.append(
            "fields were not compared with annotated images, so no image has a group, and training refuses them: give --near ANNOTATIONS"
        )
    if len(runs.folders) == 1:
        notes.append("predictions of one model: its agreement with itself says little; give those of several")
    if not samples:
        notes.append("no image has pseudo-labels: there is nothing to train on")
    return tuple(notes)
