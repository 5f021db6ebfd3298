"""The command that shows a result as a page."""

from pathlib import Path
from typing import Annotated

import typer

from somaseg.cli.app import app, note, wrote


@app.command()
def report(
    result: Annotated[Path, typer.Argument(help="Folder of results of `segment`, `postprocess` or `fuse`.", show_default=False)],
    out: Annotated[Path | None, typer.Option(help="The page to write; else report.html in the result.", show_default=False)] = None,
    plates: Annotated[Path | None, typer.Option(help="Folder that `somaseg plates` has filled.", show_default=False)] = None,
) -> None:
    """Show a result as one page for the browser: gallery, tables, distributions, plates, how it was made."""
    from somaseg.report.report import make_report

    page = make_report(result, out, plates)
    for text in page.notes:
        note(text)
    wrote(page.file)
