"""GeoJSON as QuPath's versions and users leave it."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from somaseg.annotations.read import inspect_annotations, read_annotations
from somaseg.errors import InputError
from somaseg.export.foreign.qupath import geojson_file
from somaseg.export.image_result import ImageResult
from two_cells import cells


def ring(x: float, y: float, edge: float = 3) -> list[list[float]]:
    return [[x, y], [x + edge, y], [x + edge, y + edge], [x, y + edge], [x, y]]


def feature(*rings: Any, geometry: Any = None, **properties: Any) -> dict[str, Any]:
    return {"type": "Feature", "geometry": geometry or {"type": "Polygon", "coordinates": [*rings]}, "properties": properties}


def save(folder: Path, document: Any) -> Path:
    Image.new("L", (40, 30)).save(folder / "a.png")
    (folder / "a.geojson").write_text(json.dumps(document), encoding="utf-8")
    return folder / "a.geojson"


def collection(*features: Any) -> dict[str, Any]:
    return {"type": "FeatureCollection", "features": [*features]}


@pytest.mark.parametrize("wrap", [lambda found: collection(*found), list, lambda found: found[0]], ids=["collection", "list", "one"])
def test_collections_lists_and_single_features(tmp_path, wrap):
    assert read_annotations(save(tmp_path, wrap([feature(ring(1, 1))])))[0].instances.area.tolist() == [9]


def test_objects_of_every_version(tmp_path):
    old = feature(
        ring(1, 1),
        object_type="detection",
        classification={"name": "astro", "colorRGB": -1},
        measurements=[{"name": "score", "value": 0.5}],
    )
    older = {**feature(ring(5, 1), classification={"names": ["astro", "bright"]}), "id": "PathDetectionObject"}
    drawn = feature(ring(9, 1), objectType="annotation", name="by hand", isLocked=True, classification="cort")
    cell = {**feature(ring(13, 1, 4), objectType="cell", classification={"name": "astro"}), "nucleusGeometry": {"type": "Point"}}
    tile = feature(ring(1, 9), objectType="tile")
    (sample,) = read_annotations(save(tmp_path, collection(old, older, drawn, cell, tile)))
    assert sample.instances.classes == ("astro", "astro: bright", "cort")
    assert sample.instances.labels.tolist() == [0, 1, 2, 0]
    assert sample.instances.area.tolist() == [9, 9, 9, 16]
    assert sample.instances.scores.tolist() == [0.5, 1, 1, 1]


def test_classes_with_a_star_are_ignored_regions(tmp_path):
    found = collection(feature(ring(1, 1), classification={"name": "Ignore*"}), feature(ring(9, 9), classification={"name": "cort"}))
    (sample,) = read_annotations(save(tmp_path, found))
    assert sample.instances.classes == ("cort",)
    assert (sample.instances.area.tolist(), sample.ignored.area.tolist()) == ([9], [9])


def test_a_cell_drawn_without_a_class_is_of_the_only_one_else_told(tmp_path):
    classed, other = feature(ring(1, 1), classification={"name": "cort"}), feature(ring(9, 9), classification={"name": "astro"})
    (sample,) = read_annotations(save(tmp_path, collection(classed, feature(ring(5, 5)))))
    assert (sample.instances.classes, sample.instances.labels.tolist()) == (("cort",), [0, 0])
    with pytest.raises(InputError, match=r"features\[2\], class: has none, and others of the file have cort, astro"):
        read_annotations(save(tmp_path, collection(classed, other, feature(ring(5, 5)))))


def test_names_of_classes_that_differ_in_case_are_one(tmp_path):
    found = collection(*(feature(ring(i, 1), classification={"name": name}) for i, name in enumerate(("SH-SY5Y", "shsy5y", "!", "?"))))
    assert read_annotations(save(tmp_path, found))[0].instances.classes == ("SH-SY5Y", "!", "?")


def test_polygons_of_one_object_that_overlap_are_joined(tmp_path):
    both = {"type": "MultiPolygon", "coordinates": [[ring(1, 1)], [ring(2, 2)], [ring(20, 20, 5), ring(21, 21)]]}
    assert read_annotations(save(tmp_path, collection(feature(geometry=both))))[0].instances.area.tolist() == [9 + 5 + 25 - 9]


def test_a_region_round_cells_is_no_cell_and_told(tmp_path):
    cells = [feature(ring(x, 5), objectType="detection", classification={"name": "cort"}) for x in (4, 9)]
    region = feature(ring(2, 2, 20), objectType="annotation")
    (sample,), problems = inspect_annotations(save(tmp_path, collection(region, *cells)))
    assert sample.instances.area.tolist() == [9, 9]
    assert [(p.kind, p.fatal, p.index) for p in problems] == [("region", False, None)]
    assert "features[0] holds 2 other objects and has no class" in problems[0].message
    named = feature(ring(2, 2, 20), objectType="annotation", classification={"name": "cort"})
    assert read_annotations(save(tmp_path, collection(named, *cells)))[0].instances.area.tolist() == [400, 9, 9]
    assert read_annotations(save(tmp_path, collection(region, cells[0])))[0].instances.area.tolist() == [400, 9]


@pytest.mark.parametrize(
    ("geometry", "reason"),
    [
        ({"type": "Point", "coordinates": [1, 2]}, "'Point', which has no area"),
        ({"type": "LineString", "coordinates": [[1, 2], [3, 4]]}, "'LineString', which has no area"),
        (3, "is 3, which has no area"),
        ({"type": "Polygon", "coordinates": []}, "expected those of a Polygon"),
        ({"type": "MultiPolygon", "coordinates": [ring(1, 1)]}, "ring"),
        ({"type": "Polygon", "coordinates": [[[1, 1], [2, 2]]]}, "expected x, y of three or more points"),
        ({"type": "Polygon", "coordinates": [[[1, 1], [2], [3, 3]]]}, "no list of x, y"),
        ({"type": "Polygon", "coordinates": [[[1, 1], [2, 1], [None, 1]]]}, "not finite"),
        ({"type": "Polygon", "coordinates": [[[1, 1], [2, 1], [1e300, 1]]]}, "beyond 10000000 pixels"),
    ],
)
def test_what_is_no_cell_is_a_problem_and_kept_aside(tmp_path, geometry, reason):
    bad = feature(geometry=geometry)
    (sample,), problems = inspect_annotations(save(tmp_path, collection(feature(ring(1, 1)), bad)))
    assert [(p.kind, p.index, p.fatal, p.raw) for p in problems] == [("unreadable mask", 1, True, bad)]
    assert reason in problems[0].message
    assert sample.instances.area.tolist() == [9, 0]


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        ({"type": "FeatureCollection", "features": 3}, "features: found 3, expected a list"),
        ([{"type": "Feature"}, 3], r"features\[1\]: found 3, expected a feature"),
        (collection(feature(ring(1, 1), classification=3)), r"features\[0\], classification: found 3"),
        (collection(feature(ring(1, 1), measurements={"score": 7})), r"features\[0\], measurements, score: found 7, expected"),
    ],
)
def test_what_is_no_geojson_is_told(tmp_path, document, reason):
    with pytest.raises(InputError, match=reason):
        read_annotations(save(tmp_path, document))


ODD = st.one_of(st.none(), st.integers(), st.floats(), st.text(max_size=4), st.just([]), st.just({}), st.just([[1]]))


@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_odd_values_are_input_errors_or_problems(tmp_path, data):
    document = json.loads(geojson_file(ImageResult(cells(), None, "a.png")).data)
    place: Any = document
    while isinstance(place, dict | list) and place:
        key = data.draw(st.sampled_from(sorted(place) if isinstance(place, dict) else range(len(place))))
        if data.draw(st.booleans()) or not isinstance(place[key], dict | list):
            place[key] = data.draw(ODD)
            break
        place = place[key]
    told = "a.geojson"
    try:
        inspect_annotations(save(tmp_path, document))
    except InputError as error:
        told = str(error)
    assert "a.geojson" in told
