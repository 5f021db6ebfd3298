"""Cells as a table: `cells.csv`."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import polars as pl

from somaseg.texts.tables import csv_bytes, writable

CELL_COLUMNS = {
    "image": pl.String,
    "id": pl.Int64,
    "label": pl.Int64,
    "class": pl.String,
    "score": pl.Float64,
    "area": pl.Int64,
    "centroid_x": pl.Float64,
    "centroid_y": pl.Float64,
    "x0": pl.Int64,
    "y0": pl.Int64,
    "x1": pl.Int64,
    "y1": pl.Int64,
    "area_um2": pl.Float64,
}


def cells_csv(documents: Iterable[Mapping[str, Any]], names: Sequence[str]) -> bytes:
    """A table with a row a cell, from COCO documents of single images.

    `id` is that of `instances.json`, `label` the value in the label image; areas in pixels (and `area_um2` in µm² where a pixel
    size is known), `centroid_x`, `centroid_y` in pixels where the first pixel's centre is 0, `x0 y0 x1 y1` a half-open box.
    """
    rows: list[tuple[Any, ...]] = []
    for document, name in zip(documents, names, strict=True):
        class_of = {c["id"]: c["name"] for c in document["categories"]}
        pixel_size = document["images"][0].get("pixel_size")
        for cell in document["annotations"]:
            x, y, width, height = cell["bbox"]
            area = cell["area"]
            about = (writable(name), len(rows) + 1, cell["label"], class_of[cell["category_id"]], cell["score"], area)
            in_um2 = None if pixel_size is None else round(area * pixel_size**2, 4)
            rows.append((*about, *cell["centroid"], x, y, x + width, y + height, in_um2))
    table = pl.DataFrame(rows, schema=CELL_COLUMNS, orient="row")
    if table["area_um2"].null_count() == len(table):
        table = table.drop("area_um2")
    return csv_bytes(table)
