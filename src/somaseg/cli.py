"""The command line: one command a stage, no logic."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from somaseg.errors import InputError, MissingExtraError

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help="Segment every neuronal cell.")
data_app = typer.Typer(no_args_is_help=True, help="Check, split and convert annotated images.")
app.add_typer(data_app, name="data")
console = Console()


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
    from somaseg import evaluate as stage
    from somaseg.evaluation_report import score_table

    result = stage.evaluate(pred, truth, None if weights_by_type is None else stage.parse_weights(weights_by_type))
    console.print(score_table(result.map_iou, result.cells, result.cells_by_class, result.coco_ap))
    for note in result.notes():
        console.print(f"note: {note}", style="yellow", markup=False, highlight=False)
    for path in stage.write_evaluation(result, out):
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

    from somaseg.data.synth_folder import write_cultures

    samples = write_cultures(out, count, seed, cell_type, lambda numbers: track(numbers, "rendering", count, console=console))
    cells = sum(len(sample.instances) for sample in samples)
    message = f"wrote {len(samples)} images with {cells} cells and annotations.json to {out}"
    console.print(message, markup=False, highlight=False, soft_wrap=True)


@app.command()
def segment(
    paths: Annotated[list[str], typer.Argument(help="Images: files, folders (with all their subfolders) and globs.", show_default=False)],
    out: Annotated[Path, typer.Option(help="Folder for masks, table and pictures.")],
    weights: Annotated[str, typer.Option(help="Weights that come with somaseg, by name, or a file of `somaseg train`.")] = "default",
    kaggle: Annotated[Path | None, typer.Option(help="Also write a Kaggle submission (CSV) here.")] = None,
    overlay: Annotated[bool, typer.Option(help="Draw the pictures.")] = True,
    assignments: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Such as postprocess.overlaps=keep, which lets cells overlap.")
    ] = None,
) -> None:
    """Find the cells of images; a second run goes on where the first one stopped."""
    from somaseg.config import SegmentSettings, override
    from somaseg.predict import load
    from somaseg.segment import run

    segmenter = load(weights)
    settings = override(SegmentSettings(postprocess=segmenter.settings), assignments or [])
    summary = run(paths, out, segmenter, settings.postprocess, kaggle, overlay, console)
    console.print(summary.text(), markup=False, highlight=False, soft_wrap=True)
    if summary.failures:
        raise typer.Exit(1)


def main() -> None:
    """Run the command line; an input error is one clear line and exit code 2."""
    try:
        app()
    except (InputError, MissingExtraError) as error:
        Console(stderr=True).print(f"[bold red]error:[/] {error}", highlight=False)
        raise SystemExit(2) from None


if __name__ == "__main__":
    main()
