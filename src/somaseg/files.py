"""Files: written whole or not at all, and the hash of what they hold."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from somaseg.errors import InputError


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Where to write what becomes the file `path` when all of it is written.

    A reader, or a kill at any moment, finds the old file or the new one, never a part. Folders on the way are made, a link stays a
    link, and the file gets the mode that the umask gives, whatever wrote it. Only regular files are replaced: a device or a pipe is
    written to as it is. A kill leaves at most `.NAME.part` beside the file, which the next write replaces.

    Raises:
        InputError: when it is a folder.
    """
    target = path.resolve()
    if target.is_dir():
        raise InputError(f"{path}: is a folder, expected the name of a file: give another name")
    if target.exists() and not target.is_file():
        yield target
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.part")
    part.unlink(missing_ok=True)
    part.touch()
    mode = part.stat().st_mode
    try:
        yield part
        part.chmod(mode)
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


def write_whole(path: Path, data: bytes | str) -> None:
    """Write a file so that none ever sees a part of it, see `whole`; text is stored as UTF-8."""
    with whole(path) as part:
        part.write_bytes(data.encode() if isinstance(data, str) else data)


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
