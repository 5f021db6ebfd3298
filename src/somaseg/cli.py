"""The command line: one command a stage, no logic."""

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


def main() -> None:
    """Run the command line; an input error is one clear line and exit code 2."""
    try:
        app()
    except (InputError, MissingExtraError) as error:
        Console(stderr=True).print(f"[bold red]error:[/] {error}", highlight=False)
        raise SystemExit(2) from None


if __name__ == "__main__":
    main()
