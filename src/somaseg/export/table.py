"""Cells and images as tables: `cells.csv`, `cells.parquet`, `images.csv`."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from somaseg.errors import MissingExtraError
from somaseg.images.read import image_stem
from somaseg.measure.cells import DIGITS, LENGTHS, SHAPES
from somaseg.texts.tables import guarded, writable

FIRST = ("image", "id", "label", "class", "score", "area", "centroid_x", "centroid_y", "x0", "y0", "x1", "y1")
TEXTS = ("image", "class", "folder", "path")
WHOLE = ("id", "label", "area", "x0", "y0", "x1", "y1", "neighbours", "touches_border")
NO_MEDIAN = ("id", "label", "centroid_x", "centroid_y", "x0", "y0", "x1", "y1", "orientation", "touches_border", *TEXTS)
SQUARE_MM = 1e6  # µm²
Value = str | int | float | None


class Tables:
    """The tables of a run, from the COCO documents of its images.

    Args:
        classes: class names, which are columns of the table of images.
    """

    def __init__(self, classes: Sequence[str]) -> None:
        self._classes = tuple(classes)
        self._cells: dict[str, list[Value]] = {name: [] for name in (*FIRST, "area_um2", "folder", "path", *SHAPES)}
        self._count = 0
        self._images: list[dict[str, Value]] = []

    def add(self, name: str, document: Mapping[str, Any]) -> None:
        """Take in the next image, by its document as `somaseg.export.coco` makes it."""
        columns = _columns(name, document, self._count)
        count = len(document["annotations"])
        for column in columns:
            self._cells.setdefault(column, [None] * self._count)
        for column, values in self._cells.items():
            values.extend(columns.get(column) or [None] * count)
        self._count += count
        self._images.append(self._image(name, document, columns))

    def cells_csv(self) -> bytes:
        """A row a cell; columns in µm only where a pixel size of the run is known. See docs/measure.md."""
        return csv_table(self._known_cells())

    def cells_parquet(self) -> bytes:
        """The same as Parquet, with names as they are.

        Raises:
            MissingExtraError: without pyarrow.
        """
        try:
            import pyarrow as pa
            import pyarrow.parquet as pq
        except ImportError:
            raise MissingExtraError("pyarrow", "parquet") from None
        kinds = {**dict.fromkeys(TEXTS, pa.string()), **dict.fromkeys(WHOLE, pa.int64())}
        columns = self._known_cells()
        sink = pa.BufferOutputStream()
        pq.write_table(pa.table({name: pa.array(values, kinds.get(name, pa.float64())) for name, values in columns.items()}), sink)
        return bytes(sink.getvalue())

    def images_csv(self, failures: Mapping[str, str]) -> bytes:
        """A row an image, with cells or without, and one for each file that failed, which has nothing but its name and the error."""
        failed = [{**_file(file), "image": writable(image_stem(file)), "error": writable(reason)} for file, reason in failures.items()]
        rows = [*self._images, *failed]
        names = list(dict.fromkeys(["image", "folder", "path", *(name for row in self._images for name in row), "warnings", "error"]))
        last = ("warnings", "error")
        names = [*(name for name in names if name not in last), *last]
        columns = {name: [row.get(name) for row in rows] for name in names}
        columns = {name: values for name, values in columns.items() if not _in_um(name) or any(value is not None for value in values)}
        return csv_table(columns)

    def medians(self) -> dict[str, float]:
        """What the run found in the middle: over images `cells`, `confluence_percent`, `cells_per_mm2`, over cells `area`, `area_um2`."""
        found: dict[str, float] = {}
        for name in ("cells", "confluence_percent", "cells_per_mm2"):
            found |= _median(name, [row.get(name) for row in self._images])
        for name in ("area", "area_um2"):
            found |= _median(name, self._cells[name])
        return found

    def _known_cells(self) -> dict[str, list[Value]]:
        names = [*FIRST, "area_um2", "folder", "path", *SHAPES]
        names += [name for name in self._cells if name not in names and not _in_um(name)]
        names += [f"{name}_um" for name in LENGTHS]
        found = {name: self._cells[name] for name in names if name in self._cells}
        return {name: values for name, values in found.items() if not _in_um(name) or any(value is not None for value in values)}

    def _image(self, name: str, document: Mapping[str, Any], columns: Mapping[str, Sequence[Value]]) -> dict[str, Value]:
        image, info = document["images"][0], document["info"]
        pixels = image["height"] * image["width"]
        pixel_size = image.get("pixel_size")
        count = len(document["annotations"])
        classes = list(columns["class"])
        row: dict[str, Value] = {"image": writable(name), **_file(info["source"]), "page": image.get("page")}
        row |= {"width": image["width"], "height": image["height"], "pixel_size_um": pixel_size, "cells": count}
        row |= {f"cells_{writable(own)}": classes.count(writable(own)) for own in self._classes}
        row |= {
            "confluence_percent": _short(100 * document["measurements"]["covered"] / pixels if pixels else 0.0),
            "cells_per_megapixel": _short(count / pixels * 1e6 if pixels else 0.0),
            "cells_per_mm2": _short(count / (pixels * pixel_size**2) * SQUARE_MM) if pixel_size and pixels else None,
        }
        for column, values in columns.items():
            if column not in NO_MEDIAN:
                row[f"median_{column}"] = _median(column, values).get(column)
        return row | {"warnings": writable("; ".join(" ".join(text.split()) for text in info["warnings"])) or None}


def _columns(name: str, document: Mapping[str, Any], before: int) -> dict[str, list[Value]]:
    """The columns of an image's cells."""
    class_of = {c["id"]: writable(c["name"]) for c in document["categories"]}
    pixel_size = document["images"][0].get("pixel_size")
    cells, measured = document["annotations"], document["measurements"]["cells"]
    columns: dict[str, list[Value]] = {
        "image": [writable(name)] * len(cells),
        "id": list(range(before + 1, before + len(cells) + 1)),
        "label": [cell["label"] for cell in cells],
        "class": [class_of[cell["category_id"]] for cell in cells],
        "score": [cell["score"] for cell in cells],
        "area": [cell["area"] for cell in cells],
        "centroid_x": [cell["centroid"][0] for cell in cells],
        "centroid_y": [cell["centroid"][1] for cell in cells],
        "x0": [cell["bbox"][0] for cell in cells],
        "y0": [cell["bbox"][1] for cell in cells],
        "x1": [cell["bbox"][0] + cell["bbox"][2] for cell in cells],
        "y1": [cell["bbox"][1] + cell["bbox"][3] for cell in cells],
    }
    if pixel_size is not None:
        columns["area_um2"] = [round(cell["area"] * pixel_size**2, 4) for cell in cells]
    columns |= {key: [value] * len(cells) for key, value in _file(document["info"]["source"]).items()}
    columns |= {writable(key): values for key, values in measured.items()}
    if pixel_size is not None:
        for key in LENGTHS:
            columns[f"{key}_um"] = [None if value is None else _short(value * pixel_size) for value in measured.get(key, [])]
    return columns


def _file(source: str) -> dict[str, Value]:
    path = Path(source)
    return {"folder": writable(str(path.parent)), "path": writable(str(path))}


def _in_um(name: str) -> bool:
    return name.endswith(("_um", "_um2", "_mm2"))


def _short(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")


def _median(name: str, values: Iterable[Value]) -> dict[str, float]:
    """The median of what is known; nothing where nothing is."""
    known = [float(value) for value in values if value is not None]
    return {name: _short(median(known))} if known else {}


def csv_table(columns: Mapping[str, Sequence[Value]]) -> bytes:
    """Columns of one length as CSV in UTF-8; no text is a formula, whatever it holds, and nothing stands for None."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow([guarded(writable(name)) for name in columns])
    safe: dict[str, str] = {}  # most texts stand in many rows

    def cell(value: Value) -> Value:
        if not isinstance(value, str):
            return value
        if value not in safe:
            safe[value] = guarded(writable(value))
        return safe[value]

    def has_text(values: Sequence[Value]) -> bool:
        return isinstance(next((value for value in values if value is not None), None), str)

    held = [[cell(value) for value in values] if has_text(values) else values for values in columns.values()]
    writer.writerows(zip(*held, strict=True))
    return buffer.getvalue().encode()
