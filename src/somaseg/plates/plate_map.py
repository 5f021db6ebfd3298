"""The plate map: what is in each well, as a CSV table."""

import csv
import io
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from somaseg.errors import InputError, shown
from somaseg.plates.names import row_name, well_name
from somaseg.texts.encoding import read_text
from somaseg.texts.tables import separator_of

Control = Literal["negative", "positive"]
NAMES = {  # what a column may be called, by its name here
    "well": ("well", "well_id", "position"),
    "row": ("row",),
    "column": ("column", "col"),
    "plate": ("plate", "plate_id", "barcode"),
    "treatment": ("treatment", "compound", "drug", "substance", "condition"),
    "dose": ("dose", "concentration", "conc"),
    "control": ("control", "control_type"),
}
CONTROLS: dict[str, Control] = {"negative": "negative", "neg": "negative", "positive": "positive", "pos": "positive"}


@dataclass(frozen=True)
class Content:
    """What is in a well.

    Attributes:
        treatment: its name; empty where the map names none.
        dose: 0 or more, in the unit of the map; None where there is none.
        control: which control the well is of; None for others.
    """

    treatment: str = ""
    dose: float | None = None
    control: Control | None = None


@dataclass(frozen=True)
class PlateMap:
    """What is in the wells of plates.

    Attributes:
        wells: by plate and well; the plate is empty where the map holds for all plates.
    """

    wells: Mapping[tuple[str, str], Content]

    def content(self, plate: str, well: str) -> Content:
        """What is in a well; a plate is known by its whole name or by the last part of it."""
        for name in (plate, plate.rpartition("/")[2], ""):
            if (name, well) in self.wells:
                return self.wells[name, well]
        return Content()


def read_plate_map(path: Path) -> PlateMap:
    """Read a plate map: columns `well` (or `row` and `column`), `treatment`, and as far as there are `dose`, `control`, `plate`.

    Commas, semicolons or tabs part the columns; with the latter two doses may have a decimal comma.

    Raises:
        InputError: naming file, line and column, when it is no table, a well is none or stands there twice, or a dose is no number.
    """
    text = read_text(path)
    body = text.lstrip("\r\n").removeprefix("\ufeff")
    separator = separator_of(body)
    if body[:4].lower() == "sep=":
        body = body.partition("\n")[2]
    try:
        rows = list(csv.reader(io.StringIO(body, newline=""), delimiter=separator, skipinitialspace=True))
    except csv.Error as error:
        raise InputError(f"{path}: is not a CSV table ({error}): check the file") from error
    if not rows:
        raise InputError(f"{path}: is empty: expected a table with the columns well, treatment, dose")
    columns = _columns(path, rows[0])
    wells: dict[tuple[str, str], Content] = {}
    for line, row in enumerate(rows[1:], start=2):
        cells = {name: row[place].strip() if place < len(row) else "" for name, place in columns.items()}
        if not any(cells.values()):
            continue
        well = _well(path, line, cells)
        key = (cells.get("plate", ""), well)
        if key in wells:
            raise InputError(f"{path}: line {line}: the well {well} stands in the map twice: delete one of the lines")
        dose = _dose(path, line, cells.get("dose", ""), decimal_comma=separator != ",")
        wells[key] = Content(cells.get("treatment", ""), dose, _control(path, line, cells.get("control", "")))
    if not wells:
        raise InputError(f"{path}: has no line with a well: fill in the wells")
    return PlateMap(wells)


def with_controls(plate_map: PlateMap, negative: str | None, positive: str | None, wells: Sequence[tuple[str, str]]) -> PlateMap:
    """The map with the control wells that are named: a treatment, or wells such as `A01,B01`.

    Args:
        plate_map: the map.
        negative: of the negative control; None leaves what the map says.
        positive: of the positive one.
        wells: plate and well of all images.

    Raises:
        InputError: when no well is meant, or a well would be both.
    """
    known = dict(plate_map.wells)
    kinds: tuple[tuple[Control, str | None], ...] = (("negative", negative), ("positive", positive))
    taken: dict[tuple[str, str], Control] = {}
    for kind, named in kinds:
        if named is None:
            continue
        listed = [well_name(part) for part in re.split(r"[,;\s]+", named.strip())]
        chosen = [(plate, well) for plate, well in wells if plate_map.content(plate, well).treatment.casefold() == named.strip().casefold()]
        if not chosen and all(listed):
            chosen = [(plate, well) for plate, well in wells if well in listed]
        if not chosen:
            raise InputError(f"--{kind}: no well with an image has the treatment {named!r}: give a treatment of the map, or wells: A01,B01")
        for key in chosen:
            if taken.setdefault(key, kind) != kind:
                raise InputError(f"--{kind}: the well {key[1]} is the other control too: give different wells")
    for key, kind in taken.items():
        content = plate_map.content(*key)
        known[key] = Content(content.treatment, content.dose, kind)
    return PlateMap(known)


def _columns(path: Path, header: Sequence[str]) -> dict[str, int]:
    plain = [re.sub(r"[\s-]+", "_", name.strip().strip("'\"").casefold()) for name in header]
    plain = [re.sub(r"_?[(\[].*", "", name) for name in plain]  # a unit in brackets
    columns: dict[str, int] = {}
    for name, called in NAMES.items():
        places = [place for place, given in enumerate(plain) if given in called]
        if len(places) > 1:
            raise InputError(f"{path}: has the columns {header[places[0]]!r} and {header[places[1]]!r} for {name}: delete one")
        if places:
            columns[name] = places[0]
    if "well" not in columns and not {"row", "column"} <= columns.keys():
        raise InputError(f"{path}: line 1: has the columns {shown(list(header))}, expected well, treatment and, for curves, dose")
    return columns


def _well(path: Path, line: int, cells: Mapping[str, str]) -> str:
    row, column = cells.get("row", ""), cells.get("column", "")
    if not cells.get("well") and row.isdecimal() and 1 <= int(row) <= 32:
        row = row_name(int(row) - 1)
    text = cells.get("well") or f"{row}{column}"
    well = well_name(text)
    if well is None:
        raise InputError(f"{path}: line {line}: well: found {text!r}, expected one such as A01")
    return well


def _dose(path: Path, line: int, text: str, decimal_comma: bool) -> float | None:
    if not text:
        return None
    try:
        dose = float(text.replace(",", ".") if decimal_comma else text)
    except ValueError:
        dose = math.nan
    if not 0 <= dose < math.inf:
        raise InputError(f"{path}: line {line}: dose: found {text!r}, expected a number of 0 or more, without its unit")
    return dose


def _control(path: Path, line: int, text: str) -> Control | None:
    if not text:
        return None
    if text.casefold() not in CONTROLS:
        raise InputError(f"{path}: line {line}: control: found {text!r}, expected negative, positive or nothing")
    return CONTROLS[text.casefold()]
