"""Functions that tasks of tests call; they stand here because workers of Ray import them by name."""

import os
import signal
from pathlib import Path

from somaseg.errors import InputError


def write(path: Path, text: str) -> None:
    path.write_text(text)


def die_once(path: Path) -> None:
    """Adds a line, and kills its own process after the first."""
    with path.open("a") as file:
        file.write("a line\n")
    if path.read_text() == "a line\n":
        os.kill(os.getpid(), signal.SIGKILL)


def refuse(path: Path) -> None:
    with path.open("a") as file:
        file.write("asked\n")
    raise InputError("a.png: no image: leave it out")


def stumble() -> None:
    raise KeyError("lost")


def forget() -> None:
    """Writes nothing."""
