"""Which pictures plates get, and what each is called."""

import re
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from somaseg.plates.pictures import dose_curves, heat_map, time_curves
from somaseg.plates.tables import Curves, Groups, at
from somaseg.plates.wells import Well

Points = list[tuple[float, float, float]]


def draw(groups: Groups, curves: Curves, readouts: Sequence[str], time_column: str) -> Iterator[tuple[str, bytes]]:
    """The pictures of all plates, each with the name of its file."""
    plates = list(dict.fromkeys(plate for plate, _ in groups))
    names = _file_names(plates)
    for plate in plates:
        times = [time for own, time in groups if own == plate]
        for readout in readouts:
            end = f"{names[plate]}{_safe(readout)}.png"
            last = groups[plate, times[-1]]
            yield f"plate_{end}", heat_map(last, readout, at(plate, times[-1], time_column))
            if len(times) > 1:
                panels, control = _lines([groups[plate, time] for time in times], readout)
                yield f"time_{end}", time_curves(panels, control, readout, "hours" if time_column == "time_h" else "time point", plate)
            own = {treatment: found for (p, _, treatment, r), found in curves.items() if (p, r) == (plate, readout)}
            if own:
                time = next(t for p, t, _, r in curves if (p, r) == (plate, readout))
                yield f"dose_{end}", dose_curves(own, readout, at(plate, time, time_column))


def _lines(by_time: Sequence[Sequence[Well]], readout: str) -> tuple[dict[str, dict[str, Points]], Points]:
    """Mean and standard deviation over time of the wells of each treatment and dose, and of the negative control."""
    values: dict[tuple[str, float], dict[float, list[float]]] = {}
    control: dict[float, list[float]] = {}
    for well in (well for own in by_time for well in own):
        measured, content = well.values.get(readout), well.content
        if measured is None:
            continue
        key = (content.treatment, -1.0 if content.dose is None else content.dose)
        of = control if content.control == "negative" else values.setdefault(key, {})
        of.setdefault(well.time or 0.0, []).append(measured)
    panels: dict[str, dict[str, Points]] = {}
    for (treatment, dose), some in sorted(values.items()):
        panels.setdefault(treatment, {})["wells" if dose < 0 else f"{dose:g}"] = _points(some)
    return panels or {"": {}}, _points(control)


def _points(values: Mapping[float, Sequence[float]]) -> Points:
    return [(t, float(np.mean(v)), float(np.std(v, ddof=1)) if len(v) > 1 else float("nan")) for t, v in sorted(values.items())]


def _file_names(plates: Sequence[str]) -> dict[str, str]:
    """What stands for a plate in names of files: nothing for the only one, else its name, numbered where that is not enough."""
    if len(plates) == 1:
        return {plates[0]: ""}
    safe = {plate: _safe(plate) for plate in plates}
    plain = [name.casefold() for name in safe.values()]
    return {
        plate: f"{name}_" if plain.count(name.casefold()) == 1 else f"{name}_{number}_"
        for number, (plate, name) in enumerate(safe.items(), 1)
    }


def _safe(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9-]+", "_", name).strip("_")[:80] or "plate"
