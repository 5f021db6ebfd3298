"""Files: written whole or not at all, and the hash of what they hold."""

import errno
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from somaseg.errors import InputError, OutputError


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Where to write what becomes the file `path` when all of it is written.

    A reader, or a kill at any moment, finds the old file or the new one, never a part. Folders on the way are made, a link stays a
    link, and the file gets the mode that the umask gives, whatever wrote it. Only regular files are replaced: a device or a pipe is
    written to as it is. A kill leaves at most `.NAME.part` beside the file, which the next write replaces.

    Raises:
        OutputError: when it is a folder, or the disk is full, or it cannot be written for another reason.
        InputError: when its name is too long, which is wrong for this file alone.
    """
    try:
        target = path.resolve()
        if target.is_dir():
            raise OutputError(f"{path}: is a folder, expected the name of a file: give another name")
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
    except OSError as error:
        raise _cannot_write(path, error) from error


def _cannot_write(path: Path, error: OSError) -> InputError:
    if error.errno == errno.ENAMETOOLONG:
        return InputError(f"{path}: the name is too long for this disk: shorten the name of the image")
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return OutputError(f"{path}: the disk is full: free some space and give the same command again; what is done is kept")
    return OutputError(f"{path}: cannot be written ({error.strerror or error}): choose another place, or change its permissions")


def check_folder(folder: Path) -> None:
    """Make a folder for results, and find out now whether files can be written there.

    Raises:
        OutputError: when they cannot.
    """
    blocked = next((place for place in (folder, *folder.parents) if place.exists() and not place.is_dir()), None)
    if blocked is not None:
        raise OutputError(f"{blocked}: is a file, expected a folder for the results: choose another one")
    write_whole(folder / ".writable", b"")
    (folder / ".writable").unlink(missing_ok=True)


def check_file(path: Path) -> None:
    """Find out now whether a file can be written; what is there stays as it is.

    Raises:
        OutputError: when it cannot, or is a folder.
    """
    if path.is_dir():
        raise OutputError(f"{path}: is a folder, expected the name of a file: give another name")
    if not path.exists() or path.is_file():
        check_folder(path.parent)
    elif not os.access(path, os.W_OK):
        raise OutputError(f"{path}: cannot be written: choose another place, or change its permissions")


@contextmanager
def only_run(folder: Path) -> Iterator[None]:
    """Hold a folder of results, made if absent, while one run writes into it; the system lets go of it when the process is killed.

    Raises:
        OutputError: when another run holds it, or it cannot be made.
    """
    check_folder(folder)
    try:
        lock = FileLock(folder / ".lock", timeout=0)
        lock.acquire()
    except Timeout:
        raise OutputError(f"{folder}: is in use by another run: wait for it or stop it, or give another --out") from None
    try:
        yield
    finally:
        lock.release()


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
