"""Well, site and time from the names of files, as microscopes and plate readers write them."""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from somaseg.errors import InputError

MOST_ROWS, MOST_COLUMNS = 32, 48  # of a plate of 1536 wells
WELL = r"(?P<well>A[A-F]\d{1,2}|[A-Z]\d{1,2})"
# The first one that fits is taken. Sources: docs/plates.md.
PATTERNS = {
    "Incucyte": rf"(?:^|_){WELL}_(?P<site>\d+)_(?:(?P<year>\d{{4}})y(?P<month>\d\d)m(?P<day>\d\d)d_(?P<hour>\d\d)h(?P<minute>\d\d)m"
    r"|(?P<days>\d+)d(?P<hours>\d\d)h(?P<minutes>\d\d)m)",
    "CellVoyager": rf"(?:^|_){WELL}_T(?P<time_point>\d{{4}})F(?P<site>\d{{3}})L\d+A\d+Z\d+C\d+",
    "Opera Phenix, Harmony": r"^r(?P<row>\d\d)c(?P<column>\d\d)f(?P<site>\d+)p\d+-ch\d+sk(?P<time_point>\d+)fk\d+fl\d+",
    "Opera": r"^(?P<row>\d{3})(?P<column>\d{3})(?P<site>\d{3})$",
    "ImageXpress": rf"(?:^|_){WELL}(?:_s(?P<site>\d+))?(?:_t(?P<time_point>\d+))?(?:_z\d+)?(?:_w\d[0-9A-Fa-f-]*)?(?:_thumb[0-9A-Fa-f-]*)?$",
}
TIME_FOLDER = re.compile(r"^TimePoint_(\d+)$", re.IGNORECASE)  # of ImageXpress
LEFT_OUT = re.compile(r"^(TimePoint_\d+|ZStep_\d+|Images)$", re.IGNORECASE)  # folders that are no plate's name
GROUPS = {
    *("well", "row", "column", "site", "plate", "time", "time_point"),
    *("days", "hours", "minutes", "year", "month", "day", "hour", "minute"),
}


@dataclass(frozen=True)
class Place:
    """Where and when an image was taken.

    Attributes:
        plate: its name.
        well: such as `A01`.
        site: field of view in the well; None where the name has none.
        hours: since the first image, as the name tells; None where it tells no time in hours.
        time_point: number of the time point as the name tells; None where it tells none.
    """

    plate: str
    well: str
    site: str | None = None
    hours: float | None = None
    time_point: int | None = None


def well_name(text: str) -> str | None:
    """A well as the tables have it, `A01`, from `a1`, `A01` or `A001`; None where it is none."""
    found = re.fullmatch(r"([A-Za-z]|[Aa][A-Fa-f])0*(\d{1,2})", text.strip())
    return None if found is None else _well(_row_number(found[1].upper()), int(found[2]))


def well_row_column(well: str) -> tuple[int, int]:
    """Row and column of a well, from 0."""
    letters = well.rstrip("0123456789")
    return _row_number(letters) - 1, int(well[len(letters) :]) - 1


def row_name(row: int) -> str:
    """Letters of a row, from 0."""
    return chr(ord("A") + row) if row < 26 else "A" + chr(ord("A") + row - 26)


def places(files: Sequence[Path], pattern: str | None = None) -> dict[Path, Place]:
    """Where and when each image was taken, by its file; files whose name tells no well are missing.

    Args:
        files: the image files.
        pattern: a regular expression that is searched for in the path of a file below the folder that all have in common, with `/`
            between folders, with named groups out of `GROUPS`, at least `well`, or `row` and `column`. None tries those of `PATTERNS`.

    Raises:
        InputError: when the pattern is no regular expression, or has other groups, or finds no well where it fits.
    """
    own = None if pattern is None else _compiled(pattern)
    root = Path(os.path.commonpath([file.parent for file in files])) if files else Path()
    found: dict[Path, Place] = {}
    moments: dict[Path, datetime] = {}
    for file in files:
        match = own.search(file.relative_to(root).as_posix()) if own else _known(file)
        if match is None:
            continue
        told = {name: value for name, value in match.groupdict().items() if value is not None}
        well = _told_well(told, file, pattern)
        if well is None:
            continue
        prefix = "" if own else match.string[: match.start()].strip("_ ")
        plate = told.get("plate") or _plate(file, root, prefix)
        found[file] = Place(plate, well, told.get("site"), _hours(told, file), _time_point(told, file))
        if "year" in told:
            moments[file] = _moment(told, file)
    for file, moment in moments.items():
        first = min(other for path, other in moments.items() if found[path].plate == found[file].plate)
        found[file] = replace(found[file], hours=(moment - first).total_seconds() / 3600)
    return found


