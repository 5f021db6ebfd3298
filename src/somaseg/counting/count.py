"""Cells in the regions of images, counted and measured region by region."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from somaseg.counting.regions import Region, read_regions, region_files
from somaseg.export.saved import SavedImage, read_result
from somaseg.export.table import csv_table
from somaseg.files import check_file, write_whole
from somaseg.measure.cells import DIGITS

NO_MEDIAN = ("orientation", "touches_border")
Row = dict[str, str | int | float | None]


@dataclass
class Counted:
    """What was counted.

    Attributes:
        rows: of the table.
        notes: what a reader should know.
        file: the table.
    """

    file: Path
    rows: list[Row] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def lines(self) -> list[str]:
        """The counts in short, a line a region."""
        return [
            f"{row['image']}: {row['region'] or ('outside' if row['number'] == 0 else row['number'])}: {row['cells']} cells"
            for row in self.rows
        ]


def count(result: Path, regions: Path, out: Path) -> Counted:
    """Count the cells of a result in regions and write the table.

    A cell is in a region when its centroid is, and counts in each of several; the row with the number 0 has the cells in none.

    Args:
        result: folder of results.
        regions: a file for all images, or a folder with a file an image.
        out: the CSV to write.

    Raises:
        InputError: when there are no results, or the regions cannot be read.
        OutputError: when the table cannot be written.
    """
    check_file(out)
    saved = read_result(result)
    files = region_files(regions, list(saved.files.items()))
    known = {file: read_regions(file) for file in dict.fromkeys(files.values())}
    counted = Counted(out)
    missing = [name for name in saved.files if name not in files]
    if missing:
        counted.notes.append(f"{len(missing)} image(s) have no file of regions and are not counted: {', '.join(missing[:5])}")
    counted.notes += [
        f"{file}: {found.left_out} object(s) are no regions and were left out" for file, found in known.items() if found.left_out
    ]
    for image in saved.images():
        if image.name in files:
            counted.rows += _rows(image, known[files[image.name]].regions, saved.classes)
    names = list(dict.fromkeys(name for row in counted.rows for name in row))
    names = [name for name in names if name in ALWAYS or any(row.get(name) is not None for row in counted.rows)]
    write_whole(out, csv_table({name: [row.get(name) for row in counted.rows] for name in names}))
    return counted


ALWAYS = ("image", "number", "region", "region_class", "cells")


def _rows(image: SavedImage, regions: Sequence[Region], classes: Sequence[str]) -> list[Row]:
    centroids = np.array([cell["centroid"] for cell in image.document["annotations"]], np.float64).reshape(-1, 2)
    held = [region.holds(centroids + 0.5) for region in regions]  # centroids count from the centre of the first pixel
    in_none = ~np.logical_or.reduce(held)
    rows = []
    for number, (region, inside) in enumerate([*zip(regions, held, strict=True), (None, in_none)], start=1):
        row: Row = {"image": image.name, "folder": str(image.file.parent), "path": str(image.file)}
        if region is None:
            row |= {"number": 0, "region": "", "region_class": ""}
        else:
            row |= {"number": number, "region": region.name, "region_class": region.class_name, **_extent(image, region, inside)}
        rows.append(row | _measured(image, inside, classes))
    return rows


def _extent(image: SavedImage, region: Region, inside: NDArray[np.bool_]) -> Row:
    area, pixel_size = region.area, image.pixel_size
    row: Row = {"region_area": _short(area), "cells_per_megapixel": _short(1e6 * inside.sum() / area) if area else None}
    if pixel_size:
        in_um2 = area * pixel_size**2
        row |= {"region_area_um2": _short(in_um2), "cells_per_mm2": _short(1e6 * inside.sum() / in_um2) if area else None}
    return row


def _measured(image: SavedImage, inside: NDArray[np.bool_], classes: Sequence[str]) -> Row:
    own = np.array(image.classes(), dtype=object)[inside]
    row: Row = {"cells": int(inside.sum()), **{f"cells_{name}": int((own == name).sum()) for name in classes}}
    for name, column in image.columns().items():
        if name not in NO_MEDIAN:
            known = column[inside][np.isfinite(column[inside])]
            row[f"median_{name}"] = _short(float(np.median(known))) if len(known) else None
    return row


def _short(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")
