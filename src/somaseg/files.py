"""Files: written whole or not at all, and the hash of what they hold."""

import hashlib
from pathlib import Path

from somaseg.errors import InputError


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


def write_atomic(path: Path, data: bytes) -> None:
    """Write a file so that a reader, or a kill at any moment, finds the old one or the new one, never a part.

    Folders on the way are made. A kill leaves at most `.NAME.part` beside it, which the next write replaces.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    part.write_bytes(data)
    part.replace(path)
