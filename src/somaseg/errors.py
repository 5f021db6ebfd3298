"""The errors that somaseg raises for input it cannot use, and how they show a value."""

import reprlib
from typing import Any


class InputError(ValueError):
    """A file, a setting or an array that somaseg cannot use.

    The message names the file and the field, says what was found and what was expected, and what to do.
    """


class RunError(InputError):
    """What is wrong for every file of a run, so that it ends: the other files would fail alike."""


class WeightsError(RunError):
    """Weights that cannot be used, found when the first image wants them."""


class OutputError(RunError):
    """A file that cannot be written."""


class MissingExtraError(ImportError):
    """A command needs an optional part of somaseg that is not installed; the message names the extra."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(f"{package} is not installed: run  pip install 'somaseg[{extra}]'")


_SHORT = reprlib.Repr()
_SHORT.maxlevel, _SHORT.maxlist, _SHORT.maxdict, _SHORT.maxtuple = 3, 6, 4, 6
_SHORT.maxstring, _SHORT.maxlong, _SHORT.maxother = 80, 40, 80


def shown(value: Any) -> str:
    """A value as a message shows it: short, whatever it holds and however deep it is nested."""
    return _SHORT.repr(value)
