"""CSV tables: read as spreadsheets and scripts leave them, written so that no text is taken for a formula.

A text cell that starts with `=`, `+`, `-`, `@`, tab or a line break, and is no number, is written with an apostrophe before it, so that a
spreadsheet shows it and does not compute it; so is one that has apostrophes before such a character already. Reading takes one
apostrophe away again, so every text comes back as it was.
"""

import csv
import io
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from somaseg.errors import InputError, shown
from somaseg.texts.encoding import read_text

SEPARATORS = ",;\t|"
GUARDED = r"^'*[=+\-@\t\r\n]"
NUMBER = r"^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?$"
QUOTED = re.compile(r'[",\r\n]')
LONGEST = 2**31 - 1  # characters of a cell; Python's own limit is 128 Ki, less than the code of a large cell
QUOTE_AFTER_SPACE = re.compile(r"[,;|]\s+\"")


def csv_table(columns: Sequence[str], rows: Iterable[Sequence[str | int | float | None]]) -> bytes:
    """The rows as CSV in UTF-8, with commas between columns, quotes where they are needed, and no formula; None is an empty cell."""
    lines = [csv_row(columns), *(",".join(map(_written, row)) for row in rows)]
    return ("\n".join(lines) + "\n").encode()


def csv_row(cells: Iterable[str]) -> str:
    """One line of such a CSV, of text cells, without its line break."""
    return ",".join(map(_written, cells))


def _written(cell: str | int | float | None) -> str:
    """A cell as it is written; a number in the fewest digits that give it again."""
    if isinstance(cell, str):
        text = guarded(cell)
        return '"' + text.replace('"', '""') + '"' if QUOTED.search(text) else text
    if isinstance(cell, float):
        return "NaN" if math.isnan(cell) else re.sub(r"e([+-])0*", lambda sign: "e-" if sign[1] == "-" else "e", repr(cell))
    return "" if cell is None else str(cell)


def guarded(text: str) -> str:
    """A text cell as it is written, see the module."""
    return f"'{text}" if re.match(GUARDED, text) and not re.fullmatch(NUMBER, text) else text


def writable(name: str) -> str:
    """A name that UTF-8 can hold: bytes of a file name that are no UTF-8 become the replacement character."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


@dataclass(frozen=True)
class Table:
    """The rows of a CSV.

    Attributes:
        columns: by name, the text of each row; None where a cell is empty.
        lines: the line of each row.
    """

    columns: dict[str, list[str | None]]
    lines: list[int]

    def __len__(self) -> int:
        return len(self.lines)

    def __contains__(self, name: str) -> bool:
        return name in self.columns

    def __getitem__(self, name: str) -> list[str | None]:
        return self.columns[name]


def read_table(path: Path, known: Sequence[str] = ()) -> Table:
    """The rows of a CSV as text, without space around cells; empty rows are gone.

    The separator is the one that the header has most of (comma, semicolon, tab, bar); the encoding is found out as well.

    Args:
        path: the file.
        known: names of columns that are found in other case and with spaces or hyphens for underscores too.

    Raises:
        InputError: when the file cannot be read, is no table, or has one of the known columns twice.
    """
    text = read_text(path)
    if "\n" not in text:
        text = text.replace("\r", "\n")
    body = text.lstrip("\r\n")
    skipped = text[: len(text) - len(body)].count("\n")
    separator = separator_of(body)
    if body[:4].lower() == "sep=":  # a line by which Excel is told the separator
        body, skipped = body.partition("\n")[2], skipped + 1
    if not body.strip() or "\0" in body:
        raise InputError(f"{path}: is not a CSV table ({'it is empty' if not body.strip() else 'it holds zero bytes'}): check the file")
    try:
        header, rows = _rows(body, separator)
    except (csv.Error, ValueError) as error:
        raise InputError(f"{path}: is not a CSV table ({str(error).strip()}): the file may be damaged") from error
    names = _names(path, header, known)
    cells = zip(*rows, strict=True) if rows else ([] for _ in names)
    columns = {name: [_bare(cell) for cell in column] for name, column in zip(names, cells, strict=True)}
    kept = [number for number, row in enumerate(zip(*columns.values(), strict=True)) if any(cell is not None for cell in row)]
    if len(kept) < len(rows):
        columns = {name: [column[number] for number in kept] for name, column in columns.items()}
    return Table(columns, [number + 2 + skipped for number in kept])


def _bare(cell: str) -> str | None:
    """What a cell says: without space around it, and without the apostrophe that guards a formula; None where nothing is left."""
    cell = cell.strip()
    if cell[:1] == "'" and re.match(GUARDED, cell[1:]):
        cell = cell[1:]
    return cell or None


def separator_of(text: str) -> str:
    """The separator of a CSV: as its first line says (`sep=;`), else what its header has most of outside quotes."""
    header = text.lstrip().partition("\n")[0].strip("\r")
    if header[:4].lower() == "sep=" and header[4:5]:
        return header[4]
    bare = re.sub(r'"[^"]*"', "", header)
    return max(SEPARATORS, key=bare.count)


def _rows(text: str, separator: str) -> tuple[list[str], list[list[str]]]:
    """The header, and the rows, each of as many cells as the header has; rows that end early get empty ones."""
    spaced = '"' in text and QUOTE_AFTER_SPACE.search(text) is not None  # else a space before a quote makes it a part of the cell
    before = csv.field_size_limit(LONGEST)
    try:
        header, *rows = csv.reader(io.StringIO(text, newline=""), delimiter=separator, skipinitialspace=spaced, strict=True)
    finally:
        csv.field_size_limit(before)
    width = len(header)
    for number, row in enumerate(rows, start=2):
        if len(row) > width:
            raise ValueError(f"line {number} has {len(row)} cells, the header {width}")
        if len(row) < width:
            row += [""] * (width - len(row))
    return header, rows


def _names(path: Path, columns: Sequence[str], known: Sequence[str]) -> list[str]:
    """The names of columns."""
    names = []
    for column in columns:
        name = re.sub(r"^'('*[=+\-@\t\r\n])", r"\1", column.strip().strip('"').strip())
        plain = re.sub(r"[\s-]+", "_", name.casefold())
        names.append(plain if plain in known else f"{name}_" if name == "line" else name)
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise InputError(f"{path}: has the column {shown(twice[0])} twice: rename or delete one")
    return names
