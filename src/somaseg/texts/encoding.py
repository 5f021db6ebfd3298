"""Which letters the bytes of a text file are."""

import codecs
from pathlib import Path

from somaseg.errors import InputError

MARKS = {  # UTF-32 first: its mark starts with that of UTF-16
    codecs.BOM_UTF32_LE: "utf-32-le",
    codecs.BOM_UTF32_BE: "utf-32-be",
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF16_LE: "utf-16-le",
    codecs.BOM_UTF16_BE: "utf-16-be",
}
# Where the first characters are ASCII, as in JSON, CSV and YAML, the zeros among four bytes tell the encoding (RFC 4627, section 3).
ZEROS = {"1000": "utf-32-le", "0001": "utf-32-be", "1010": "utf-16-le", "0101": "utf-16-be"}


def decode(data: bytes) -> str:
    """The text of a file: UTF-8, UTF-16 or UTF-32, with a byte order mark or without; else Windows-1252, which holds Latin-1.

    Raises:
        UnicodeDecodeError: when the bytes are not of the encoding that its mark or its zeros tell.
    """
    for mark, encoding in MARKS.items():
        if data.startswith(mark):
            return data[len(mark) :].decode(encoding).removeprefix("\ufeff")  # some tools write it twice
    wide = ZEROS.get("".join("1" if byte else "0" for byte in data[:4]))
    if wide is not None:
        return data.decode(wide)
    for encoding in ("utf-8", "cp1252"):
        try:
            return data.decode(encoding)
        except UnicodeDecodeError:
            continue
    return data.decode("latin-1")


def read_bytes(path: Path) -> bytes:
    """The content of a file.

    Raises:
        InputError: when it cannot be read.
    """
    try:
        return path.read_bytes()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise InputError(f"{path}: cannot be read ({reason}): check the path and its permissions") from error


def read_text(path: Path) -> str:
    """The text of a file, see `decode`.

    Raises:
        InputError: when it cannot be read, or its bytes are no text.
    """
    try:
        return decode(read_bytes(path))
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: is no text ({error}): the file may be damaged") from error
