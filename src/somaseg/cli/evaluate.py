"""The commands that judge results: evaluate, compare, tune."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from somaseg.cli.app import app, console, note, say, wrote
from somaseg.cli.options import Assignments, SettingsFile


class Colour(StrEnum):
    """What outlines of `compare` tell."""

    OUTCOME = "outcome"
    SCORE = "score"


@app.command()
def evaluate(
    pred: Annotated[Path, typer.Argument(help="Output folder of `somaseg segment`, COCO JSON, submission.csv, train.csv, label TIFFs.")],
    truth: Annotated[Path, typer.Argument(help="Annotations: COCO JSON, train.csv, label TIFFs, or a folder with one of them.")],
    out: Annotated[Path, typer.Option(help="Folder for metrics.json, images.csv and precision.png.")] = Path("evaluation"),
    weights_by_type: Annotated[
        str | None, typer.Option(help="Also weigh the cell types, such as shsy5y=155,astro=131,cort=320 for the competition's full set.")
    ] = None,
) -> None:
    """Score predictions against annotations, images paired by name."""
    from somaseg.evaluation import evaluate as stage
    from somaseg.evaluation.report import score_table
    from somaseg.figures import can_draw
    from somaseg.files import check_folder

    check_folder(out)
    result = stage.evaluate(pred, truth, None if weights_by_type is None else stage.parse_weights(weights_by_type))
    console.print(score_table(result.map_iou, result.cells, result.cells_by_class, result.coco_ap))
    for text in result.notes():
        note(text)
    written = stage.write_evaluation(result, out)
    wrote(*written)
    if not can_draw():
        note("precision.png is not drawn, since matplotlib is not installed: run  pip install 'somaseg[plots]'")


@app.command()
def compare(
    truth: Annotated[Path, typer.Argument(help="Annotations: COCO JSON, train.csv, label TIFFs, or a folder with one of them.")],
    results: Annotated[
        list[Path],
        typer.Argument(help="Folders of `predict`, or whatever `evaluate` scores; the folder of `fuse` last.", show_default=False),
    ],
    out: Annotated[Path, typer.Option(help="Folder for the pictures.")],
    images: Annotated[Path | None, typer.Option(help="Folder of the images, where it is not beside the annotations.")] = None,
    iou: Annotated[float, typer.Option(help="A cell hits a true one when their IoU is above this.")] = 0.5,
    worst: Annotated[int, typer.Option(min=1, help="How many images: those of the least map_iou, the mean over results.")] = 6,
    chosen: Annotated[list[str] | None, typer.Option("--image", help="Draw this image instead, by its name; can be repeated.")] = None,
    colour: Annotated[Colour, typer.Option(help="Colour cells by hit, miss and false alarm, or by score.")] = Colour.OUTCOME,
    steps: Annotated[bool, typer.Option("--steps", help="Also draw what each step of post-processing removed from predictions.")] = False,
    zoom: Annotated[str | None, typer.Option(metavar="X0,Y0,X1,Y1", help="Show this part of each image, in pixels.")] = None,
    settings_file: Annotated[Path | None, typer.Option("--settings", help="YAML file: thresholds for predictions.")] = None,
    assignments: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Such as postprocess.score_thresh=0.5, for predictions.")
    ] = None,
) -> None:
    """Draw truth and results side by side, on the images where they are worst, to see why."""
    from somaseg.annotations.read import read_annotations
    from somaseg.evaluation import compare as stage
    from somaseg.files import check_folder

    check_folder(out)
    look = stage.PictureSettings(iou, colour.value, steps, None if zoom is None else stage.parse_zoom(zoom))
    samples = read_annotations(truth, images)
    found = stage.read_results(results, truth, samples, settings_file, assignments or [])
    compared = stage.compare(samples, found, out, look, worst, chosen or [])
    console.print(stage.table(compared, iou))
    for text in (text for result in found for text in result.notes):
        note(text)
    wrote(*(path for image in compared for path in image.files))


@app.command()
def tune(
    predictions: Annotated[
        list[Path], typer.Argument(help="Folders of `somaseg predict`, one a model, the best model first.", show_default=False)
    ],
    truth: Annotated[
        Path, typer.Option(help="Annotations of the images: COCO JSON, train.csv, label TIFFs, or a folder with one of them.")
    ],
    out: Annotated[Path, typer.Option(help="The YAML file of settings to write.")] = Path("tuned.yaml"),
    study: Annotated[
        Path | None, typer.Option(help="SQLite file with all trials, from which a stopped search goes on; else OUT with .db.")
    ] = None,
    report: Annotated[Path | None, typer.Option(help="Folder for scores and pictures; else OUT without its suffix.")] = None,
    trials: Annotated[int, typer.Option(min=1, help="Trials of each search: one a fold, and one on all images.")] = 60,
    folds: Annotated[int, typer.Option(help="Into how many parts the images go by field of view.")] = 2,
    seed: Annotated[int, typer.Option(help="Another seed gives other folds and other trials.")] = 0,
    find_groups: Annotated[bool, typer.Option("--find-groups", help="Also put images together that show the same field.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Write the chosen thresholds even where their gain may be chance.")] = False,
    processes: Annotated[int | None, typer.Option(min=1, help="Processes that share the images; else one a core.")] = None,
    settings_file: SettingsFile = None,
    assignments: Assignments = None,
) -> None:
    """Choose thresholds on annotated images that the models were not trained on, and score them on images they were not chosen on."""
    from somaseg.batch.saved.saved_runs import read_runs
    from somaseg.config import TuneRunSettings
    from somaseg.tuning.report import threshold_table, tuning_table, verdict
    from somaseg.tuning.tune import TuneRequest, tune_runs

    runs = read_runs(predictions)
    settings = runs.settings_of(TuneRunSettings, settings_file, assignments or [])
    request = TuneRequest(truth, out, settings, study, report, trials, folds, seed, find_groups, force, processes)
    tuned, files = tune_runs(runs, request, console)
    console.print(threshold_table(tuned), tuning_table(tuned))
    say(verdict(tuned))
    wrote(*files)
