"""The batch run that needs no network: saved predictions, of one model or of several, to the results that `segment` writes."""

import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import Console

from somaseg.batch.loop import ImageDone, check_submission, go_through
from somaseg.batch.result_folder import ResultFolder
from somaseg.batch.saved.prediction_file import load_prediction
from somaseg.batch.saved.saved_runs import ImagePredictions, SavedRuns, about_models, check_other_folder, is_still
from somaseg.batch.summary import RunSummary
from somaseg.errors import InputError, MissingExtraError
from somaseg.export.formats import DEFAULT
from somaseg.files import only_run
from somaseg.fusion.methods import Method
from somaseg.images.read import Frame, read_frames


def postprocess_folder(
    runs: SavedRuns, out: Path, method: Method, kaggle: Path | None = None, formats: Sequence[str] = DEFAULT, console: Console | None = None
) -> RunSummary:
    """Make cells of saved predictions and write what `segment_folder` does, with the same rules for what was done before.

    A picture is drawn where the image file is still what the prediction was made from; where it is not, a warning says so.

    Args:
        runs: the predictions.
        out: folder for the results.
        method: from the predictions of an image to its cells.
        kaggle: where to write a `submission.csv`; its ids are the stems of the files.
        formats: of each image's files, names in `somaseg.export.formats.FORMATS`.
        console: where to show a progress bar; None shows none.

    Raises:
        InputError: when `out` is a folder of predictions, or `kaggle` is given and two images have one name.
        OutputError: when results cannot be written, or another run writes into `out`.
    """
    begin = time.perf_counter()
    check_other_folder(runs, out)
    by_file: dict[Path, list[ImagePredictions]] = defaultdict(list)
    for members in runs.images:
        by_file[Path(members.origins[0].file)].append(members)
    if kaggle is not None:
        check_submission(kaggle, by_file)
    results = ResultFolder(out, method, formats)
    with only_run(out):
        results.prepare(list(by_file))
        gone_through = go_through(list(by_file), lambda path: _cells_of_file(path, by_file[path], results), console)
        gone_through.failures.update(runs.failures)
        return results.finish(gone_through, runs.classes, about_models(runs), kaggle, begin)


def _cells_of_file(path: Path, images: Sequence[ImagePredictions], results: ResultFolder) -> Iterator[ImageDone]:
    """Results of the images of a file, page by page."""
    has_image = is_still(path, images[0].origins[0].sha256)
    first = images[0].origins[0]
    frames = read_frames(path, first.channel, first.depth) if has_image else iter(())
    for members in images:
        begin = time.perf_counter()
        page, place = members.origins[0].page, members.origins[0].place
        name = results.names.find(path, page, place)
        results.names.take(name)
        done = results.is_done(name, members.origins, has_image)
        if not done:
            frame = _page(frames, page)
            image, channels = (None, None) if frame is None else (frame.picture, frame.measured)
            results.add(name, [load_prediction(file) for file in members.files], image, begin, channels)
        yield ImageDone(name, page, done, place)


def _page(frames: Iterator[Frame], page: int | None) -> Frame | None:
    """The next frame that has this page; None where it cannot be read."""
    try:
        return next((frame for frame in frames if frame.page == page), None)
    except (InputError, MissingExtraError):
        return None
