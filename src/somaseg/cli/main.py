"""The command line: one command a stage, no logic."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape

from somaseg.cli.data import data_app
from somaseg.cli.weights import weights_app
from somaseg.errors import InputError, MissingExtraError

if TYPE_CHECKING:
    from somaseg.batch.loop import RunSummary
    from somaseg.pseudolabels.pseudo import PseudoSummary

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help="Segment every neuronal cell.")
app.add_typer(data_app, name="data")
app.add_typer(weights_app, name="weights")
console = Console()


class Colour(StrEnum):
    """What outlines of `compare` tell."""

    OUTCOME = "outcome"
    SCORE = "score"


@app.callback()
def _root() -> None:
    """Segment every neuronal cell in light-microscopy images."""


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

    result = stage.evaluate(pred, truth, None if weights_by_type is None else stage.parse_weights(weights_by_type))
    console.print(score_table(result.map_iou, result.cells, result.cells_by_class, result.coco_ap))
    for note in result.notes():
        console.print(f"note: {note}", style="yellow", markup=False, highlight=False)
    for path in stage.write_evaluation(result, out):
        console.print(f"wrote {path}", markup=False, highlight=False, soft_wrap=True)


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

    look = stage.Look(iou, colour.value, steps, None if zoom is None else stage.parse_zoom(zoom))
    samples = read_annotations(truth, images)
    found = stage.read_results(results, truth, samples, settings_file, assignments or [])
    compared = stage.compare(samples, found, out, look, worst, chosen or [])
    console.print(stage.table(compared, iou))
    for note in (note for result in found for note in result.notes):
        console.print(f"note: {note}", style="yellow", markup=False, highlight=False, soft_wrap=True)
    for path in (path for image in compared for path in image.files):
        console.print(f"wrote {path}", markup=False, highlight=False, soft_wrap=True)


@app.command()
def synth(
    out: Annotated[Path, typer.Option(help="Folder for images/*.png and annotations.json (COCO).")],
    count: Annotated[int, typer.Option(help="Number of images.")] = 6,
    seed: Annotated[int, typer.Option(help="The same seed gives the same images.")] = 0,
    cell_type: Annotated[str, typer.Option(help="shsy5y, astro, cort, or mixed for all of them in turn.")] = "mixed",
) -> None:
    """Render synthetic phase-contrast cultures with exact masks."""
    from rich.progress import track

    from somaseg.synth.folder import write_cultures

    samples = write_cultures(out, count, seed, cell_type, lambda numbers: track(numbers, "rendering", count, console=console))
    cells = sum(len(sample.instances) for sample in samples)
    message = f"wrote {len(samples)} images with {cells} cells and annotations.json to {out}"
    console.print(message, markup=False, highlight=False, soft_wrap=True)


@app.command()
def train(
    config: Annotated[Path, typer.Argument(help="Settings, such as configs/default.yaml.", show_default=False)],
    data: Annotated[list[Path], typer.Option(help="COCO JSON, train.csv, label TIFFs, or a folder with one of them; several --data join.")],
    out: Annotated[Path, typer.Option(help="Folder of the run; a run that was stopped goes on.")] = Path("run"),
    dry: Annotated[bool, typer.Option("--dry-run", help="Only take two steps on small crops; show memory, time, and an estimate.")] = False,
    edge: Annotated[int, typer.Option(help="Shorter edge of a dry run's crops in pixels; 0 takes those of the settings.")] = 160,
    assignments: Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Such as train.steps=2000.")] = None,
) -> None:
    """Train a model on annotated images; run it again to resume, under torchrun to use several processes."""
    from somaseg.config import Config, load_settings, override
    from somaseg.training.train import fit

    settings = override(load_settings(Config, config), assignments or [])
    if dry:
        from somaseg.training.dry_run import dry_run

        console.print(dry_run(settings, data, edge).text(), markup=False, highlight=False, soft_wrap=True)
        return
    best = fit(settings, data, out)
    console.print(f"wrote {best}", markup=False, highlight=False, soft_wrap=True)


@app.command()
def finetune(
    data: Annotated[Path, typer.Option(help="5 to 50 annotated images: COCO JSON, train.csv, label TIFFs, or a folder with one of them.")],
    out: Annotated[Path, typer.Option(help="Folder of the run; a run that was stopped goes on.")],
    weights: Annotated[str, typer.Option(help="To start from: weights that come with somaseg, by name, or a file.")] = "default",
    assignments: Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Such as train.steps=600.")] = None,
) -> None:
    """Train weights further on a few images; they are kept only if they score higher on images held out, else the exit code is 1."""
    from somaseg.training import finetune as stage
    from somaseg.training.finetune_report import score_table, verdict

    result, path = stage.finetune(data, out, weights, assignments or [], console)
    console.print(score_table(result))
    for note in result.notes:
        console.print(f"note: {note}", style="yellow", markup=False, highlight=False, soft_wrap=True)
    console.print(verdict(result, str(path)), markup=False, highlight=False, soft_wrap=True)
    raise typer.Exit(0 if result.better else 1)


Assignments = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Such as postprocess.overlaps=keep, which lets cells overlap.")
]
SettingsFile = Annotated[Path | None, typer.Option("--settings", help="YAML file; what it leaves out stays as it comes with the weights.")]
Out = Annotated[Path, typer.Option(help="Folder for masks, table and pictures.")]
Images = Annotated[list[str], typer.Argument(help="Images: files, folders (with all their subfolders) and globs.", show_default=False)]
Weights = Annotated[
    list[str],
    typer.Option(
        help="Weights that come with somaseg, by name, a file of `somaseg train`, or a folder of such files; several are an ensemble."
    ),
]
DEFAULT_WEIGHTS = ["default"]
Submission = Annotated[Path | None, typer.Option(help="Also write a Kaggle submission (CSV) here.")]
Overlay = Annotated[bool, typer.Option(help="Draw the pictures.")]


@app.command()
def segment(
    paths: Images,
    out: Out,
    weights: Weights = DEFAULT_WEIGHTS,
    kaggle: Submission = None,
    overlay: Overlay = True,
    settings_file: SettingsFile = None,
    assignments: Assignments = None,
) -> None:
    """Find the cells of images; a second run goes on where the first one stopped."""
    from somaseg.batch.segment import run
    from somaseg.config import SegmentSettings, override, update
    from somaseg.inference.detect import load

    segmenter = load(weights)
    settings = override(update(SegmentSettings(postprocess=segmenter.settings), settings_file), assignments or [])
    segmenter.tta = settings.tta
    _finish(run(paths, out, segmenter, settings.postprocess, kaggle, overlay, console))


@app.command()
def predict(
    paths: Images,
    out: Annotated[Path, typer.Option(help="Folder for the predictions.")],
    weights: Weights = DEFAULT_WEIGHTS,
    assignments: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Such as tta.flips=[none,horizontal], two views.")
    ] = None,
) -> None:
    """Save what the network says of images, before any threshold, for `postprocess` and `fuse`; a second run goes on."""
    from somaseg.batch.segment import predict
    from somaseg.config import PredictSettings, override
    from somaseg.inference.detect import load

    segmenter = load(weights)
    segmenter.tta = override(PredictSettings(), assignments or []).tta
    _finish(predict(paths, out, segmenter, console))


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
    from somaseg.batch.saved_runs import read_runs, run
    from somaseg.fusion.methods import single

    runs = read_runs([predictions])
    settings = runs.settings(settings_file, assignments or [])
    _finish(run(runs, out, single(settings.postprocess, runs.classes), kaggle, overlay, console))


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
    from somaseg.batch.saved_runs import read_runs, run
    from somaseg.fusion.methods import fused

    runs = read_runs(predictions)
    settings = runs.settings(settings_file, assignments or [])
    _finish(run(runs, out, fused(settings.fuse, settings.postprocess, runs.classes), kaggle, overlay, console))


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
    from somaseg.batch.saved_runs import read_runs
    from somaseg.tuning.report import score_table, threshold_table, verdict
    from somaseg.tuning.tune import tune_runs

    runs = read_runs(predictions)
    start = runs.settings(settings_file, assignments or [])
    tuned, files = tune_runs(runs, truth, start, out, study, report, trials, folds, seed, find_groups, force, processes, console)
    console.print(threshold_table(tuned), score_table(tuned))
    console.print(verdict(tuned), markup=False, highlight=False, soft_wrap=True)
    for path in files:
        console.print(f"wrote {path}", markup=False, highlight=False, soft_wrap=True)


@app.command()
def pseudo(
    predictions: Annotated[
        list[Path], typer.Argument(help="Folders of `somaseg predict` of unlabelled images, one a model.", show_default=False)
    ],
    out: Annotated[Path, typer.Option(help="Folder for annotations.json, pictures, cells.csv.")],
    near: Annotated[
        list[Path] | None, typer.Option(help="Annotations of a person; images of their fields take their groups. Can be repeated.")
    ] = None,
    images: Annotated[
        list[str] | None, typer.Option(help="Where the images are, if they were moved: file, folder or glob. Can be repeated.")
    ] = None,
    settings_file: SettingsFile = None,
    assignments: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Such as pseudo.accept_score.cort=0.6.")
    ] = None,
) -> None:
    """Make pseudo-labels: fuse the predictions of several models, and screen each cell: accepted, ignored or dropped."""
    from somaseg.batch.saved_runs import read_runs
    from somaseg.config import PseudoRunSettings
    from somaseg.pseudolabels.groups import read_annotated
    from somaseg.pseudolabels.pseudo import run

    runs = read_runs(predictions)
    settings = runs.settings_of(PseudoRunSettings, settings_file, assignments or [])
    annotated = None if near is None else read_annotated(near)
    summary = run(runs, out, settings, annotated, images, console)
    console.print(summary.table())
    _finish(summary)


@app.command()
def rounds(
    config: Annotated[Path, typer.Argument(help="Settings, such as configs/rounds/full.yaml.", show_default=False)],
    out: Annotated[Path, typer.Option(help="Folder of everything; rounds that were stopped go on.")] = Path("rounds"),
    stage: Annotated[str | None, typer.Option(help="Make this stage again and no other, such as pseudo-1.")] = None,
    dry: Annotated[bool, typer.Option("--dry-run", help="Only show the plan, with estimates of time and disk.")] = False,
    ray: Annotated[
        str, typer.Option(help="Run tasks side by side: local for this machine, auto or an address for a Ray cluster; else in order.")
    ] = "none",
    assignments: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Such as pseudo.accept_agreement=0.7.")
    ] = None,
) -> None:
    """Train members, label unlabelled images with them, and train them on, round by round; exit code 1 when a task fails."""
    from somaseg.config import RoundsSettings, load_settings, override
    from somaseg.rounds.report import plan_table
    from somaseg.rounds.rounds import run
    from somaseg.rounds.state import Rounds

    opened = Rounds(override(load_settings(RoundsSettings, config), assignments or []), out, ray)
    if dry:
        console.print(plan_table(opened.rows()))
        return
    failures = run(opened, console, stage)
    console.print(plan_table(opened.rows()))
    for name, reason in failures.items():
        console.print(f"failed: {name}: {reason}", markup=False, highlight=False, soft_wrap=True)
    console.print(f"wrote {out / 'index.html'}", markup=False, highlight=False, soft_wrap=True)
    raise typer.Exit(1 if failures else 0)


def _finish(summary: "RunSummary | PseudoSummary") -> None:
    console.print(summary.text(), markup=False, highlight=False, soft_wrap=True)
    if summary.failures:
        raise typer.Exit(1)


def main() -> None:
    """Run the command line; an input error is one clear line and exit code 2."""
    try:
        app()
    except (InputError, MissingExtraError) as error:
        Console(stderr=True).print("[bold red]error:[/]", escape(str(error)), highlight=False)
        raise SystemExit(2) from None


if __name__ == "__main__":
    main()
