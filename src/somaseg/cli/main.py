"""The command line, put together: one command a stage, no logic."""

import sys
from importlib import import_module

from rich.console import Console
from rich.markup import escape

from somaseg.cli.app import app, is_debugged
from somaseg.cli.data import data_app
from somaseg.cli.weights import weights_app
from somaseg.errors import InputError, MissingExtraError

# Each registers its commands; help shows them in this order.
for module in ("segment", "plates", "evaluate", "train", "synth"):
    import_module(f"somaseg.cli.{module}")
app.add_typer(data_app, name="data")
app.add_typer(weights_app, name="weights")


# What commands that train, convert or compute with torch import, and the extra that brings it.
EXTRAS = {"torch": "torch", "torchvision": "torch", "timm": "torch", "onnx": "torch", "pytorch_lightning": "train"}
TRAINING = {"train", "finetune", "rounds"}


def main() -> None:
    """Run the command line; an error is one clear line: exit code 2 for what a user can mend, 3 for a fault of ours."""
    try:
        app()
    except Exception as error:  # whatever it is, people get a line, and with --debug the place in the code
        if is_debugged():
            raise
        error = _named(error)
        ours = not isinstance(error, InputError | MissingExtraError | OSError)
        text = f"{type(error).__name__}: {error}; this is a fault of somaseg: run `somaseg --debug ...` and report what it prints"
        Console(stderr=True).print("[bold red]error:[/]", escape(text if ours else str(error)), highlight=False, soft_wrap=True)
        raise SystemExit(3 if ours else 2) from None


def _named(error: Exception) -> Exception:
    """A missing package of an extra as an error that names the extra."""
    package = (error.name or "").partition(".")[0] if isinstance(error, ModuleNotFoundError) else ""
    if package not in EXTRAS:
        return error
    return MissingExtraError(package, "train" if TRAINING.intersection(sys.argv[1:]) else EXTRAS[package])


if __name__ == "__main__":
    main()
