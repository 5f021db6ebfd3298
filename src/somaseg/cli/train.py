"""The commands that train: train, finetune, pseudo, rounds."""

from pathlib import Path
from typing import Annotated

import typer

from somaseg.cli.app import app, console, finish, note, say, wrote
from somaseg.cli.options import SettingsFile


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

        say(dry_run(settings, data, edge).text())
        return
    best = fit(settings, data, out)
    wrote(best)


@app.command()
def finetune(
    data: Annotated[
        Path,
        typer.Option(
            help="5 to 50 annotated images: COCO JSON, train.csv, label TIFFs, ImageJ ROIs, QuPath GeoJSON, or a folder with one of them."
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder of the run; a run that was stopped goes on.")],
    weights: Annotated[str, typer.Option(help="To start from: weights that come with somaseg, by name, or a file.")] = "default",
    assignments: Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Such as train.steps=600.")] = None,
) -> None:
    """Train weights further on a few images; they are kept only if they score higher on images held out, else the exit code is 1."""
    from somaseg.training import finetune as stage
    from somaseg.training.finetune_report import gain_table, verdict

    result, path = stage.finetune(data, out, weights, assignments or [], console)
    console.print(gain_table(result))
    for text in result.notes:
        note(text)
    console.print(verdict(result, str(path)), markup=False, highlight=False, soft_wrap=True)
    raise typer.Exit(0 if result.better else 1)


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
    from somaseg.batch.saved.saved_runs import read_runs
    from somaseg.config import PseudoRunSettings
    from somaseg.pseudolabels.groups import read_annotated
    from somaseg.pseudolabels.pseudo import label_folder

    runs = read_runs(predictions)
    settings = runs.settings_of(PseudoRunSettings, settings_file, assignments or [])
    annotated = None if near is None else read_annotated(near)
    summary = label_folder(runs, out, settings, annotated, images, console)
    console.print(summary.table())
    finish(summary)


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
    from somaseg.rounds.rounds import run_rounds
    from somaseg.rounds.state import Rounds

    opened = Rounds(override(load_settings(RoundsSettings, config), assignments or []), out, ray)
    if dry:
        console.print(plan_table(opened.rows()))
        return
    failures = run_rounds(opened, console, stage)
    console.print(plan_table(opened.rows()))
    for name, reason in failures.items():
        say(f"failed: {name}: {reason}")
    wrote(out / "index.html")
    raise typer.Exit(1 if failures else 0)
