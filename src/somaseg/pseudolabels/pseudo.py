"""The stage `pseudo`: pseudo-labels of unlabelled images from saved predictions of several models."""

import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from rich.console import Console

from somaseg.annotations.samples import Sample
from somaseg.batch.loop import ImageDone, go_through
from somaseg.batch.saved.prediction_file import load_prediction
from somaseg.batch.saved.saved_runs import ImagePredictions, SavedRuns, check_other_folder, is_still
from somaseg.config import PseudoRunSettings, PseudoSettings
from somaseg.errors import InputError
from somaseg.files import only_run
from somaseg.images.read import find_images, read_image
from somaseg.instances import Instances
from somaseg.postprocessing.steps import check_classes
from somaseg.pseudolabels.evidence import gather, lowered
from somaseg.pseudolabels.folder import PseudoFolder, PseudoSummary
from somaseg.pseudolabels.groups import Groups, groups_beside
from somaseg.pseudolabels.screening import check_screening, screen_cells


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
        InputError: when `out` is a folder of predictions, the settings name an unknown class, or an image of `near` or
            anything of `images` cannot be read.
    """
    begin = time.perf_counter()
    check_other_folder(runs, out)
    check_classes(settings.postprocess, runs.classes)
    settings = settings.model_copy(update={"pseudo": _for_classes(settings.pseudo, runs.classes)})
    check_screening(settings.pseudo, runs.classes)
    members = {one.files[0]: one for one in runs.images}
    found, failures = _locate(members, images)
    groups = Groups({}, {}) if near is None else groups_beside(list(found.values()), near)
    postprocess = lowered(settings.postprocess, settings.pseudo.ignore_score, runs.classes)
    folder = PseudoFolder(out, groups)

    def label(file: Path) -> Iterator[ImageDone]:
        evidence = gather([load_prediction(one).prediction for one in members[file].files], settings.fuse, postprocess)
        fates = screen_cells(evidence.cells, evidence.mask_prob, evidence.agreement, settings.pseudo, members[file].origins[0].zoom)
        folder.add(found[file], evidence, fates)
        yield ImageDone(found[file].name, None, False)

    with only_run(out):
        failures = {**runs.failures, **failures, **go_through(list(found), label, console).failures}
        return folder.finish(runs, settings, _notes(runs, near), failures, begin)


def _locate(members: Mapping[Path, ImagePredictions], images: Sequence[str | Path] | None) -> tuple[dict[Path, Sample], dict[str, str]]:
    """The image of each prediction as a sample without cells, and what is wrong with those that cannot be had."""
    given = None if images is None else _by_name(find_images(images))
    found: dict[Path, Sample] = {}

    def locate(file: Path) -> Iterator[ImageDone]:
        found[file] = _unlabelled(members[file], given)
        yield ImageDone(file.stem, None, False)

    return found, go_through(list(members), locate).failures


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


def _notes(runs: SavedRuns, near: Sequence[Sample] | None) -> tuple[str, ...]:
    notes = []
    if near is None:
        notes.append(
            "fields were not compared with annotated images, so no image has a group, and training refuses them: give --near ANNOTATIONS"
        )
    if len(runs.folders) == 1:
        notes.append("predictions of one model: its agreement with itself says little; give those of several")
    return tuple(notes)
