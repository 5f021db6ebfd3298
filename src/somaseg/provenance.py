"""What a result was made with: versions of packages, content of files."""

import hashlib
import platform
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path

from somaseg.errors import InputError

PACKAGES = ("somaseg", "torch", "torchvision", "timm", "numpy")


def versions(more: Iterable[str] = ()) -> dict[str, str]:
    """Versions of Python, of the packages that results depend on, and of `more`; none is imported."""
    return {"python": platform.python_version(), **{package: version(package) for package in (*PACKAGES, *more)}}


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's content, as hexadecimal digits.

    Raises:
        InputError: when the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}): check the file and its permissions") from error
