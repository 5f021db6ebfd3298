"""Text in every encoding."""

import codecs
from pathlib import Path

import pytest

from somaseg.errors import InputError
from somaseg.texts.encoding import decode, read_text

TEXT = '{"name": "Zellkörper µ"}'


@pytest.mark.parametrize(
    ("mark", "encoding"),
    [
        (b"", "utf-8"),
        (codecs.BOM_UTF8, "utf-8"),
        *[(mark, f"utf-16-{end}") for end, full in (("le", codecs.BOM_UTF16_LE), ("be", codecs.BOM_UTF16_BE)) for mark in (b"", full)],
        *[(mark, f"utf-32-{end}") for end, full in (("le", codecs.BOM_UTF32_LE), ("be", codecs.BOM_UTF32_BE)) for mark in (b"", full)],
        (b"", "latin-1"),
        (b"", "cp1252"),
    ],
)
def test_every_encoding(mark: bytes, encoding: str) -> None:
    assert decode(mark + TEXT.encode(encoding)) == TEXT


def test_bytes_that_no_encoding_has(tmp_path: Path) -> None:
    assert decode(b"\x81 a") == "\x81 a"  # no letter of Windows-1252
    (tmp_path / "x").write_bytes(codecs.BOM_UTF16_LE + b"\x00\xd8")
    with pytest.raises(InputError, match="x: is no text"):
        read_text(tmp_path / "x")
    with pytest.raises(InputError, match="cannot be read"):
        read_text(tmp_path)
