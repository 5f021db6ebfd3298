"""Regions that people drew: polygons of GeoJSON (QuPath) and ImageJ's ROIs."""

import struct
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import roifile
from numpy.typing import NDArray

from somaseg.annotations.foreign.outlined import FARTHEST
from somaseg.errors import InputError, shown
from somaseg.limits import limit
from somaseg.texts.encoding import read_bytes
from somaseg.texts.json_text import read_json

Ring = NDArray[np.float64]
SUFFIXES = (".geojson", ".json", ".roi", ".zip")
AREAS = {roifile.ROI_TYPE.POLYGON, roifile.ROI_TYPE.RECT, roifile.ROI_TYPE.OVAL, roifile.ROI_TYPE.FREEHAND, roifile.ROI_TYPE.TRACED}
NO_REGIONS = ("cell", "detection", "tile", "tma_core")  # what QuPath finds or lays out itself
# What roifile raises on damaged files, and zipfile below it.
DAMAGED = (
    OSError,
    EOFError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    OverflowError,
    MemoryError,
    NotImplementedError,
    RuntimeError,
    struct.error,
)


@dataclass(frozen=True, eq=False)
class Region:
    """A region of an image.

    Attributes:
        name: as its author called it; empty where there is none.
        class_name: its class in QuPath; empty where there is none.
        polygons: pieces, each of rings (n, 2) of x, y in pixels, where 0, 0 is the corner of the first pixel; a place is in a piece
            when it is inside an odd number of its rings, so inner rings are holes.
    """

    name: str
    class_name: str
    polygons: tuple[tuple[Ring, ...], ...]

    def holds(self, points: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Which points (N, 2) of x, y lie in the region; a point on an edge is on one side of it."""
        inside = np.zeros(len(points), bool)
        for rings in self.polygons:
            odd = np.zeros(len(points), bool)
            for ring in rings:
                odd ^= _inside(ring, points)
            inside |= odd
        return inside

    @property
    def area(self) -> float:
        """Pixels of the region, of which holes take away; pieces that overlap count twice."""
        return sum(_nested_area(rings) for rings in self.polygons)


@dataclass(frozen=True)
class Regions:
    """The regions of a file.

    Attributes:
        regions: in the order of the file.
        left_out: objects that are no areas, such as points and lines, or cells that QuPath found.
    """

    regions: tuple[Region, ...]
    left_out: int


def read_regions(path: Path) -> Regions:
    """Read a GeoJSON, a ROI of ImageJ, or a zip of ROIs.

    Raises:
        InputError: naming file and object, when it cannot be read, or holds no region.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise InputError(f"{path}: is no file of regions, expected {', '.join(SUFFIXES)}")
    found = _geojson(path) if path.suffix.lower() in (".geojson", ".json") else _rois(path)
    if not found.regions:
        raise InputError(f"{path}: holds no region with an area ({found.left_out} other objects): draw polygons and save them again")
    return found


def _geojson(path: Path) -> Regions:
    document = read_json(path)
    if isinstance(document, dict) and document.get("type") == "FeatureCollection":
        document = document.get("features")
    features = document if isinstance(document, list) else [document]
    regions, left_out = [], 0
    for number, feature in enumerate(features):
        place = f"{path}: feature {number}"
        if not isinstance(feature, dict):
            raise InputError(f"{place}: found {shown(feature)}, expected an object with type, geometry and properties")
        geometry = feature.get("geometry") if feature.get("type") == "Feature" else feature
        properties = feature.get("properties")
        properties = properties if isinstance(properties, dict) else {}
        kind = geometry.get("type") if isinstance(geometry, dict) else None
        if kind not in ("Polygon", "MultiPolygon") or str(properties.get("objectType", "")).casefold() in NO_REGIONS:
            left_out += 1
            continue
        assert isinstance(geometry, dict)
        coordinates = geometry.get("coordinates")
        pieces = [coordinates] if kind == "Polygon" else coordinates
        if not isinstance(pieces, list) or not all(isinstance(piece, list) for piece in pieces):
            raise InputError(f"{place}: coordinates: found {shown(coordinates)}, expected rings of points")
        polygons = tuple(tuple(_ring(place, ring) for ring in piece) for piece in pieces)
        classification = properties.get("classification")
        class_name = classification.get("name") if isinstance(classification, dict) else classification
        regions.append(Region(_text(properties.get("name")), _text(class_name), polygons))
    return Regions(tuple(regions), left_out)


def _rois(path: Path) -> Regions:
    regions, left_out = [], 0
    for number, data in enumerate(_roi_contents(path)):
        try:
            roi = roifile.ImagejRoi.frombytes(data)
            rings = roi.coordinates(multi=True) if roi.roitype in AREAS else None
        except DAMAGED as error:
            raise InputError(f"{path}: ROI {number}: is damaged or none of ImageJ ({error}): save it again") from error
        if rings is None:
            left_out += 1
            continue
        polygon = tuple(_ring(f"{path}: ROI {number}", np.asarray(ring).tolist()) for ring in rings)
        regions.append(Region(_text(roi.name), "", (polygon,)))
    return Regions(tuple(regions), left_out)


def _roi_contents(path: Path) -> list[bytes]:
    """The ROIs of a file; what is packed is looked at before it is unpacked."""
    if path.suffix.lower() == ".roi":
        return [read_bytes(path)]
    most = limit("SOMASEG_MAX_BYTES")
    try:
        with zipfile.ZipFile(path) as archive:
            entries = [e for e in archive.infolist() if e.filename.lower().endswith(".roi") and not e.filename.startswith("__MACOSX")]
            held = sum(entry.file_size for entry in entries)
            if held > most:
                raise InputError(f"{path}: holds {held:,} bytes when unpacked, the limit is {most:,}: set SOMASEG_MAX_BYTES={held}")
            return [archive.read(entry) for entry in entries]
    except InputError:
        raise
    except (*DAMAGED, zipfile.BadZipFile, zlib.error) as error:
        raise InputError(f"{path}: cannot be read as a zip of ROIs ({error}): save it again") from error


def _ring(place: str, points: Any) -> Ring:
    try:
        ring = np.array([point[:2] for point in points], np.float64).reshape(-1, 2)
    except (TypeError, ValueError, KeyError):
        raise InputError(f"{place}: coordinates: found {shown(points)}, expected points of two numbers") from None
    if len(ring) < 3 or not (np.abs(ring) < FARTHEST).all():
        raise InputError(f"{place}: coordinates: found {shown(points)}, expected three points or more, in pixels")
    return ring


def _text(value: Any) -> str:
    return "" if value is None else str(value)


def _nested_area(rings: Sequence[Ring]) -> float:
    """Area of rings that do not cross; one inside an odd number of others is a hole."""
    total = 0.0
    for ring in rings:
        start = ring[:1] * 0.99 + ring.mean(axis=0) * 0.01  # not on a corner that it shares with another
        depth = sum(bool(_inside(other, start)[0]) for other in rings if other is not ring)
        total += abs(_area(ring)) * (-1 if depth % 2 else 1)
    return total


def _area(ring: Ring) -> float:
    x, y = ring.T
    return float((x * np.roll(y, -1) - y * np.roll(x, -1)).sum() / 2)


def _inside(ring: Ring, points: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which points have an odd number of edges of a ring to their right."""
    odd = np.zeros(len(points), bool)
    x, y = points.T
    for (x0, y0), (x1, y1) in zip(ring, np.roll(ring, -1, axis=0), strict=True):
        if y0 != y1:
            odd ^= ((y0 > y) != (y1 > y)) & (x < x0 + (y - y0) * (x1 - x0) / (y1 - y0))
    return odd


def region_files(place: Path, images: Sequence[tuple[str, Path]]) -> dict[str, Path]:
    """The file of regions of each image by its name in the results; a file holds for all, in a folder each image has one of its name.

    Raises:
        InputError: when there is no such file or folder, or no image has regions.
    """
    if not place.is_dir():
        if not place.exists():
            raise InputError(f"{place}: no such file or folder (--regions): check the path")
        return {name: place for name, _ in images}
    by_stem: dict[str, Path] = {}
    for file in sorted(place.rglob("*")):
        if file.suffix.lower() in SUFFIXES and file.is_file():
            by_stem.setdefault(file.stem.casefold(), file)
    found = {}
    for name, image in images:
        for stem in (name, image.name, image.stem, image.stem.removesuffix(".ome")):
            if stem.casefold() in by_stem:
                found[name] = by_stem[stem.casefold()]
                break
    if not found:
        raise InputError(f"{place}: has no file of regions for any image, expected the name of an image with {', '.join(SUFFIXES)}")
    return found