def _compiled(pattern: str) -> re.Pattern[str]:
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise InputError(f"--pattern: {pattern!r} is no regular expression ({error}): correct it") from error
    groups = set(compiled.groupindex)
    if groups - GROUPS or not ("well" in groups or {"row", "column"} <= groups):
        raise InputError(
            f"--pattern: has the groups {', '.join(sorted(groups)) or 'none'}, expected (?P<well>...), or (?P<row>...) and "
            f"(?P<column>...), and others of {', '.join(sorted(GROUPS))}"
        )
    return compiled


def _known(file: Path) -> re.Match[str] | None:
    stem = re.sub(r"\.(ome\.)?[^.]*$", "", file.name, flags=re.IGNORECASE)
    return next((found for pattern in PATTERNS.values() if (found := re.search(pattern, stem))), None)


def _told_well(told: Mapping[str, str], file: Path, pattern: str | None) -> str | None:
    if "well" in told:
        well, text = well_name(told["well"]), told["well"]
    else:
        row, column = told.get("row", ""), told.get("column", "")
        number = int(row) if row.isdecimal() else _row_number(row.upper())
        well, text = _well(number, int(column) if column.isdecimal() else 0), f"row {row}, column {column}"
    if well is None and pattern is not None:
        raise InputError(f"{file}: --pattern found the well {text!r}, expected one such as A01: correct the pattern")
    return well


def _row_number(letters: str) -> int:
    """Number of a row from 1; 0 where the letters are none."""
    if len(letters) == 1 and "A" <= letters <= "Z":
        return ord(letters) - ord("A") + 1
    return ord(letters[1]) - ord("A") + 27 if re.fullmatch("A[A-F]", letters) else 0


def _well(row: int, column: int) -> str | None:
    return f"{row_name(row - 1)}{column:02d}" if 1 <= row <= MOST_ROWS and 1 <= column <= MOST_COLUMNS else None


def _plate(file: Path, root: Path, prefix: str) -> str:
    """Folders below the common one, and what stands before the well in the file's name."""
    parts = [part for part in file.parent.relative_to(root).parts if not LEFT_OUT.match(part)]
    if prefix:
        parts.append(prefix)
    above = [part for part in root.parts if not LEFT_OUT.match(part)]
    return "/".join(parts) or (above[-1] if above else "plate")


def _hours(told: Mapping[str, str], file: Path) -> float | None:
    if "time" in told:
        return _float(told["time"], file, "time")
    if not {"days", "hours", "minutes"} & told.keys():
        return None
    days, hours, minutes = (_float(told.get(name, "0"), file, name) for name in ("days", "hours", "minutes"))
    return 24 * days + hours + minutes / 60


def _time_point(told: Mapping[str, str], file: Path) -> int | None:
    if "time_point" in told:
        return int(_float(told["time_point"], file, "time_point"))
    in_folder = next((found for part in file.parts if (found := TIME_FOLDER.match(part))), None)
    return None if in_folder is None else int(in_folder[1])


def _float(text: str, file: Path, group: str) -> float:
    try:
        return float(text.replace(",", "."))
    except ValueError:
        raise InputError(f"{file}: --pattern found {text!r} for {group}, expected a number: correct the pattern") from None


def _moment(told: Mapping[str, str], file: Path) -> datetime:
    try:
        return datetime(*(int(told.get(name, default)) for name, default in _MOMENT.items()))  # type: ignore[arg-type]
    except ValueError as error:
        raise InputError(
            f"{file}: its name tells the time {'-'.join(told.get(n, '?') for n in _MOMENT)}, which is none ({error})"
        ) from error


_MOMENT = {"year": "1", "month": "1", "day": "1", "hour": "0", "minute": "0"}
