"""The commands that make cells of images, and write them: segment, predict, postprocess, fuse, export."""

from pathlib import Path
from typing import Annotated

import typer

from somaseg.cli.app import app, console, finish
from somaseg.cli.options import (
    DEFAULT_WEIGHTS,
    Assignments,
    CellDiameter,
    Channel,
    Depth,
    Export,
    Images,
    Magnification,
    Out,
    Overlay,
    PixelSize,
    Precision,
    Ray,
    Runtime,
    SettingsFile,
    Submission,
    Weights,
    formats,
    known_formats,
    magnified,
)


@app.command()
def segment(
    paths: Images,
    out: Out,
    weights: Weights = DEFAULT_WEIGHTS,
    kaggle: Submission = None,
    overlay: Overlay = True,
    export: Export = None,
    channel: Channel = None,
    ray: Ray = None,
    pixel_size: PixelSize = None,
    cell_diameter: CellDiameter = None,
    magnification: Magnification = None,
    runtime: Runtime = "auto",
    precision: Precision = "auto",
    depth: Depth = "all",
    settings_file: SettingsFile = None,
    assignments: Assignments = None,
) -> None:
    """Find the cells of images; a second run goes on where the first one stopped."""
    from somaseg.batch.segment import segment_folder
    from somaseg.config import SegmentSettings, override, update
    from somaseg.inference.deferred import DeferredSegmenter

    segmenter = DeferredSegmenter(weights, runtime, precision)
    own = SegmentSettings(detect=segmenter.model_settings.detect, postprocess=segmenter.settings)
    given = magnified(pixel_size, cell_diameter, magnification)
    settings = override(update(own, settings_file), [*(assignments or []), *given])
    segmenter.configure(settings)
    segmenter.drawn_for = settings.postprocess
    finish(segment_folder(paths, out, segmenter, settings.postprocess, kaggle, formats(overlay, export), console, channel, ray, depth))


@app.command()
def predict(
    paths: Images,
    out: Annotated[Path, typer.Option(help="Folder for the predictions.")],
    weights: Weights = DEFAULT_WEIGHTS,
    channel: Channel = None,
    ray: Ray = None,
    pixel_size: PixelSize = None,
    cell_diameter: CellDiameter = None,
    magnification: Magnification = None,
    runtime: Runtime = "auto",
    precision: Precision = "auto",
    depth: Depth = "all",
    assignments: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Such as tta.flips=[none,horizontal], two views.")
    ] = None,
) -> None:
    """Save what the network says of images, before any threshold, for `postprocess` and `fuse`; a second run goes on."""
    from somaseg.batch.segment import predict_folder
    from somaseg.config import PredictSettings, override
    from somaseg.inference.deferred import DeferredSegmenter

    segmenter = DeferredSegmenter(weights, runtime, precision)
    given = magnified(pixel_size, cell_diameter, magnification)
    segmenter.configure(override(PredictSettings(detect=segmenter.model_settings.detect), [*(assignments or []), *given]))
    finish(predict_folder(paths, out, segmenter, console, channel, ray, depth))


@app.command()
def postprocess(
    predictions: Annotated[Path, typer.Argument(help="Folder of `somaseg predict`.", show_default=False)],
    out: Out,
    kaggle: Submission = None,
    overlay: Overlay = True,
    export: Export = None,
    settings_file: SettingsFile = None,
    assignments: Assignments = None,
) -> None:
    """Make cells of saved predictions, as `segment` does."""
    from somaseg.batch.postprocess import postprocess_folder
    from somaseg.batch.saved.saved_runs import read_runs
    from somaseg.fusion.methods import single

    runs = read_runs([predictions])
    settings = runs.settings(settings_file, assignments or [])
    finish(postprocess_folder(runs, out, single(settings.postprocess, runs.classes), kaggle, formats(overlay, export), console))


@app.command()
def fuse(
    predictions: Annotated[
        list[Path], typer.Argument(help="Folders of `somaseg predict`, one a model, the best model first.", show_default=False)
    ],
    out: Out,
    kaggle: Submission = None,
    overlay: Overlay = True,
    export: Export = None,
    settings_file: SettingsFile = None,
    assignments: Assignments = None,
) -> None:
    """Make cells of the saved predictions of several models; thresholds come from the first unless they are set."""
    from somaseg.batch.postprocess import postprocess_folder
    from somaseg.batch.saved.saved_runs import read_runs
    from somaseg.fusion.methods import fused

    runs = read_runs(predictions)
    settings = runs.settings(settings_file, assignments or [])
    finish(
        postprocess_folder(runs, out, fused(settings.fuse, settings.postprocess, runs.classes), kaggle, formats(overlay, export), console)
    )


@app.command()
def export(
    result: Annotated[Path, typer.Argument(help="Folder of `somaseg segment`, `postprocess` or `fuse`.", show_default=False)],
    to: Annotated[list[str], typer.Option(metavar="FORMATS", help="imagej, qupath, ... with commas between them.", show_default=False)],
    out: Annotated[Path | None, typer.Option(help="Another folder than the result, as for files that are to be corrected.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files that differ, corrected ones too.")] = False,
) -> None:
    """Write a finished result in formats of other programs; exit code 1 when a file could not be written or was kept."""
    from somaseg.batch.export import export_folder

    finish(export_folder(result, known_formats(to), out, overwrite, console))
