"""The application that commands register with, and how they speak."""

from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.console import Console

if TYPE_CHECKING:
    from somaseg.batch.summary import RunSummary
    from somaseg.pseudolabels.folder import PseudoSummary

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help="Segment every neuronal cell.")
console = Console()


@app.callback()
def _root() -> None:
    """Segment every neuronal cell in light-microscopy images."""


def say(text: str, style: str | None = None) -> None:
    """Print text as it is: no markup, no colours of its own, no line broken."""
    console.print(text, style=style, markup=False, highlight=False, soft_wrap=True)


def note(text: str) -> None:
    """Print what a reader should know about a result."""
    say(f"note: {text}", "yellow")


def wrote(*paths: Path) -> None:
    """Print a line for each file that was written."""
    for path in paths:
        say(f"wrote {path}")


def finish(summary: "RunSummary | PseudoSummary") -> None:
    """Show what a batch run did; exit code 1 when a file failed."""
    say(summary.text())
    if summary.failures:
        raise typer.Exit(1)
