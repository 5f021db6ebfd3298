"""From a folder of results to one page that shows all of it."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from somaseg.export.saved import SavedResult, read_result
from somaseg.files import check_file, write_whole
from somaseg.report.charts import MOST, Chart, histogram
from somaseg.report.data import Cells, ShownTable, cells_of, image_table, link, overlay_of, plate_pictures, plate_tables, run_facts
from somaseg.report.page import pretty, render
from somaseg.report.thumbnails import thumbnail, whole_picture

NAME = "report.html"
TITLES = {"area": "area of a cell, px", "area_um2": "area of a cell, µm²", "score": "score of a cell"}


@dataclass(frozen=True)
class ReportPage:
    """What was made.

    Attributes:
        file: the page.
        images: images on it.
        notes: what it could not show.
    """

    file: Path
    images: int
    notes: list[str] = field(default_factory=list)


def make_report(folder: Path, out: Path | None = None, plates: Path | None = None) -> ReportPage:
    """Write the page of a folder of results.

    Args:
        folder: of results of `segment`, `postprocess` or `fuse`.
        out: the page; else report.html in the folder.
        plates: a folder that `somaseg plates` has filled.

    Raises:
        InputError: when there is no result, or its tables or those of the plates cannot be read.
        OutputError: when the page cannot be written.
    """
    result = read_result(folder)
    page = folder / NAME if out is None else out
    check_file(page)
    table, cells, notes = image_table(result), cells_of(result), list[str]()
    images, small = _gallery(result, page, notes)
    data: dict[str, Any] = {"images": images, "classes": result.classes, "tables": {"images": _shown(table)}, "plates": []}
    pictures: dict[str, Any] = {"images": small, "plates": []}
    if plates is not None:
        data["tables"] |= {name: _shown(one) for name, one in plate_tables(plates)}
        for file in plate_pictures(plates):
            if (picture := whole_picture(file)) is None:
                notes.append(f"{file}: is no PNG that can be read and is not on the page: run `somaseg plates` again")
                continue
            data["plates"].append({"name": file.stem})
            pictures["plates"].append(picture)
    write_whole(page, render(_told(result, table, cells, data, notes), data, pictures))
    return ReportPage(page, len(images), notes)


def _gallery(result: SavedResult, page: Path, notes: list[str]) -> tuple[list[dict[str, Any]], list[str | None]]:
    """The images in order, name and link to the overlay of each, and their thumbnails; one overlay is read at a time."""
    images: list[dict[str, Any]] = []
    small: list[str | None] = []
    missing = 0
    for name in result.files:
        overlay = overlay_of(result, name)
        picture = thumbnail(overlay) if overlay.is_file() else None
        if picture is None and overlay.is_file():
            notes.append(f"{overlay}: is no picture that can be read: delete it and run `somaseg segment` again")
        missing += not overlay.is_file()
        images.append({"name": name, "link": None if picture is None else link(overlay, page)})
        small.append(picture)
    if missing:
        notes.append(f"{missing} of {len(images)} images have no overlay to show: run `somaseg segment` again without --no-overlay")
    return images, small


def _shown(table: ShownTable) -> dict[str, Any]:
    return {"columns": table.columns, "rows": table.rows, "more": table.more}


def _told(result: SavedResult, table: ShownTable, cells: Cells, data: dict[str, Any], notes: list[str]) -> dict[str, Any]:
    """What stands in the page as text."""
    run, counts = result.run, Counter(cells.classes.tolist())
    facts = run_facts(run)
    return {
        "folder": str(result.folder.resolve()),
        "images": len(table.rows),
        "classes": [(name, counts[name], min(number, MOST - 1)) for number, name in enumerate(result.classes)],
        "cells": len(cells.classes),
        "medians": _medians(run.get("medians", {})),
        "seconds": run.get("seconds"),
        "charts": _charts(result, table, cells),
        "failures": result.failures,
        "warnings": [(image, text) for image, texts in run.get("warnings", {}).items() for text in texts],
        "left_out": dict(run.get("left_out", {})),
        "facts": {name: (pretty(value), isinstance(value, dict | list)) for name, value in facts.items()},
        "tables": [name for name in data["tables"] if name != "images"],
        "plates": len(data["plates"]),
        "notes": notes,
    }


def _medians(medians: dict[str, float]) -> list[str]:
    words = {"cells": "{} cells an image", "confluence_percent": "{} % covered", "cells_per_mm2": "{} cells per mm²"}
    words |= {"area": "area of a cell {} px", "area_um2": "area of a cell {} µm²"}
    return [words[name].format(f"{value:,.4g}") for name, value in medians.items() if name in words and value is not None]


def _charts(result: SavedResult, table: ShownTable, cells: Cells) -> list[Chart]:
    """Distributions of area and score by class, and of counts over images."""
    charts = [histogram(TITLES[name], values, cells.classes, result.classes) for name, values in cells.values.items()]
    counts = np.array([row[table.columns.index("cells")] for row in table.rows], np.float64)
    charts.append(histogram("cells an image", counts, np.full(len(counts), "all"), ["all"], "images", whole=True))
    return [chart for chart in charts if chart is not None]
