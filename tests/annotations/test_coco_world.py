"""COCO files as other tools and other machines leave them."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest

from coco_files import SQUARE, coco, edit, rle
from somaseg.annotations.read import inspect_annotations, read_annotations
from somaseg.errors import InputError

CELL = {"image_id": 7, "category_id": 9, "segmentation": rle(SQUARE)}


def kinds(path: Path) -> list[tuple[str, str | None, int | None]]:
    return [(p.kind, p.image, p.index) for p in inspect_annotations(path)[1]]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
def test_encodings(tmp_path: Path, encoding: str) -> None:
    path = coco(tmp_path / "x.json", [rle(SQUARE)], file_name="Körper.png")
    path.write_bytes(path.read_text().encode(encoding))
    assert read_annotations(path)[0].name == "Körper"


@pytest.mark.parametrize(
    "ids", [(7, "7"), (7, 7.0), ("7", 7), ("7.0", 7), (" a ", "a"), (-3, "-3"), (10**20, str(10**20)), ("x/a.png", "a")]
)
def test_ids_of_any_kind(tmp_path: Path, ids: tuple[Any, Any]) -> None:
    path = coco(tmp_path / "x.json", [])
    image = {"id": ids[0], "file_name": "x/a.png", "width": 5.0, "height": "4"}
    categories = [{"id": ids[0], "name": "astro"}]
    annotations = [{**CELL, "image_id": ids[1], "category_id": ids[1]}]
    path.write_text(json.dumps({"images": [image], "categories": categories, "annotations": annotations}))
    if ids[1] == "a":  # the name of the file stands for an image, never for a category
        edit(path, annotations=[{**CELL, "image_id": "a", "category_id": "Astro"}])
    sample = read_annotations(path)[0]
    assert (len(sample.instances), sample.instances.size, sample.cell_type) == (1, (4, 5), "astro")


@pytest.mark.parametrize("value", [None, [1], {}, True, math.nan, math.inf, "", "nothing", 8])
def test_an_id_that_is_none_is_a_problem_of_that_annotation(tmp_path: Path, value: Any) -> None:
    path = coco(tmp_path / "x.json", [])
    path.write_text(json.dumps({**json.loads(path.read_text()), "annotations": [{**CELL, "image_id": value}, CELL]}))
    assert kinds(path) == [("unknown image", None, None)]
    with pytest.raises(InputError, match=r"annotations\[0\], image_id"):
        read_annotations(path)
    path.write_text(json.dumps({**json.loads(path.read_text()), "annotations": [{**CELL, "category_id": value}, CELL]}))
    samples, _ = inspect_annotations(path)
    assert kinds(path) == [("unknown class", "a", 0)]
    assert [samples[0].instances.classes[label] for label in samples[0].instances.labels] == ["unknown", "astro"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"categories": [{"id": 1, "name": "a"}, {"id": "1", "name": "b"}]}, r"categories\[1\], id"),
        ({"categories": [{"id": [1], "name": "a"}]}, r"categories\[0\], id"),
        ({"categories": [{"id": 1, "name": None}]}, r"categories\[0\], name"),
        ({"categories": [None]}, r"categories\[0\]"),
        ({"images": [None]}, r"images\[0\]"),
        *[
            ({"images": [{"id": 7, "file_name": "a.png", "width": 5, "height": 4, **field}]}, rf"images\[0\], {next(iter(field))}")
            for field in (
                *({"id": value} for value in (None, [1], True)),
                *({"width": value} for value in (None, -1, 0, 2.5, "x", True)),
                *({"file_name": value} for value in (None, "", 3, "..", "a\0b")),
                *({"page": value} for value in ("one", -1, 1.5, [0])),
                *({"pixel_size": value} for value in ("x", -1, 0, [1], True)),
                *({"group": value} for value in ([1], {})),
                {"cell_type": ["cort"]},
            )
        ],
        ({"images": [{"id": 7, "file_name": n, "width": 5, "height": 4} for n in "ab"]}, r"images\[1\], id: 7"),
        ({"images": [{"id": 7, "file_name": "a.png", "width": 10**5, "height": 10**5}]}, r"images\[0\].*10,000,000,000 pixels.*MAX_PIXELS"),
        (
            {"images": [{"id": 7, "file_name": "a.png", "width": 5, "height": 4, "x": {"y": [[0] * 3]}, "z": 2}], "annotations": 3},
            "found int",
        ),
    ],
)
def test_an_error_names_the_place(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_annotations(edit(coco(tmp_path / "x.json", []), **changes))


def test_categories_that_are_missing_or_share_a_name(tmp_path: Path) -> None:
    path = edit(coco(tmp_path / "x.json", []), categories=[], annotations=[CELL])
    assert read_annotations(path)[0].instances.classes == ("cell",)
    edit(path, annotations=[CELL, {**CELL, "category_id": "neuron"}])
    assert read_annotations(path)[0].instances.classes == ("category 9", "neuron")
    edit(path, categories=[{"id": 9, "name": "astro"}, {"id": 4, "name": "astro"}], annotations=[{**CELL, "category_id": 4}])
    assert read_annotations(path)[0].instances.classes == ("astro",)
    edit(path, categories=[{"id": 1, "name": "cell"}], annotations=[{k: v for k, v in CELL.items() if k != "category_id"}])
    assert read_annotations(path)[0].instances.labels.tolist() == [0]


def test_fields_without_a_value(tmp_path: Path) -> None:
    path = coco(tmp_path / "x.json", [])
    image = {
        "id": 7,
        "file_name": "a.png",
        "width": 5,
        "height": 4,
        **dict.fromkeys(("pixel_size", "cell_type", "page", "group"), math.nan),
    }
    path.write_text(json.dumps({**json.loads(path.read_text()), "images": [image]}))
    sample = read_annotations(path)[0]
    assert (sample.pixel_size, sample.cell_type, sample.group, sample.name) == (None, None, None, "a")


@pytest.mark.parametrize("value", [None, "x", math.nan, [1], True])
def test_a_score_that_is_none(tmp_path: Path, value: Any) -> None:
    path = coco(tmp_path / "x.json", [])
    path.write_text(json.dumps({**json.loads(path.read_text()), "annotations": [{**CELL, "score": value}]}))
    assert kinds(path) == [("bad score", "a", 0)]


@pytest.mark.parametrize("value", [1.2, -0.1, math.inf, 10**400, "7"])
def test_a_score_out_of_range(tmp_path: Path, value: Any) -> None:
    path = coco(tmp_path / "x.json", [])
    path.write_text(json.dumps({**json.loads(path.read_text()), "annotations": [CELL, {**CELL, "score": value}]}))
    if value == 10**400:
        assert kinds(path) == [("bad score", "a", 1)]
    else:
        with pytest.raises(InputError, match=r"x\.json: annotations\[1\], score: found .*expected 0 to 1"):
            inspect_annotations(path)


def test_scores_of_single_precision_and_text(tmp_path: Path) -> None:
    path = edit(coco(tmp_path / "x.json", []), annotations=[{**CELL, "score": s} for s in (1.0000001192092896, "0.5", 0, -0.0)])
    assert read_annotations(path)[0].instances.scores.tolist() == [1, 0.5, 0, 0]


@pytest.mark.parametrize("mark", [{"iscrowd": 1}, {"iscrowd": "1"}, {"iscrowd": True}, {"ignore": 1.0}, {"ignore": "true"}])
def test_crowds_are_ignored_regions(tmp_path: Path, mark: dict[str, Any]) -> None:
    path = edit(coco(tmp_path / "x.json", []), annotations=[{**CELL, **mark}, {**CELL, "iscrowd": 0, "ignore": "0"}])
    sample = read_annotations(path)[0]
    assert (len(sample.instances), len(sample.ignored)) == (1, 1)


def test_a_file_of_crowds_alone_is_told(tmp_path: Path) -> None:
    path = edit(coco(tmp_path / "x.json", []), annotations=[{**CELL, "iscrowd": 1}])
    assert kinds(path) == [("only crowds", None, None)]


def test_an_image_that_is_listed_twice(tmp_path: Path) -> None:
    (tmp_path / "a.png").touch()
    other = {**CELL, "segmentation": rle(np.eye(4, 5))}
    images = [{"id": n, "file_name": name, "width": 5, "height": 4} for n, name in ((7, "a.png"), (8, "./A.png"), (9, "b.png"))]
    cells = [CELL, {**CELL, "image_id": 8}, {**other, "image_id": 8}, {**CELL, "image_id": 9}]
    path = edit(coco(tmp_path / "x.json", []), images=images, annotations=cells)
    samples, (problem,) = inspect_annotations(path)
    assert [(s.name, len(s.instances)) for s in samples] == [("a", 2), ("b", 1)]
    assert (problem.kind, problem.image, problem.fatal) == ("image listed twice", "a", False)
    assert all(text in problem.message for text in ("id 8", "id 7", "A.png", "1 of them stand in both"))
    edit(path, images=[images[0], images[0]])
    assert [len(s.instances) for s in inspect_annotations(path)[0]] == [1]
    edit(path, images=[images[0], {**images[1], "width": 6}], annotations=[])
    with pytest.raises(InputError, match="another size"):
        read_annotations(path)


def test_json_lines_of_documents(tmp_path: Path) -> None:
    one = orjson.loads(coco(tmp_path / "x.json", [rle(SQUARE)]).read_bytes())
    two = {**one, "images": [{**one["images"][0], "id": 8, "file_name": "b.png"}], "annotations": [{**CELL, "image_id": 8}]}
    path = tmp_path / "x.jsonl"
    path.write_text(json.dumps(one) + "\n" + json.dumps(two) + "\n")
    assert [(s.name, len(s.instances)) for s in read_annotations(path)] == [("a", 1), ("b", 1)]


@pytest.mark.parametrize("text", ["[]", '[{"image_id": 1}]', '{"image_id": 1}\n{"image_id": 2}'])
def test_a_list_of_results_needs_its_truth(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(InputError, match="is a list of results"):
        read_annotations(tmp_path / "x.json")


def test_boxes(tmp_path: Path) -> None:
    bad = [[math.nan, 1, 2, 3], [1, 2, 3], "x", [0, 0, 9, 9], [-9, 0, 2, 2], [0, 0, -1, 2], {"x": 1}, [[1], 2, 3, 4], 5, [10**400, 0, 1, 1]]
    good = [None, [0, 0, 5, 4], [0.0, 0, 5.9, 4.9], [2, 1, 2, 2]]
    path = coco(tmp_path / "x.json", [])
    cells = [{**CELL, "bbox": bbox} for bbox in (*bad, *good)]
    path.write_text(json.dumps({**json.loads(path.read_text()), "annotations": cells}))
    assert kinds(path) == [("box outside image", "a", i) for i in range(len(bad))]


def test_a_bomb_of_masks_is_refused(tmp_path: Path) -> None:
    image = {"id": 7, "file_name": "a.png", "width": 16_384, "height": 16_384}
    corners = {"size": [16_384, 16_384], "counts": [0, 1, 2**28 - 2, 1]}
    path = edit(coco(tmp_path / "x.json", []), images=[image], annotations=[{**CELL, "segmentation": corners}] * 20)
    with pytest.raises(InputError, match="SOMASEG_MAX_MASK_PIXELS"):
        read_annotations(path)


def test_deep_nesting(tmp_path: Path) -> None:
    path = coco(tmp_path / "x.json", [])
    text = path.read_text()
    path.write_text(text.replace('"annotations":[]', '"annotations":[' + "[" * 900 + "]" * 900 + "]"))
    assert kinds(path) == [("no annotation", None, None)]
    path.write_text(text.replace('"width":5', '"width":5,"x":' + "[" * 600 + "]" * 600))
    with pytest.raises(InputError, match=r"images\[0\]: holds a field that cannot be kept"):
        read_annotations(path)
    path.write_text(text.replace('"annotations":[]', '"annotations":' + "[" * 9000))
    with pytest.raises(InputError, match="nested too deeply"):
        read_annotations(path)


def test_polygons_that_go_to_and_fro_are_refused(tmp_path: Path) -> None:
    image = {"id": 7, "file_name": "a.png", "width": 16_000, "height": 16_000}
    zigzag = [[v for i in range(60) for v in ((i % 2) * 16_000, i * 250)]]
    path = edit(coco(tmp_path / "x.json", []), images=[image], annotations=[{**CELL, "segmentation": zigzag}] * 20)
    with pytest.raises(InputError, match="go to and fro"):
        read_annotations(path)
