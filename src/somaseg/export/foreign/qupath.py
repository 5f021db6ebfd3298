"""Cells as GeoJSON, which QuPath opens as detections."""

import uuid
from typing import Any

import orjson

from somaseg.export.coco import annotations
from somaseg.export.image_result import Exported, ImageResult
from somaseg.export.overlay import COLOURS
from somaseg.instances import Instances
from somaseg.masks.pixel_edges import Polygon, polygons_from_crop
from somaseg.measure.cells import DIGITS
from somaseg.texts.tables import writable

NO_MEASUREMENTS = {"id", "image_id", "category_id", "iscrowd", "label"}  # numbers of an annotation that measure nothing
NAMESPACE = uuid.UUID("8b0f3c52-5a61-4b7e-9f0e-6d5f6a1c2e11")  # of the ids of our objects, which come from image and number


def geojson_file(result: ImageResult) -> Exported:
    """A collection of features, one a cell in their order, exact to the pixel, overlaps kept.

    A feature is a detection whose name is the cell's number in the table; it has the class, and as measurements every number that the
    record of the cell has: `score`, `area`, and what else there is.
    """
    cells = result.cells
    described = list(annotations(cells))
    features = [
        _feature(polygons_from_crop(crop, box), cells, i, described[i], result)
        for i, (crop, box) in enumerate(zip(cells.masks, cells.boxes, strict=True))
        if crop.any()
    ]
    return Exported(orjson.dumps({"type": "FeatureCollection", "features": features}))


def _feature(polygons: list[Polygon], cells: Instances, i: int, described: dict[str, Any], result: ImageResult) -> dict[str, Any]:
    label = int(cells.labels[i])
    measured = {key: value for key, value in described.items() if type(value) in (int, float) and key not in NO_MEASUREMENTS}
    if result.measurements is not None:
        values = {name: float(column[i]) for name, column in result.measurements.cells.items()}
        measured |= {name: float(f"{value:.{DIGITS}g}") for name, value in values.items() if value == value}
    if result.pixel_size is not None and "area_um2" not in measured:
        measured["area_um2"] = described["area"] * result.pixel_size**2
    return {
        "type": "Feature",
        "id": str(uuid.uuid5(NAMESPACE, f"{writable(result.file_name)}/{result.page}/{i + 1}")),
        "geometry": geometry(polygons),
        "properties": {
            "objectType": "detection",
            "name": str(i + 1),
            "classification": {
                "name": writable(cells.classes[label]),
                "color": [round(255 * value) for value in COLOURS[label % len(COLOURS)].tolist()],
            },
            "measurements": measured,
        },
    }


def geometry(polygons: list[Polygon]) -> dict[str, Any]:
    """A polygon, or several as one geometry; rings are closed."""
    coordinates = [[[*ring.tolist(), ring[0].tolist()] for ring in polygon] for polygon in polygons]
    if len(coordinates) == 1:
        return {"type": "Polygon", "coordinates": coordinates[0]}
    return {"type": "MultiPolygon", "coordinates": coordinates}
