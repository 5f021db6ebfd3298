"""JSON as the world writes it."""

import math
from pathlib import Path

import pytest

from somaseg.errors import InputError
from somaseg.texts.json_text import read_json, read_json_values


def write(folder: Path, text: str, encoding: str = "utf-8") -> Path:
    path = folder / "x.json"
    path.write_bytes(text.encode(encoding))
    return path


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32", "utf-32-be", "latin-1"])
def test_encodings(tmp_path: Path, encoding: str) -> None:
    assert read_json(write(tmp_path, '{"a": "ä"}', encoding)) == {"a": "ä"}


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ('{"a": [1, 2,], "b": ",}",}', [{"a": [1, 2], "b": ",}"}]),
        ('{"a": 1}\n{"a": 2}\n', [{"a": 1}, {"a": 2}]),
        ('{"a": 1}{"a": 2}', [{"a": 1}, {"a": 2}]),
        ('{"a": -Infinity, "b": -0}', [{"a": -math.inf, "b": 0}]),
        ('{"a": "line\nbreak"}', [{"a": "line\nbreak"}]),
        ('{"a": 1e999}', [{"a": math.inf}]),
    ],
)
def test_what_is_not_strictly_json(tmp_path: Path, text: str, values: list[object]) -> None:
    assert read_json_values(write(tmp_path, text)) == values


def test_nan(tmp_path: Path) -> None:
    assert math.isnan(read_json(write(tmp_path, '{"a": NaN}'))["a"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty|not valid"),
        ('{"a": [', "is not valid JSON .*cut off"),
        ("[" * 100_000, "nested too deeply"),
        ('{"a": NaN, "b": ' + "[" * 100_000, "nested too deeply"),
        ('{"a": NaN, "b": ' + "9" * 5000 + "}", "is not valid JSON"),
        ('{"a": "' + '\\"' * 20_000, "is not valid JSON"),
    ],
)
def test_what_is_no_json(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_json_values(write(tmp_path, text))


def test_several_values_where_one_is_expected(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="2 JSON values"):
        read_json(write(tmp_path, "1\n2"))
