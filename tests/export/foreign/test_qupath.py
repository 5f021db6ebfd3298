"""GeoJSON: exact to the pixel, and with the fields that QuPath reads."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.extra.numpy import arrays
from PIL import Image

from drawing import RING
from somaseg.annotations.read import read_annotations
from somaseg.export.foreign.qupath import geojson_file
from somaseg.export.image_result import ImageResult
from somaseg.instances import Instances
from two_cells import CLASSES, TWO, cells


def document(instances: Instances, **told) -> dict:
    return json.loads(geojson_file(ImageResult(instances, None, "a.png", **told)).data)


def test_a_feature_has_what_qupath_reads():
    found = document(cells(), pixel_size=0.5)
    assert found["type"] == "FeatureCollection"
    first, second = found["features"]
    assert first["geometry"] == {"type": "Polygon", "coordinates": [[[0, 0], [2, 0], [2, 2], [0, 2], [0, 0]]]}
    assert first["properties"]["objectType"] == "detection"
    assert first["properties"]["name"] == "1"
    assert first["properties"]["classification"]["name"] == "cort"
    assert first["properties"]["measurements"] == {"area": 4, "score": 0.75, "area_um2": 1.0}
    assert len(first["id"]) == 36
    assert first["id"] != second["id"]
    assert document(cells())["features"][0]["id"] == first["id"]  # the same in every export, so that a script can compare


def test_holes_and_pieces():
    (feature,) = document(Instances.from_masks(RING[None], CLASSES))["features"]
    assert feature["geometry"]["type"] == "MultiPolygon"
    assert sorted(len(rings) for rings in feature["geometry"]["coordinates"]) == [1, 2]
    for rings in feature["geometry"]["coordinates"]:
        assert all(ring[0] == ring[-1] for ring in rings)


@settings(max_examples=40, deadline=None)
@given(arrays(np.bool_, (3, 7, 8)))
def test_any_masks_come_back(tmp_path_factory, dense):
    dense = dense[dense.any(axis=(1, 2))]
    folder = tmp_path_factory.mktemp("geojson")
    Image.new("L", (8, 7)).save(folder / "a.png")
    instances = Instances.from_masks(dense, CLASSES, [0] * len(dense), [0.5] * len(dense))
    (folder / "a.geojson").write_bytes(geojson_file(ImageResult(instances, None, "a.png")).data)
    (sample,) = read_annotations(folder / "a.geojson")
    assert np.array_equal(sample.instances.to_masks(), dense)
    assert (sample.instances.scores == 0.5).all()


@pytest.mark.parametrize("name", ["=1+2", 'quo"ted', "ümlaut", "😀", "a\nb", "a" * 300, "</script>"])
def test_hostile_class_names_come_back(tmp_path, name):
    Image.new("L", (5, 4)).save(tmp_path / "a.png")
    instances = Instances.from_masks(TWO, (name, "b"), [0, 1])
    (tmp_path / "a.geojson").write_bytes(geojson_file(ImageResult(instances, None, "a.png")).data)
    assert read_annotations(tmp_path / "a.geojson")[0].instances.classes == (name, "b")


def test_bytes_of_a_name_that_are_no_text_become_the_replacement_character():
    assert document(Instances.from_masks(TWO, ("a\udcff",)))["features"][0]["properties"]["classification"]["name"] == "a\ufffd"
