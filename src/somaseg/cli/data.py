"""The commands `somaseg data ...`."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from somaseg.cli.app import console, note, say, wrote

ANNOTATIONS = "COCO JSON, train.csv, label images, files of ImageJ, QuPath or Cellpose, or a folder with one of them."
data_app = typer.Typer(no_args_is_help=True, help="Check, split and convert annotated images.")


class Format(StrEnum):
    """What `data convert` writes."""

    COCO = "coco"
    KAGGLE = "kaggle"
    LABELS = "labels"


@data_app.command("check")
def data_check(
    path: Annotated[Path, typer.Argument(help=ANNOTATIONS)],
    images: Annotated[Path | None, typer.Option(help="Folder of the images, where it is not beside the annotations.")] = None,
    fix: Annotated[Path | None, typer.Option(help="Write a repaired copy: a .json file, or a folder for annotations.json.")] = None,
    json: Annotated[Path | None, typer.Option(help="Write everything found to this JSON file.")] = None,
    weights: Annotated[str, typer.Option(help="Weights whose cells the annotated ones are compared with in size.")] = "default",
) -> None:
    """Report duplicates, empty, broken and overlapping masks, areas, and unreadable images; exit code 1 when there are problems."""
    from somaseg.checkpoints.header import read_header
    from somaseg.checkpoints.names import weights_path
    from somaseg.data import report as report
    from somaseg.data.check import check
    from somaseg.data.repair import left_out, repair, repaired_file, write_repaired
    from somaseg.files import check_file

    for file in (None if fix is None else repaired_file(fix), json):
        if file is not None:
            check_file(file)
    result = check(path, images, progress=console.is_terminal)
    repaired, changes = repair(result.samples, result.problems) if fix is not None else ([], [])
    console.print(report.class_table(result))
    if compared := report.sizes_beside(result, read_header(weights_path(weights)).config.model.trained_at):
        note(compared)
    if result.problems:
        console.print(report.image_table(result), report.problem_table(result))
        for line in report.problem_lines(result):
            say(line)
    else:
        console.print("no problems found")
    if fix is not None:
        written = write_repaired(repaired, fix, changes, left_out(result.problems))
        console.print(report.change_table(changes))
        for line in report.change_lines(changes):
            say(line)
        wrote(written)
    if json is not None:
        report.write_json(result, changes, json)
        wrote(json)
    raise typer.Exit(1 if result.problems else 0)


@data_app.command("split")
def data_split(
    path: Annotated[Path, typer.Argument(help=ANNOTATIONS)],
    out: Annotated[Path, typer.Option(help="JSON file for the fold of each image.")] = Path("folds.json"),
    images: Annotated[Path | None, typer.Option(help="Folder of the images, where it is not beside the annotations.")] = None,
    folds: Annotated[int, typer.Option(help="Number of folds.")] = 5,
    seed: Annotated[int, typer.Option(help="Another seed gives another split.")] = 0,
    group_column: Annotated[
        str | None, typer.Option(help="Column of train.csv or of --group-csv, or field of COCO's images, to group by.")
    ] = None,
    group_csv: Annotated[Path | None, typer.Option(help="CSV with the image's name in its first column, for --group-column.")] = None,
    find_groups: Annotated[bool, typer.Option("--find-groups", help="Also put images together that show the same field.")] = False,
    given: Annotated[Path | None, typer.Option("--check", help="Check the folds in this JSON file instead of making new ones.")] = None,
) -> None:
    """Make folds that keep images of one field together and have the same mix of cell types."""
    from somaseg.annotations.read import read_annotations
    from somaseg.data import splits
    from somaseg.data.groups import grouped
    from somaseg.files import check_file

    if given is None:
        check_file(out)
    samples = grouped(read_annotations(path, images, opened=find_groups), group_column, group_csv, find_groups)
    if given is not None:
        chosen = splits.read_folds(given)
        splits.check_folds(samples, chosen)
        say(f"{given}: no group is in two folds")
    else:
        chosen = splits.make_folds(samples, folds, seed)
        splits.write_folds(chosen, out)
        wrote(out)
    console.print(splits.fold_table(samples, chosen))


@data_app.command("convert")
def data_convert(
    source: Annotated[Path, typer.Argument(help=ANNOTATIONS)],
    destination: Annotated[Path, typer.Argument(help="JSON file, CSV file, or folder for label TIFFs.")],
    to: Annotated[Format, typer.Option(help="Format to write.")],
    images: Annotated[Path | None, typer.Option(help="Folder of the images, where it is not beside the annotations.")] = None,
) -> None:
    """Write annotations in another format; masks stay the same to the pixel."""
    from somaseg.annotations.convert import convert

    for line in convert(source, destination, to.value, images):
        say(line)
