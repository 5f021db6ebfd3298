"""The command line, put together: one command a stage, no logic."""

from importlib import import_module

from rich.console import Console
from rich.markup import escape

from somaseg.cli.app import app
from somaseg.cli.data import data_app
from somaseg.cli.weights import weights_app
from somaseg.errors import InputError, MissingExtraError

# Each registers its commands; help shows them in this order.
for module in ("segment", "evaluate", "train", "synth"):
    import_module(f"somaseg.cli.{module}")
app.add_typer(data_app, name="data")
app.add_typer(weights_app, name="weights")


def main() -> None:
    """Run the command line; an input error is one clear line and exit code 2."""
    try:
        app()
    except (InputError, MissingExtraError) as error:
        Console(stderr=True).print("[bold red]error:[/]", escape(str(error)), highlight=False)
        raise SystemExit(2) from None


if __name__ == "__main__":
    main()
