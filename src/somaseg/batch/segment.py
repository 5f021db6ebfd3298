"""The batch runs that need a network: images to cells, or to raw predictions, one by one, so that they can be stopped and resumed."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from somaseg.batch.images import Images, spread
from somaseg.batch.loop import LoopResult, check_submission, go_through, images_outside
from somaseg.batch.result_folder import ResultFolder
from somaseg.batch.saved.prediction_folder import PredictionFolder
from somaseg.batch.summary import RunSummary
from somaseg.config import PostprocessSettings
from somaseg.export.formats import DEFAULT
from somaseg.files import only_run
from somaseg.fusion.methods import single
from somaseg.images.depths import ALL, check_depth
from somaseg.images.find import Found
from somaseg.instances import Predictor
from somaseg.magnification.choose import check_magnification


def segment_folder(
    paths: Sequence[str | Path],
    out: Path,
    predictor: Predictor,
    settings: PostprocessSettings,
    kaggle: Path | None = None,
    formats: Sequence[str] = DEFAULT,
    console: Console | None = None,
    channel: str | None = None,
    ray: str | None = None,
    depth: str = ALL,
) -> RunSummary:
    """Segment images and write the results of each as soon as it is done.

    Each image is shown to the network at the size that the predictor's settings of `magnification` ask for; what that is may depend
    on the file and on the image.

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
        ray: "local" spreads files, and tiles of large files, over the processors of this machine, "auto" or an address over a Ray cluster.
        depth: of each stack, see `somaseg.images.read.read_frames`.

    Raises:
        InputError: when there is no image, the settings name an unknown class, a given size does not go with the weights, or `kaggle`
            is given and two images have one name.
        OutputError: when results cannot be written, or another run writes into `out`.
    """
    check_depth(depth)
    begin = time.perf_counter()
    method = single(settings, predictor.classes)
    found = images_outside(paths, out)
    if kaggle is not None:
        check_submission(kaggle, found.files)
    results = ResultFolder(out, method, formats)
    images = Images(results, predictor, channel, depth)
    check_magnification(*images.sizes)
    with only_run(out):
        results.prepare(found.files)
        gone_through = _go_through(found, images, ray, console)
        models = _about(predictor) | {"tta": predictor.about["tta"]}
        return results.finish(gone_through, predictor.classes, models, kaggle, begin)


def predict_folder(
    paths: Sequence[str | Path],
    out: Path,
    predictor: Predictor,
    console: Console | None = None,
    channel: str | None = None,
    ray: str | None = None,
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
        ray: "local" spreads files, and tiles of large files, over the processors of this machine, "auto" or an address over a Ray cluster.
        depth: of each stack, see `somaseg.images.read.read_frames`.

    Raises:
        InputError: when there is no image, or a given size does not go with the weights.
        OutputError: when results cannot be written, or another run writes into `out`.
    """
    check_depth(depth)
    begin = time.perf_counter()
    found = images_outside(paths, out)
    folder = PredictionFolder(out)
    images = Images(folder, predictor, channel, depth)
    check_magnification(*images.sizes)
    with only_run(out):
        folder.names.tell_apart(found.files)
        gone_through = _go_through(found, images, ray, console)
        models = _about(predictor)
        return folder.finish(gone_through, predictor.about, models, begin)


def _go_through(found: Found, images: Images, ray: str | None, console: Console | None) -> LoopResult:
    """Predict all images: by workers, if asked to, and what they left undone here, in the order of the files."""
    if ray is not None:
        spread(found.files, images, ray, console)
    return go_through(found, images.of_file, console)


def _about(predictor: Predictor) -> dict[str, Any]:
    """What `run.json` tells of the weights, and of what computed them, if anything did."""
    weights = {"name": predictor.name, "sha256": predictor.sha256}
    return {"weights": weights, **({"runtime": predictor.runtime} if predictor.runtime else {})}
