"""What a page shows of a finished folder of results, and of a folder of plates."""

import csv
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from somaseg.errors import InputError
from somaseg.export.formats import FORMATS
from somaseg.export.saved import SavedResult
from somaseg.texts.tables import guarded, read_table

Cell = str | float | None
TEXT = {"image", "folder", "path", "warnings", "error", "plate", "well", "treatment", "control", "readout", "verdict", "why"}
FIRST = ("confluence_percent", "cells_per_megapixel", "cells_per_mm2", "median_area", "median_area_um2", "median_score")
LEFT_OUT = ("folder", "path", "error")
PLATE_TABLES = ("wells", "controls", "dose")
PICTURES = ("plate_*.png", "time_*.png", "dose_*.png")


@dataclass(frozen=True)
class ShownTable:
    """A table as a page shows it.

    Attributes:
        columns: names.
        rows: a list of cells each: text, a number, or None.
        more: columns that are shown on demand.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    more: Sequence[str] = ()


@dataclass(frozen=True)
class Cells:
    """What is drawn of all cells of a run.

    Attributes:
        classes: class name of each cell, (N,).
        values: score, and area in µm² where all have one, else in pixels, (N,) each, by name.
    """

    classes: NDArray[np.str_]
    values: Mapping[str, NDArray[np.float64]]


def image_table(result: SavedResult) -> ShownTable:
    """A row an image with a result, in the order of the run: `image` first, what is most asked for next.

    Raises:
        InputError: when images.csv is missing, cannot be read, or is not of this run.
    """
    file = result.folder / "images.csv"
    if not file.is_file():
        raise InputError(f"{file}: is missing, the result is of an earlier version or not whole: run `somaseg segment` again")
    table = read_table(file)
    if not result.files:
        return ShownTable(["image", "cells"], [])
    absent = [name for name in ("image", "cells", "confluence_percent", "warnings", "error") if name not in table]
    if absent:
        raise InputError(f"{file}: {absent[0]}: no such column, expected images.csv as `somaseg segment` writes it: run it again")
    done = [number for number, error in enumerate(table["error"]) if error is None]
    if [table["image"][number] for number in done] != [name.strip() for name in result.files]:
        raise InputError(f"{file}: image: names differ from those in run.json, of another run: run `somaseg segment` again")
    counts = ["cells", *(f"cells_{name}" for name in result.classes)]
    front = [name for name in ("image", *counts, *FIRST, "warnings") if name in table]
    rest = [name for name in table.columns if name not in front and name not in LEFT_OUT]
    columns = [name for name in (*front, *rest) if any(table[name][number] is not None for number in done) or name in ("image", "cells")]
    rows: list[Sequence[Cell]] = [[_cell(name, table[name][number]) for name in columns] for number in done]
    for row, name in zip(rows, result.files, strict=True):
        row[0] = name  # type: ignore[index]  # the table has it without space around it
    return ShownTable(columns, rows, [name for name in columns if name in rest])


def cells_of(result: SavedResult) -> Cells:
    """Class, score and area of all cells.

    Raises:
        InputError: when cells.csv is missing or cannot be read.
    """
    file = result.folder / "cells.csv"
    columns: dict[str, list[str]] = {"class": [], "score": [], "area": [], "area_um2": []}
    try:
        with file.open(newline="", encoding="utf-8") as lines:
            table = csv.DictReader(lines)
            absent = {"class", "score", "area"} - set(table.fieldnames or ())
            if absent:
                raise KeyError(min(absent))
            for row in table:
                for name, values in columns.items():
                    values.append(row.get(name) or "" if name == "area_um2" else row[name])
        area = "area_um2" if all(columns["area_um2"]) else "area"
        numbers = {name: np.array(columns[name], np.float64) for name in (area, "score")}
    except (OSError, csv.Error, KeyError, TypeError, ValueError) as error:
        problem = f"{error} is missing" if isinstance(error, KeyError) else str(error).partition("\n")[0]
        raise InputError(f"{file}: cannot be read ({problem}): run `somaseg segment` again") from error
    written = {guarded(name): name for name in result.classes}
    return Cells(np.array([written.get(name, name) for name in columns["class"]], np.str_), numbers)


def overlay_of(result: SavedResult, name: str) -> Path:
    """Where the overlay of an image lies, if it was drawn."""
    return result.folder / "overlays" / f"{name}{FORMATS['overlays'].suffix}"


def link(file: Path, page: Path) -> str:
    """A file as a page links to it: relative where that can be, all but letters and digits coded, so that it is safe anywhere."""
    try:
        way = Path(os.path.relpath(file.resolve(), page.resolve().parent)).as_posix()
    except ValueError:  # another drive
        return file.resolve().as_uri()
    return quote(os.fsencode(way))


def plate_tables(folder: Path) -> Iterator[tuple[str, ShownTable]]:
    """The tables of `somaseg plates` that have rows, by name; columns without any value are left out.

    Raises:
        InputError: when there is no wells.csv, or a table cannot be read.
    """
    if not (folder / "wells.csv").is_file():
        raise InputError(f"{folder}: has no wells.csv, expected the folder that `somaseg plates` has filled: give that folder")
    for name in PLATE_TABLES:
        if not (folder / f"{name}.csv").is_file():
            continue
        table = read_table(folder / f"{name}.csv")
        columns = [column for column in table.columns if any(cell is not None for cell in table[column])]
        rows = list(zip(*([_cell(column, cell) for cell in table[column]] for column in columns), strict=True))
        if rows:
            yield name, ShownTable(columns, rows, [column for column in columns if column.startswith("median_")])


def plate_pictures(folder: Path) -> list[Path]:
    """The pictures of `somaseg plates`: heat maps, then curves over time, then dose-response."""
    return [file for pattern in PICTURES for file in sorted(folder.glob(pattern))]


def run_facts(run: Mapping[str, Any]) -> dict[str, Any]:
    """What `run.json` tells of how the result was made, without what has a place of its own on the page."""
    own = {"images", "cells", "failures", "left_out", "warnings", "by_image", "medians"}
    return {name: value for name, value in run.items() if name not in own}


def _cell(column: str, text: str | None) -> Cell:
    """A cell of a table: a number where it is one, but in columns of text."""
    if text is None or column in TEXT:
        return text
    try:
        number = float(text)
    except ValueError:
        return text
    return number if np.isfinite(number) else None
