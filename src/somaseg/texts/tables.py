"""CSV tables: read as spreadsheets and scripts leave them, written so that no text is taken for a formula.

A text cell that starts with `=`, `+`, `-`, `@`, tab or a line break, and is no number, is written with an apostrophe before it, so that a
spreadsheet shows it and does not compute it; so is one that has apostrophes before such a character already. Reading takes one
apostrophe away again, so every text comes back as it was.
"""

import csv
import io
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import polars as pl

from somaseg.errors import InputError, shown
from somaseg.texts.encoding import read_text

SEPARATORS = ",;\t|"
GUARDED = r"^'*[=+\-@\t\r\n]"
NUMBER = r"^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?$"
QUOTE_AFTER_SPACE = re.compile(r"[,;|]\s+\"")


def csv_bytes(table: pl.DataFrame) -> bytes:
    """The table as CSV in UTF-8, with commas between columns, quotes where they are needed, and no formula."""
    table = table.rename({name: guarded(name) for name in table.columns if guarded(name) != name})
    texts = [name for name, dtype in table.schema.items() if dtype == pl.String]
    return table.with_columns(_guarded(pl.col(name)) for name in texts).write_csv().encode()


def csv_row(cells: Iterable[str]) -> str:
    """One line of such a CSV, of text cells, without its line break."""
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="").writerow([guarded(cell) for cell in cells])
    return buffer.getvalue()


def guarded(text: str) -> str:
    """A text cell as it is written, see the module."""
    return f"'{text}" if re.match(GUARDED, text) and not re.fullmatch(NUMBER, text) else text


def writable(name: str) -> str:
    """A name that UTF-8 can hold: bytes of a file name that are no UTF-8 become the replacement character."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _guarded(column: pl.Expr) -> pl.Expr:
    formula = column.str.contains(GUARDED) & ~column.str.contains(NUMBER)
    return pl.when(formula).then(pl.lit("'") + column).otherwise(column).name.keep()


def read_table(path: Path, known: Sequence[str] = ()) -> pl.DataFrame:
    """The rows of a CSV as text, without space around cells, and `line`, the line of each row.

    Empty cells are null, and empty rows are gone.

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
        if '"' in body and QUOTE_AFTER_SPACE.search(body):
            table = _slowly(body, separator)
        else:
            table = pl.read_csv(io.BytesIO(body.encode()), separator=separator, infer_schema=False)
    except (pl.exceptions.PolarsError, UnicodeError, csv.Error, ValueError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise InputError(f"{path}: is not a CSV table ({reason}): the file may be damaged") from error
    table = table.rename(_names(path, table.columns, known))
    texts = pl.all().str.strip_chars().str.replace(r"^'('*[=+\-@\t\r\n])", "${1}")
    table = table.with_columns(texts).with_columns(pl.when(pl.all() != "").then(pl.all()))
    rows = table.with_row_index("line", offset=2 + skipped)
    return rows.filter(~pl.all_horizontal(pl.exclude("line").is_null()))


def separator_of(text: str) -> str:
    """The separator of a CSV: as its first line says (`sep=;`), else what its header has most of outside quotes."""
    header = text.lstrip().partition("\n")[0].strip("\r")
    if header[:4].lower() == "sep=" and header[4:5]:
        return header[4]
    bare = re.sub(r'"[^"]*"', "", header)
    return max(SEPARATORS, key=bare.count)


def _slowly(text: str, separator: str) -> pl.DataFrame:
    """A table with spaces before quotes, which polars takes for a part of the cell."""
    rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=separator, skipinitialspace=True, strict=True))
    columns = rows[0]
    if len(set(columns)) < len(columns):
        raise ValueError("two columns have one name")
    for number, row in enumerate(rows[1:], start=2):
        if len(row) > len(columns):
            raise ValueError(f"line {number} has {len(row)} cells, the header {len(columns)}")
    cells = [[*row, *[""] * (len(columns) - len(row))] for row in rows[1:]]
    return pl.DataFrame(cells, schema=dict.fromkeys(columns, pl.String), orient="row")


def _names(path: Path, columns: Sequence[str], known: Sequence[str]) -> dict[str, str]:
    """New names of columns by their names in the file."""
    names: dict[str, str] = {}
    for column in columns:
        name = re.sub(r"^'('*[=+\-@\t\r\n])", r"\1", column.strip().strip('"').strip())
        plain = re.sub(r"[\s-]+", "_", name.casefold())
        names[column] = plain if plain in known else f"{name}_" if name == "line" else name
    given = list(names.values())
    twice = [name for name in given if given.count(name) > 1]
    twice += [name for name in given if name.endswith("_duplicated_0") and name.removesuffix("_duplicated_0") in given]
    if twice:
        raise InputError(f"{path}: has the column {shown(twice[0].removesuffix('_duplicated_0'))} twice: rename or delete one")
    return names
