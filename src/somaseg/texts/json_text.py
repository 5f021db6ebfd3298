"""JSON as the world writes it: any encoding, NaN, trailing commas, several values behind each other (JSON lines)."""

import json
import re
from pathlib import Path
from typing import Any

import orjson

from somaseg.errors import InputError
from somaseg.texts.encoding import decode, read_bytes

# A string, whole or cut off, so that no comma inside one is found; or a comma with nothing but a closing bracket behind it.
TRAILING_COMMA = re.compile(r'"(?:[^"\\]|\\.)*(?:"|\Z)|,(?=\s*[\]}])', re.DOTALL)
BETWEEN = re.compile(r"[\s,\x1e]*")


def read_json_values(path: Path) -> list[Any]:
    """The JSON values of a file, which are one as a rule; several stand behind each other, as in JSON lines.

    NaN and infinity come as floats. The quick way reads what is strictly JSON, the slow one the rest.

    Raises:
        InputError: when the file cannot be read, is no JSON, or is nested too deeply.
    """
    data = read_bytes(path)
    try:
        return [orjson.loads(data)]
    except orjson.JSONDecodeError as error:
        fault = error
    deep = InputError(f"{path}: is nested too deeply for annotations or settings: expected a few levels of lists and fields")
    if "ecursion" in str(fault):
        raise deep
    try:
        values = _values(decode(data))
    except RecursionError:
        raise deep from None
    except ValueError as error:
        raise InputError(f"{path}: is not valid JSON ({fault}): the file may be cut off") from error
    if not values:
        raise InputError(f"{path}: is empty: expected JSON")
    return values


def read_json(path: Path) -> Any:
    """The only JSON value of a file.

    Raises:
        InputError: as `read_json_values` does, and when there are several.
    """
    values = read_json_values(path)
    if len(values) > 1:
        raise InputError(f"{path}: holds {len(values)} JSON values behind each other, expected one")
    return values[0]


def _values(text: str) -> list[Any]:
    decoder = json.JSONDecoder(strict=False)
    try:
        return _scan(decoder, text)
    except json.JSONDecodeError:
        return _scan(decoder, TRAILING_COMMA.sub(lambda found: "" if found[0] == "," else found[0], text))


def _scan(decoder: json.JSONDecoder, text: str) -> list[Any]:
    values = []
    place = BETWEEN.match(text).end()  # type: ignore[union-attr]  # it matches nothing as well
    while place < len(text):
        value, end = decoder.raw_decode(text, place)
        values.append(value)
        place = BETWEEN.match(text, end).end()  # type: ignore[union-attr]
    return values
