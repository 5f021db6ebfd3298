"""One row a well and time: counts, density, confluence, morphology by class."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from somaseg.export.saved import SavedImage
from somaseg.plates.names import Place, well_row_column
from somaseg.plates.plate_map import Content, PlateMap

MORPHOLOGY = (
    *("area", "area_um2", "perimeter", "perimeter_um", "feret_max", "feret_max_um", "eccentricity", "solidity", "form_factor"),
    *("neighbours", "nearest", "nearest_um"),
)  # and the intensities
Time = float | None


@dataclass(frozen=True)
class Well:
    """A well at a time.

    Attributes:
        plate: name of the plate.
        well: such as `A01`.
        time: hours, or the number of the time point; None where names tell no time.
        content: what is in it.
        values: what was measured, by the column's name; None where there is nothing.
    """

    plate: str
    well: str
    time: Time
    content: Content
    values: Mapping[str, float | None]

    @property
    def row_column(self) -> tuple[int, int]:
        """Row and column in the plate, from 0."""
        return well_row_column(self.well)


@dataclass
class _Sum:
    """What the images of a well add up to."""

    images: int = 0
    pixels: int = 0
    covered: int = 0
    mm2: float = 0.0
    scaled: int = 0  # images whose pixel size is known
    classes: list[str] = field(default_factory=list)
    columns: dict[str, list[NDArray[np.float64]]] = field(default_factory=dict)

    def add(self, image: SavedImage) -> None:
        """Take in an image."""
        height, width = image.size
        self.images += 1
        self.pixels += height * width
        self.covered += image.covered
        if image.pixel_size is not None:
            self.scaled += 1
            self.mm2 += height * width * image.pixel_size**2 / 1e6
        before, count = len(self.classes), len(image.classes())
        self.classes += image.classes()
        columns = image.columns()
        for name in [*self.columns, *(name for name in columns if name not in self.columns)]:
            if name.startswith(("intensity_", "background")) or name in MORPHOLOGY:
                parts = self.columns.setdefault(name, [np.full(before, np.nan)])
                parts.append(columns.get(name, np.full(count, np.nan)))

    def values(self, classes: Sequence[str]) -> dict[str, float | None]:
        """The columns of the well."""
        own = np.array(self.classes, dtype=object)
        cells = len(own)
        values: dict[str, float | None] = {"images": self.images, "cells": cells}
        values |= {f"cells_{name}": int((own == name).sum()) for name in classes}
        values["cells_per_image"] = cells / self.images
        values["confluence_percent"] = 100 * self.covered / self.pixels if self.pixels else None
        values["cells_per_mm2"] = cells / self.mm2 if self.scaled == self.images and self.mm2 else None
        for name, parts in self.columns.items():
            column = np.concatenate(parts)
            values[f"median_{name}"] = _median(column)
            for chosen in classes if len(classes) > 1 else ():
                values[f"median_{name}_{chosen}"] = _median(column[own == chosen])
        return values


def wells(
    images: Iterable[SavedImage], where: Mapping[str, Place], plate_map: PlateMap, classes: Sequence[str]
) -> tuple[list[Well], dict[str, Place]]:
    """The wells of a result, by plate, time and place in the plate.

    Args:
        images: of the result, read one at a time.
        where: the place of each image, by its name; those that have none are left out. Where it tells no time, the page of a stack is
            the time point.
        plate_map: what is in the wells.
        classes: those by which cells are counted and measured apart.

    Returns:
        The wells, and the images that were put into them with their places.
    """
    sums: dict[tuple[str, str, Time], _Sum] = {}
    used: dict[str, Place] = {}
    for image in images:
        place = where.get(image.name)
        if place is None:
            continue
        if image.page is not None and time_of(place) is None:
            place = replace(place, time_point=image.page)
        used[image.name] = place
        sums.setdefault((place.plate, place.well, time_of(place)), _Sum()).add(image)
    found = [Well(plate, well, time, plate_map.content(plate, well), own.values(classes)) for (plate, well, time), own in sums.items()]
    found.sort(key=lambda w: (w.plate, -np.inf if w.time is None else w.time, w.row_column))
    return found, used


def time_of(place: Place) -> Time:
    """Hours, else the number of the time point, else None."""
    return place.hours if place.hours is not None else place.time_point


def series(found: Sequence[Well]) -> dict[tuple[str, Time], list[Well]]:
    """The wells of each plate at each time."""
    by_time: dict[tuple[str, Time], list[Well]] = {}
    for well in found:
        by_time.setdefault((well.plate, well.time), []).append(well)
    return by_time


def _median(values: NDArray[np.float64]) -> float | None:
    known = values[np.isfinite(values)]
    return float(np.median(known)) if len(known) else None
