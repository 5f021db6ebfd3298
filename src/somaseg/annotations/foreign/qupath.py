"""GeoJSON as QuPath exports objects: a collection of features, a list of them, or one."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from somaseg.annotations.foreign.outlined import Outlined, Rings, finite_ring, number_from_0_to_1
from somaseg.errors import InputError, shown
from somaseg.texts.json_text import read_json_values

NO_CELLS = {"root", "PathRootObject", "tile", "PathTileObject", "tmaCore", "tma_core", "TMACoreObject"}
MADE = {"detection", "PathDetectionObject", "cell", "PathCellObject"}  # by a program; all others a person drew
IGNORED = "*"  # with which QuPath marks classes whose objects are to be ignored
SCORE = "score"


def read_geojson(path: Path) -> list[Outlined]:
    """The objects of a file, in its order: detections, cells and annotations alike; tiles and cores of a grid are none.

    The class is `classification`, the score the measurement `score`. Objects of a class that ends in `*` are ignored regions, as QuPath
    has it. Points and lines have no area: they are unreadable.

    Raises:
        InputError: when the file is no GeoJSON.
    """
    found = []
    for number, feature in enumerate(_features(path)):
        place = f"features[{number}]"
        if not isinstance(feature, Mapping) or feature.get("type") != "Feature":
            raise InputError(f"{path}: {place}: found {shown(feature)}, expected a feature: export the objects from QuPath as GeoJSON")
        properties = feature.get("properties")
        properties = properties if isinstance(properties, Mapping) else {}
        kind = next((properties[key] for key in ("objectType", "object_type", "type") if key in properties), feature.get("id"))
        if not (isinstance(kind, str) and kind in NO_CELLS):
            drawn = not (isinstance(kind, str) and kind in MADE)
            found.append(_outlined(path, place, feature, properties, drawn))
    return found


def _features(path: Path) -> Iterator[Any]:
    for value in read_json_values(path):
        if isinstance(value, Mapping) and value.get("type") == "FeatureCollection":
            features = value.get("features")
            if not isinstance(features, list):
                raise InputError(f"{path}: features: found {shown(features)}, expected a list: export the objects from QuPath again")
            yield from features
        elif isinstance(value, list):
            yield from value
        else:
            yield value


def _outlined(path: Path, place: str, feature: Mapping[str, Any], properties: Mapping[str, Any], drawn: bool) -> Outlined:
    class_name = _class_of(path, place, properties.get("classification"))
    score = number_from_0_to_1(_measurement(properties.get("measurements"), SCORE), f"{path}: {place}, measurements")
    ignored = class_name is not None and class_name.endswith(IGNORED)
    class_name = (class_name.rstrip(IGNORED).strip() or None) if ignored and class_name else class_name
    try:
        polygons = _polygons(feature.get("geometry"))
    except ValueError as error:
        return Outlined(place, (), class_name, score, ignored, unreadable=f"geometry: {error}", raw=dict(feature))
    return Outlined(place, polygons, None if ignored else class_name, score, ignored, drawn and class_name is None and not ignored)


def _class_of(path: Path, place: str, given: Any) -> str | None:
    """The class of an object; derived classes are told as QuPath shows them, `Tumour: Positive`."""
    if given is None:
        return None
    name = given
    if isinstance(given, Mapping):
        name = given.get("name")
        names = given.get("names")
        if name is None and isinstance(names, list) and names and all(isinstance(part, str) for part in names):
            name = ": ".join(names)
        if name is None:
            return None
    if not isinstance(name, str):
        raise InputError(f"{path}: {place}, classification: found {shown(given)}, expected the name of a class")
    return name.strip() or None


def _measurement(given: Any, key: str) -> Any:
    """A measurement by its name; older versions list names and values."""
    if isinstance(given, list):
        return next((item.get("value") for item in given if isinstance(item, Mapping) and item.get("name") == key), None)
    return given.get(key) if isinstance(given, Mapping) else None


def _polygons(geometry: Any) -> list[Rings]:
    """The polygons of a geometry.

    Raises:
        ValueError: when it has no area, or no coordinates that an image has.
    """
    kind = geometry.get("type") if isinstance(geometry, Mapping) else None
    if kind not in ("Polygon", "MultiPolygon"):
        raise ValueError(f"is {shown(geometry if kind is None else kind)}, which has no area: outline the cell, or delete it")
    coordinates = geometry.get("coordinates")
    polygons = [coordinates] if kind == "Polygon" else coordinates
    if not isinstance(polygons, list) or not polygons or not all(isinstance(rings, list) and rings for rings in polygons):
        raise ValueError(f"coordinates: found {shown(coordinates)}, expected those of a {kind}")
    return [[finite_ring(ring) for ring in rings] for rings in polygons]
