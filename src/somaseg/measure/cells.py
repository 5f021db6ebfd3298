"""All that is measured of the cells of an image."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from somaseg.images.frame import Channels
from somaseg.instances import Instances
from somaseg.masks.pairs import meeting_boxes, shared_pixels
from somaseg.measure.intensities import TILE, free_pixels, intensities, windows
from somaseg.measure.neighbours import neighbours
from somaseg.measure.shapes import border, shapes
from somaseg.measure.strips import strips

DIGITS = 9  # significant ones that are kept
SHAPES = (
    *("perimeter", "feret_max", "feret_min", "axis_major", "axis_minor", "orientation", "eccentricity", "solidity", "form_factor"),
    *("neighbours", "nearest", "touches_border"),
)  # columns that do not need the image
LENGTHS = ("perimeter", "feret_max", "feret_min", "axis_major", "axis_minor", "nearest")
COUNTS = ("neighbours", "touches_border")  # whole numbers


class Measurements(NamedTuple):
    """What is measured of an image.

    Attributes:
        cells: float64 (N,) by name, in pixels and in the image's own grey values; NaN where there is nothing to measure. Intensities
            are missing where the image is. docs/measure.md says what each is.
        covered: pixels of the image that belong to a cell; what several share counts once.
        channels: names of the channels whose intensities these are; None where the image was not there.
    """

    cells: dict[str, NDArray[np.float64]]
    covered: int
    channels: tuple[str, ...] | None = None

    def as_json(self) -> dict[str, Any]:
        """The same as plain values, each name once; nothing for NaN."""
        columns: dict[str, list[int] | list[float | None]] = {}
        for name, values in self.cells.items():
            if name in COUNTS:
                columns[name] = [int(value) for value in values.tolist()]
            else:
                columns[name] = [None if value != value else float(f"{value:.{DIGITS}g}") for value in values.tolist()]
        return {"channels": self.channels, "covered": self.covered, "cells": columns}


def measurements_of(plain: Mapping[str, Any]) -> Measurements:
    """What `Measurements.as_json` gave."""
    cells = {
        name: np.array([np.nan if value is None else value for value in values], np.float64) for name, values in plain["cells"].items()
    }
    return Measurements(cells, plain["covered"], None if plain["channels"] is None else tuple(plain["channels"]))


def measure(cells: Instances, channels: Channels | None = None) -> Measurements:
    """Measure the cells of an image, many at a time.

    Args:
        cells: overlaps stay: each cell is measured whole.
        channels: the image; read in windows, so slicing of rows and columns is all that its array must do. None leaves intensities out.
    """
    columns = {name: np.full(len(cells), np.nan) for name in SHAPES}
    borders: list[NDArray[np.float64]] = [np.zeros((0, 2))] * len(cells)
    for chosen, window in windows(cells, channels):
        for strip in strips(cells.masks, cells.boxes, chosen):
            found = shapes(strip)
            if channels is not None:
                found |= intensities(strip, window, channels.names)
            for name, values in found.items():
                columns.setdefault(name, np.full(len(cells), np.nan))[strip.cells] = values
            rows, across, cell = strip.where(border(strip))
            places = np.column_stack([rows, across]) + strip.shift[cell]
            parts = np.split(places.astype(np.float64), np.flatnonzero(np.diff(cell)) + 1)
            for number, part in zip(strip.cells.tolist(), parts, strict=True):
                borders[number] = part
    columns.pop("area", None)  # a field of the cells themselves
    columns["neighbours"], columns["nearest"] = neighbours(cells, borders)
    columns["touches_border"] = _touches_border(cells)
    return Measurements(columns, _covered(cells), None if channels is None else channels.names)


def _touches_border(cells: Instances) -> NDArray[np.float64]:
    x0, y0, x1, y1 = cells.boxes.T
    height, width = cells.size
    at_edge = (x0 == 0) | (y0 == 0) | (x1 == width) | (y1 == height)
    return np.asarray((cells.area > 0) & at_edge, np.float64)


def _covered(cells: Instances) -> int:
    """Pixels of the union of all cells."""
    if not shared_pixels(cells.masks, cells.boxes, *meeting_boxes(cells.boxes)).any():
        return int(cells.area.sum())
    height, width = cells.size
    corners = [(x, y) for y in range(0, height, TILE) for x in range(0, width, TILE)]
    tiles = [(x, y, min(x + TILE, width), min(y + TILE, height)) for x, y in corners]
    return sum(int(np.count_nonzero(~free_pixels(cells, tile))) for tile in tiles)
