"""The batch runs that need a network: images to cells, or to raw predictions, one by one, so that they can be stopped and resumed."""

import time
import warnings
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Protocol

from rich.console import Console

from somaseg.batch.loop import ImageDone, check_submission, go_through, images_outside
from somaseg.batch.names import Names
from somaseg.batch.prediction_file import Origin, SavedPrediction
from somaseg.batch.prediction_folder import PredictionFolder
from somaseg.batch.result_folder import ResultFolder
from somaseg.batch.summary import RunSummary
from somaseg.config import PostprocessSettings
from somaseg.errors import InputError
from somaseg.export.formats import DEFAULT
from somaseg.files import only_run
from somaseg.fusion.methods import single
from somaseg.images.depths import ALL, check_depth
from somaseg.images.read import image_sha256, read_frames
from somaseg.instances import Pixels, Predictor


class RunFolder(Protocol):
    """Where the run puts what it makes of an image."""

    @property
    def names(self) -> Names:
        """What images are called."""

    def is_done(self, name: str, origins: Sequence[Origin]) -> bool:
        """Whether an image's files are there and were made from the same things."""

    def add(self, name: str, members: Sequence[SavedPrediction], image: Pixels | None, begin: float) -> None:
        """Make and write an image's files."""


def segment_folder(
    paths: Sequence[str | Path],
    out: Path,
    predictor: Predictor,
    settings: PostprocessSettings,
    kaggle: Path | None = None,
    formats: Sequence[str] = DEFAULT,
    console: Console | None = None,
    channel: str | None = None,
    depth: str = ALL,
) -> RunSummary:
    """Segment images and write the results of each as soon as it is done.

    An image that was done before with the same content, settings, weights and version of somaseg is skipped. One that cannot
    be read or segmented is reported in the summary and in `run.json`, and the others go on.

    Args:
        paths: files, folders (searched recursively) and globs; what lies in `out` is left aside.
        out: folder for the results.
        predictor: gives the raw detections.
        settings: of post-processing.
        kaggle: where to write a `submission.csv`; its ids are the stems of the files.
        formats: of each image's files, names in `somaseg.export.formats.FORMATS`.
        console: where to show a progress bar; None shows none.
        channel: name of the channel that shows the cells, or its number from 0; None takes images of one to four channels as they are.
        depth: of each stack, see `somaseg.images.read.read_frames`.

    Raises:
        InputError: when there is no image, the settings name an unknown class, or `kaggle` is given and two images have one name.
        OutputError: when results cannot be written, or another run writes into `out`.
    """
    check_depth(depth)
    begin = time.perf_counter()
    method = single(settings, predictor.classes)
    found = images_outside(paths, out)
    if kaggle is not None:
        check_submission(kaggle, found.files)
    results = ResultFolder(out, method, formats)
    with only_run(out):
        results.prepare(found.files)
        gone_through = go_through(found, lambda path: _predict_file(path, results, predictor, channel, depth), console)
        models = {"weights": {"name": predictor.name, "sha256": predictor.sha256}, "tta": predictor.about["tta"]}
        return results.finish(gone_through, predictor.classes, models, kaggle, begin)


def predict_folder(
    paths: Sequence[str | Path],
    out: Path,
    predictor: Predictor,
    console: Console | None = None,
    channel: str | None = None,
    depth: str = ALL,
) -> RunSummary:
    """Save the raw prediction of each image as soon as it is made, for `postprocess` and `fuse`.

    What was predicted before from the same content, with the same weights, views and version of somaseg is skipped; failures
    are handled as in `segment_folder`.

    Args:
        paths: files, folders (searched recursively) and globs; what lies in `out` is left aside.
        out: folder for the predictions.
        predictor: gives the raw detections.
        console: where to show a progress bar; None shows none.
        channel: name of the channel that shows the cells, or its number from 0; None takes images of one to four channels as they are.
        depth: of each stack, see `somaseg.images.read.read_frames`.

    Raises:
        InputError: when there is no image.
        OutputError: when results cannot be written, or another run writes into `out`.
    """
    check_depth(depth)
    begin = time.perf_counter()
    found = images_outside(paths, out)
    folder = PredictionFolder(out)
    with only_run(out):
        folder.names.tell_apart(found.files)
        gone_through = go_through(found, lambda path: _predict_file(path, folder, predictor, channel, depth), console)
        models = {"weights": {"name": predictor.name, "sha256": predictor.sha256}}
        return folder.finish(gone_through, predictor.about, models, begin)


def _predict_file(path: Path, folder: RunFolder, predictor: Predictor, channel: str | None, depth: str) -> Iterator[ImageDone]:
    """Predict the images of a file, and have the folder keep what comes of each."""
    about = predictor.about
    origin = Origin(
        file=str(path.absolute()),
        sha256=image_sha256(path),
        classes=predictor.classes,
        weights=predictor.name,
        weights_sha256=predictor.sha256,
        somaseg=version("somaseg"),
        model=about["model"],
        tta=about["tta"],
        tiles=about.get("tiles", {}),
        postprocess=about["postprocess"],
        channel=channel,
        depth=depth,
    )
    name = folder.names.find(path, None)
    if folder.is_done(name, [origin]):
        folder.names.take(name)
        yield ImageDone(name, None, True)
        return
    begin = time.perf_counter()
    for frame in read_frames(path, channel, depth):
        name = folder.names.find(path, frame.page, frame.place)
        folder.names.take(name)
        done = folder.is_done(name, [origin])
        if not done:
            if not frame.array.size:
                raise InputError(f"{path}: image of shape {frame.array.shape} has no pixel: leave it out")
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always", UserWarning)
                prediction = predictor.predict(frame.picture)
            told_by = dict.fromkeys((*frame.warnings, *(str(w.message) for w in caught)))  # each once
            told = {"page": frame.page, "place": frame.place, "pixel_size": frame.pixel_size, "warnings": tuple(told_by)}
            folder.add(name, [SavedPrediction(prediction, origin.model_copy(update=told))], frame.picture, begin)
        yield ImageDone(name, frame.page, done, frame.place)
        begin = time.perf_counter()
