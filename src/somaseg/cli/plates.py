"""The commands that sum up results: plates, count, report."""

from pathlib import Path
from typing import Annotated

import typer

from somaseg.cli.app import app, note, say, wrote

Result = Annotated[Path, typer.Argument(help="Folder of results of `segment`, `postprocess` or `fuse`.", show_default=False)]


@app.command()
def plates(
    result: Result,
    out: Annotated[Path, typer.Option(help="Folder for tables (places, wells, controls, dose) and pictures.")],
    plate_map: Annotated[
        Path | None, typer.Option("--map", help="CSV of what is in the wells: columns well, treatment, dose, control, plate.")
    ] = None,
    pattern: Annotated[
        str | None,
        typer.Option(metavar="REGEX", help="Where names tell the well: a regular expression with the group (?P<well>...)."),
    ] = None,
    negative: Annotated[str | None, typer.Option(help="Negative control: a treatment of the map, or wells such as A01,B01.")] = None,
    positive: Annotated[str | None, typer.Option(help="Positive control, the same way.")] = None,
    readouts: Annotated[
        list[str] | None,
        typer.Option("--readout", help="Column of wells.csv for controls, curves and pictures; can be repeated."),
    ] = None,
    time: Annotated[float | None, typer.Option(help="Time of the dose-response curves; else the last one.")] = None,
    pictures: Annotated[bool, typer.Option(help="Draw the pictures.")] = True,
) -> None:
    """Sum up wells and time points: counts, confluence, morphology, controls, dose-response, pictures."""
    from somaseg.plates.plates import READOUTS, PlateRequest, make_plates

    chosen = tuple(dict.fromkeys(readouts)) if readouts else READOUTS
    report = make_plates(PlateRequest(result, out, plate_map, pattern, negative, positive, chosen, time, pictures))
    for text in report.notes:
        note(text)
    for line in report.lines:
        say(line)
    wrote(*report.files)


@app.command()
def count(
    result: Result,
    regions: Annotated[
        Path,
        typer.Option(help="GeoJSON, ROI or zip of ROIs with the regions of all images, or a folder with one for each image, by its name."),
    ],
    out: Annotated[Path, typer.Option(help="The CSV to write.")] = Path("regions.csv"),
) -> None:
    """Count and measure the cells in regions that were drawn in QuPath or ImageJ."""
    from somaseg.counting.count import count as stage

    counted = stage(result, regions, out)
    for text in counted.notes:
        note(text)
    for line in counted.lines():
        say(line)
    wrote(counted.file)


@app.command()
def report(
    result: Result,
    out: Annotated[Path | None, typer.Option(help="The page to write; else report.html in the result.", show_default=False)] = None,
    plates_folder: Annotated[
        Path | None, typer.Option("--plates", help="Folder that `somaseg plates` has filled.", show_default=False)
    ] = None,
) -> None:
    """Show a result as one page for the browser: gallery, tables, distributions, plates, how it was made."""
    from somaseg.report.report import make_report

    page = make_report(result, out, plates_folder)
    for text in page.notes:
        note(text)
    wrote(page.file)
