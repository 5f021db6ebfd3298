"""The rows of the tables of plates, and the lines that say them in short."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from somaseg.measure.cells import DIGITS
from somaseg.plates.dose import Curve
from somaseg.plates.names import Place
from somaseg.plates.plate_map import PlateMap
from somaseg.plates.quality import normalised, quality, verdict
from somaseg.plates.wells import Time, Well, time_of

Row = dict[str, str | int | float | None]
Groups = Mapping[tuple[str, Time], Sequence[Well]]
Curves = dict[tuple[str, Time, str, str], tuple[list[float], list[float], Curve]]


def place_rows(used: Mapping[str, Place], files: Mapping[str, Path], plate_map: PlateMap, time_column: str) -> list[Row]:
    """A row an image that is in a well: what its name and the map tell."""
    rows: list[Row] = []
    for name, place in used.items():
        content = plate_map.content(place.plate, place.well)
        row: Row = {"image": name, "path": str(files[name]), "plate": place.plate, "well": place.well, "site": place.site}
        row |= {time_column: time_of(place), "treatment": content.treatment, "dose": content.dose, "control": content.control}
        rows.append(row)
    return rows


def well_rows(groups: Groups, readouts: Sequence[str], time_column: str) -> list[Row]:
    """A row a well and time; the readouts in percent of the controls behind."""
    rows: list[Row] = []
    for (plate, time), own in groups.items():
        in_percent = {readout: normalised(own, readout) for readout in readouts}
        for number, well in enumerate(own):
            content = well.content
            row: Row = {"plate": plate, "well": well.well, "row": well.row_column[0] + 1, "column": well.row_column[1] + 1}
            row |= {time_column: time, "treatment": content.treatment, "dose": content.dose, "control": content.control}
            row |= {name: _short(value) for name, value in well.values.items()}
            rows.append(row | {f"normalised_{readout}": _short(values[number]) for readout, values in in_percent.items()})
    return rows


def control_rows(groups: Groups, readouts: Sequence[str], time_column: str) -> tuple[list[Row], list[str]]:
    """A row a plate, time and readout: its controls and Z'-factor; and the lines."""
    lines: list[str] = []
    rows: list[Row] = []
    for (plate, time), own in groups.items():
        for readout in readouts:
            found = quality(own, readout)
            row: Row = {"plate": plate, time_column: time, "readout": readout}
            for name, (mean, spread, count) in (("negative", found.negative), ("positive", found.positive)):
                row |= {f"{name}_mean": _short(mean), f"{name}_sd": _short(spread), f"{name}_wells": count}
            means = "" if found.z_prime is None else verdict(found.z_prime)
            rows.append(row | {"z_prime": _short(found.z_prime), "verdict": means, "why": found.why})
            if found.z_prime is not None:
                lines.append(f"{at(plate, time, time_column)}: Z' of {readout} {found.z_prime:.2f} ({means})")
    return rows, lines


def dose_rows(curves: Curves, time_column: str) -> tuple[list[Row], list[str]]:
    """A row a plate, treatment and readout: the curve, or why there is none; and the lines."""
    lines: list[str] = []
    rows: list[Row] = []
    for (plate, time, treatment, readout), (_, _, curve) in curves.items():
        low, high = curve.interval
        row: Row = {"plate": plate, time_column: time, "treatment": treatment, "readout": readout}
        row |= {"doses": curve.doses, "wells": curve.wells, "ec50": _short(curve.ec50), "ec50_low": _short(low), "ec50_high": _short(high)}
        row |= {"slope": _short(curve.slope), "lower": _short(curve.lower), "upper": _short(curve.upper)}
        rows.append(row | {"p_effect": _short(curve.p_effect), "why": curve.why})
        ends = f"{'?' if low is None else f'{low:.3g}'} to {'?' if high is None else f'{high:.3g}'}"
        told = f"no curve: {curve.why}" if curve.why else f"EC50 {curve.ec50:.3g} ({ends})"
        lines.append(f"{at(plate, time, time_column)}: {treatment}, {readout}: {told}")
    return rows, lines


def at(plate: str, time: Time, time_column: str) -> str:
    """A plate and a time in words."""
    if time is None:
        return plate
    return f"{plate}, {time:g} h" if time_column == "time_h" else f"{plate}, time point {time:g}"


def _short(value: float | None) -> float | None:
    return None if value is None or not np.isfinite(value) else value if isinstance(value, int) else float(f"{value:.{DIGITS}g}")
