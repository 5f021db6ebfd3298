"""The application that commands register with, and how they speak."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from typer.core import TyperGroup

if TYPE_CHECKING:
    from somaseg.batch.export import ExportSummary
    from somaseg.batch.summary import RunSummary
    from somaseg.pseudolabels.folder import PseudoSummary

GO_ON = {"segment", "predict", "postprocess", "fuse", "train", "finetune", "tune", "rounds"}  # commands that a second run resumes


class Commands(TyperGroup):
    """All commands; broken off by Ctrl-C, they say what becomes of what was done."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            kept = "what is done is kept, and the same command again goes on from there"
            Console(stderr=True).print(f"stopped: {kept if ctx.invoked_subcommand in GO_ON else 'run it again for all of it'}")
            raise typer.Exit(130) from None


app = typer.Typer(
    cls=Commands, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help="Segment every neuronal cell."
)
console = Console()


@app.callback()
def _root(debug: Annotated[bool, typer.Option("--debug", help="Show where in the code an error came from.")] = False) -> None:
    """Segment every neuronal cell in light-microscopy images."""
    if debug:
        logging.basicConfig(level=logging.WARNING)
        logging.getLogger("somaseg").setLevel(logging.DEBUG)


def is_debugged() -> bool:
    """Whether errors shall show where in the code they came from."""
    return logging.getLogger("somaseg").isEnabledFor(logging.DEBUG)


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


def finish(summary: "RunSummary | ExportSummary | PseudoSummary") -> None:
    """Show what a batch run did; exit code 1 when a file failed."""
    say(summary.text())
    if summary.failures:
        raise typer.Exit(1)
