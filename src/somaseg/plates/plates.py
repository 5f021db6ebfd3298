"""From a folder of results to plates: tables of wells, controls and doses, and pictures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from somaseg.errors import InputError
from somaseg.export.saved import SavedResult, read_result
from somaseg.export.table import csv_table
from somaseg.files import check_folder, write_whole
from somaseg.plates.dose import fit
from somaseg.plates.figures import draw
from somaseg.plates.names import Place, places
from somaseg.plates.pictures import check_drawing
from somaseg.plates.plate_map import PlateMap, read_plate_map, with_controls
from somaseg.plates.tables import Curves, Row, control_rows, dose_rows, place_rows, well_rows
from somaseg.plates.wells import Time, Well, series, wells

READOUTS = ("cells_per_image", "confluence_percent")


@dataclass(frozen=True)
class PlateRequest:
    """What is asked of plates.

    Attributes:
        result: folder of results.
        out: folder for the tables and pictures.
        map: CSV of what is in the wells; None where there is none.
        pattern: regular expression for names; None for those of known microscopes.
        negative: treatment or wells of the negative control; None for what the map says.
        positive: of the positive one.
        readouts: columns of the table of wells for pictures, controls and curves.
        time: of the curves over dose, in the unit of the names; None for the last one.
        pictures: whether pictures are drawn.
    """

    result: Path
    out: Path
    map: Path | None = None
    pattern: str | None = None
    negative: str | None = None
    positive: str | None = None
    readouts: tuple[str, ...] = READOUTS
    time: float | None = None
    pictures: bool = True


@dataclass
class PlateReport:
    """What came of plates.

    Attributes:
        files: that were written.
        notes: what a reader should know.
        lines: the results in short, a line each.
    """

    files: list[Path] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)


def make_plates(request: PlateRequest) -> PlateReport:
    """Write places.csv, wells.csv, controls.csv and dose.csv, and the pictures.

    Raises:
        InputError: when there are no results, no name tells a well, the map or the pattern is wrong, or a readout is not known.
        OutputError: when the files cannot be written.
        MissingExtraError: when pictures are asked for and matplotlib is not there.
    """
    result = read_result(request.result)
    if request.pictures:
        check_drawing()
    check_folder(request.out)
    where, unplaced = _places(result, request.pattern)
    plate_map = PlateMap({}) if request.map is None else read_plate_map(request.map)
    own = sorted({(place.plate, place.well) for place in where.values()})
    plate_map = with_controls(plate_map, request.negative, request.positive, own)
    found, used = wells(result.images(), where, plate_map, result.classes)
    _check_readouts(request.readouts, found)
    groups, time_column = series(found), _time_column(used)
    curves = _curves(groups, request)
    controls, told = control_rows(groups, request.readouts, time_column)
    doses, more = dose_rows(curves, time_column)
    report = PlateReport(notes=_notes(result, request, unplaced, used, plate_map), lines=[*told, *more])
    _write(report, request, "places.csv", place_rows(used, result.files, plate_map, time_column))
    _write(report, request, "wells.csv", well_rows(groups, request.readouts, time_column))
    _write(report, request, "controls.csv", controls)
    _write(report, request, "dose.csv", doses)
    if request.pictures:
        for name, data in draw(groups, curves, request.readouts, time_column):
            write_whole(request.out / name, data)
            report.files.append(request.out / name)
    return report


def _places(result: SavedResult, pattern: str | None) -> tuple[dict[str, Place], list[str]]:
    """The place of each image by its name, and the images without one."""
    files = result.files
    told = places(list(dict.fromkeys(files.values())), pattern)
    where = {name: told[file] for name, file in files.items() if file in told}
    if not where:
        example = next((file.name for file in files.values()), "no image")
        raise InputError(
            f"{result.folder}: no name of an image tells a well, such as {example}: give --pattern with a group (?P<well>...), "
            "see docs/plates.md"
        )
    return where, [name for name in files if name not in where]


def _check_readouts(readouts: Sequence[str], found: Sequence[Well]) -> None:
    known = list(dict.fromkeys(name for well in found for name in well.values))
    for readout in readouts:
        if readout not in known:
            raise InputError(f"--readout: {readout!r} is no column of the wells, expected one of {', '.join(known)}")


def _time_column(used: Mapping[str, Place]) -> str:
    """Name of the column of times."""
    return "time_h" if all(place.hours is not None for place in used.values()) else "time_point"


def _notes(
    result: SavedResult, request: PlateRequest, unplaced: Sequence[str], used: Mapping[str, Place], plate_map: PlateMap
) -> list[str]:
    notes = []
    if unplaced:
        notes.append(f"{len(unplaced)} image(s) are in no well, since their names tell none: {_some(unplaced)}")
    if result.failures:
        notes.append(
            f"{len(result.failures)} file(s) failed in {result.folder} and are missing in their wells: {_some(list(result.failures))}"
        )
    if request.map is not None:
        wells_used = {(place.plate, place.well) for place in used.values()}
        without = sorted(well for plate, well in wells_used if plate_map.content(plate, well).treatment == "")
        if without:
            notes.append(f"{len(without)} well(s) with images have no treatment in {request.map}: {_some(without)}")
        names = {name for plate, well in wells_used for name in ((plate, well), (plate.rpartition("/")[2], well), ("", well))}
        empty = sorted(f"{plate} {well}".strip() for plate, well in plate_map.wells if (plate, well) not in names)
        if empty:
            notes.append(f"{len(empty)} well(s) of {request.map} have no image: {_some(empty)}")
    mixed = {place.hours is None for place in used.values()}
    if len(mixed) > 1:
        notes.append("some names tell hours and others do not: times are compared as they stand, look at the column time_point")
    return notes


def _some(names: Sequence[str], shown: int = 5) -> str:
    return ", ".join(names[:shown]) + (f" and {len(names) - shown} more" if len(names) > shown else "")


def _curves(groups: Mapping[tuple[str, Time], list[Well]], request: PlateRequest) -> Curves:
    """The curve of each treatment that has doses, at the chosen time of each plate; wells of the negative control have dose 0."""
    curves: Curves = {}
    times: dict[str, list[Time]] = {}
    for plate, time in groups:
        times.setdefault(plate, []).append(time)
    if request.time is not None and not any(request.time in own for own in times.values()):
        known = sorted({time for own in times.values() for time in own if time is not None})
        raise InputError(
            f"--time: no image is of the time {request.time:g}, expected one of {', '.join(f'{t:g}' for t in known) or 'none'}"
        )
    for plate, own in times.items():
        time = own[-1] if request.time is None else request.time
        if (plate, time) not in groups:
            continue
        at_time = groups[plate, time]
        treated = list(dict.fromkeys(w.content.treatment for w in at_time if w.content.dose and w.content.control is None))
        for treatment in treated:
            for readout in request.readouts:
                dose, value = _doses(at_time, treatment, readout)
                curves[plate, time, treatment, readout] = (dose, value, fit(dose, value))
    return curves


def _doses(at_time: Sequence[Well], treatment: str, readout: str) -> tuple[list[float], list[float]]:
    dose, value = [], []
    for well in at_time:
        content, measured = well.content, well.values.get(readout)
        of = 0.0 if content.control == "negative" else content.dose if content.treatment == treatment else None
        if of is not None and content.control != "positive" and measured is not None and np.isfinite(measured):
            dose.append(of)
            value.append(measured)
    return dose, value


ALWAYS = ("plate", "well", "treatment", "dose", "control", "z_prime", "why", "ec50", "ec50_low", "ec50_high", *READOUTS)
COLUMNS = {
    "controls.csv": ("plate", "readout", "z_prime", "why"),
    "dose.csv": ("plate", "treatment", "readout", "doses", "wells", "ec50", "ec50_low", "ec50_high", "why"),
    "places.csv": (),
    "wells.csv": (),
}


def _write(report: PlateReport, request: PlateRequest, name: str, rows: Sequence[Row]) -> None:
    names = list(dict.fromkeys(column for row in rows for column in row)) or list(COLUMNS[name])
    names = [n for n in names if n in ALWAYS or not rows or any(row.get(n) is not None for row in rows)]
    columns = {column: [row.get(column) for row in rows] for column in names}
    write_whole(request.out / name, csv_table(columns))
    report.files.append(request.out / name)
