"""Regions of QuPath and ImageJ."""

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
import roifile

from somaseg.counting.regions import Region, read_regions, region_files
from somaseg.errors import InputError

SQUARE = [[0, 0], [10, 0], [10, 10], [0, 10], [0, 0]]
HOLE = [[2, 2], [2, 6], [6, 6], [6, 2], [2, 2]]
FAR = [[20, 0], [24, 0], [24, 4], [20, 4], [20, 0]]


def feature(kind: str, coordinates: object, **properties: object) -> dict:
    return {"type": "Feature", "geometry": {"type": kind, "coordinates": coordinates}, "properties": properties}


def geojson(path: Path, *features: object, collection: bool = True) -> Path:
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features} if collection else features))
    return path


def which(region: Region) -> list[list[float]]:
    points = np.array([(1, 1), (3, 3), (9.5, 9.5), (21, 1), (-1, 5), (15, 5)])
    return points[region.holds(points)].tolist()


@pytest.mark.parametrize("collection", [True, False])
def test_polygons_of_qupath_with_holes_and_pieces(tmp_path, collection):
    file = geojson(
        tmp_path / "x.geojson",
        feature("Polygon", [SQUARE, HOLE], name="soma", classification={"name": "Tumor", "color": [1, 2, 3]}, objectType="annotation"),
        feature("MultiPolygon", [[SQUARE], [FAR]]),
        feature("Point", [1, 2]),
        feature("Polygon", [SQUARE], objectType="detection"),
        collection=collection,
    )
    found = read_regions(file)
    assert found.left_out == 2
    first, second = found.regions
    assert (first.name, first.class_name, first.area) == ("soma", "Tumor", 84)
    assert which(first) == [[1, 1], [9.5, 9.5]]
    assert (second.name, second.class_name, second.area) == ("", "", 116)
    assert which(second) == [[1, 1], [3, 3], [9.5, 9.5], [21, 1]]


def test_a_bare_geometry_is_a_region(tmp_path):
    (tmp_path / "x.json").write_text(json.dumps({"type": "Polygon", "coordinates": [SQUARE]}))
    assert read_regions(tmp_path / "x.json").regions[0].area == 100


def roi(kind: roifile.ROI_TYPE, points: list[list[int]], name: str) -> bytes:
    made = roifile.ImagejRoi.frompoints(np.array(points), name=name)
    made.roitype = kind
    return made.tobytes()


def test_rois_of_imagej(tmp_path):
    (tmp_path / "one.roi").write_bytes(roi(roifile.ROI_TYPE.POLYGON, SQUARE[:4], "left"))
    (found,) = read_regions(tmp_path / "one.roi").regions
    assert (found.name, found.area) == ("left", 100)
    assert which(found) == [[1, 1], [3, 3], [9.5, 9.5]]


def test_a_zip_of_rois(tmp_path):
    rectangle = roifile.ImagejRoi(roitype=roifile.ROI_TYPE.RECT, left=0, top=0, right=4, bottom=2, name="box")
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        archive.writestr("a.roi", rectangle.tobytes())
        archive.writestr("b.roi", roi(roifile.ROI_TYPE.POLYGON, FAR[:4], "far"))
        archive.writestr("c.roi", roi(roifile.ROI_TYPE.POLYLINE, FAR[:3], "line"))
        archive.writestr("__MACOSX/._a.roi", b"junk")
    found = read_regions(tmp_path / "set.zip")
    assert [(region.name, region.area) for region in found.regions] == [("box", 8), ("far", 16)]
    assert found.left_out == 1


def test_files_that_cannot_be_read(tmp_path, monkeypatch):
    (tmp_path / "junk.roi").write_bytes(b"Iout" + bytes(8))
    (tmp_path / "junk.zip").write_bytes(b"PK no")
    (tmp_path / "x.txt").write_text("")
    geojson(tmp_path / "none.geojson", feature("Point", [1, 1]))
    geojson(tmp_path / "line.geojson", feature("Polygon", [[[0, 0], [1, 1]]]))
    geojson(tmp_path / "words.geojson", feature("Polygon", [[["a", 0], [1, 1], [2, 2]]]))
    geojson(tmp_path / "flat.geojson", feature("Polygon", 5))
    geojson(tmp_path / "far.geojson", feature("Polygon", [[[0, 0], [1e300, 1], [2, 2]]]))
    geojson(tmp_path / "list.geojson", 7)
    for name, message in {
        "junk.roi": r"junk\.roi: ROI 0: is damaged or none of ImageJ",
        "junk.zip": r"junk\.zip: cannot be read as a zip of ROIs",
        "x.txt": r"x\.txt: is no file of regions, expected \.geojson",
        "none.geojson": r"none\.geojson: holds no region with an area \(1 other objects\)",
        "line.geojson": r"line\.geojson: feature 0: coordinates: found .*, expected three points or more",
        "words.geojson": r"words\.geojson: feature 0: coordinates: found .*, expected points of two numbers",
        "flat.geojson": r"flat\.geojson: feature 0: coordinates: found 5, expected rings",
        "far.geojson": r"far\.geojson: feature 0: coordinates",
        "list.geojson": r"list\.geojson: feature 0: found 7, expected an object",
        "gone.roi": r"gone\.roi: cannot be read",
    }.items():
        with pytest.raises(InputError, match=message):
            read_regions(tmp_path / name)
    monkeypatch.setenv("SOMASEG_MAX_BYTES", "10")
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        archive.writestr("a.roi", bytes(100))
    with pytest.raises(InputError, match="holds 100 bytes when unpacked, the limit is 10"):
        read_regions(tmp_path / "set.zip")


def test_each_image_has_the_file_of_its_name(tmp_path):
    images = [("a", Path("/d/A.png")), ("b_x", Path("/d/b/x.ome.tif")), ("c", Path("/d/c.png"))]
    for name in ("a.roi", "x.geojson", "c.txt"):
        (tmp_path / name).write_text("")
    assert region_files(tmp_path, images) == {"a": tmp_path / "a.roi", "b_x": tmp_path / "x.geojson"}
    assert region_files(tmp_path / "a.roi", images) == dict.fromkeys(("a", "b_x", "c"), tmp_path / "a.roi")
    with pytest.raises(InputError, match="no such file or folder"):
        region_files(tmp_path / "gone", images)
    with pytest.raises(InputError, match="has no file of regions for any image"):
        region_files(tmp_path, images[2:])
