"""The commands that make cells of images: segment, predict, postprocess, fuse."""

from pathlib import Path
from typing import Annotated

import typer

from somaseg.cli.app import app, console, finish
from somaseg.cli.options import (
    DEFAULT_WEIGHTS,
    Assignments,
    Channel,
    Images,
    Out,
    Overlay,
    Precision,
    Runtime,
    SettingsFile,
    Submission,
    Weights,
    formats,
)


@app.command()
def segment(
    paths: Images,
    out: Out,
    weights: Weights = DEFAULT_WEIGHTS,
    kaggle: Submission = None,
    overlay: Overlay = True,
    channel: Channel = None,
    runtime: Runtime = "auto",
    precision: Precision = "auto",
    settings_file: SettingsFile = None,
    assignments: Assignments = None,
) -> None:
    """Find the cells of images; a second run goes on where the first one stopped."""
    from somaseg.batch.segment import segment_folder
    from somaseg.config import SegmentSettings, override, update
    from somaseg.inference.deferred import DeferredSegmenter

    segmenter = DeferredSegmenter(weights, runtime, precision)
    own = SegmentSettings(detect=segmenter.model_settings.detect, postprocess=segmenter.settings)
    settings = override(update(own, settings_file), assignments or [])
    segmenter.configure(settings)
    segmenter.drawn_for = settings.postprocess
    finish(segment_folder(paths, out, segmenter, settings.postprocess, kaggle, formats(overlay), console, channel))


@app.command()
def predict(
    paths: Images,
    out: Annotated[Path, typer.Option(help="Folder for the predictions.")],
    weights: Weights = DEFAULT_WEIGHTS,
    channel: Channel = None,
    runtime: Runtime = "auto",
    precision: Precision = "auto",
    assignments: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Such as tta.flips=[none,horizontal], two views.")
    ] = None,
) -> None:
    """Save what the network says of images, before any threshold, for `postprocess` and `fuse`; a second run goes on."""
    from somaseg.batch.segment import predict_folder
    from somaseg.config import PredictSettings, override
    from somaseg.inference.deferred import DeferredSegmenter

    segmenter = DeferredSegmenter(weights, runtime, precision)
    segmenter.configure(override(PredictSettings(detect=segmenter.model_settings.detect), assignments or []))
    finish(predict_folder(paths, out, segmenter, console, channel))


@app.command()
def postprocess(
    predictions: Annotated[Path, typer.Argument(help="Folder of `somaseg predict`.", show_default=False)],
    out: Out,
    kaggle: Submission = None,
    overlay: Overlay = True,
    settings_file: SettingsFile = None,
    assignments: Assignments = None,
) -> None:
    """Make cells of saved predictions, as `segment` does."""
    from somaseg.batch.postprocess import postprocess_folder
    from somaseg.batch.saved_runs import read_runs
    from somaseg.fusion.methods import single

    runs = read_runs([predictions])
    settings = runs.settings(settings_file, assignments or [])
    finish(postprocess_folder(runs, out, single(settings.postprocess, runs.classes), kaggle, formats(overlay), console))


@app.command()
def fuse(
    predictions: Annotated[
        list[Path], typer.Argument(help="Folders of `somaseg predict`, one a model, the best model first.", show_default=False)
    ],
    out: Out,
    kaggle: Submission = None,
    overlay: Overlay = True,
    settings_file: SettingsFile = None,
    assignments: Assignments = None,
) -> None:
    """Make cells of the saved predictions of several models; thresholds come from the first unless they are set."""
    from somaseg.batch.postprocess import postprocess_folder
    from somaseg.batch.saved_runs import read_runs
    from somaseg.fusion.methods import fused

    runs = read_runs(predictions)
    settings = runs.settings(settings_file, assignments or [])
    finish(postprocess_folder(runs, out, fused(settings.fuse, settings.postprocess, runs.classes), kaggle, formats(overlay), console))
