import json

from somaseg.annotations.read import read_annotations
from somaseg.export import coco
from somaseg.export.coco import annotations, cells_of, coco_document, coco_file, merge_coco
from somaseg.export.image_result import ImageResult
from somaseg.measure.cells import measure
from two_cells import CLASSES, TWO, cells


def documents(n: int = 2, pixel_size: float | None = None) -> list[dict]:
    return [json.loads(json.dumps(coco_document(cells(), f"{i}.png", pixel_size=pixel_size))) for i in range(n)]


def test_annotations_say_where_each_cell_is():
    first, second = annotations(cells())
    assert first | {"segmentation": None} == {
        "id": 1,
        "image_id": 1,
        "category_id": 3,
        "segmentation": None,
        "area": 4,
        "bbox": [0, 0, 2, 2],
        "iscrowd": 0,
        "score": 0.75,
        "label": 1,
        "centroid": [0.5, 0.5],
    }
    assert second["bbox"] == [1, 1, 3, 2]
    assert second["centroid"] == [1.8, 1.6]


def test_a_document_reads_back_with_its_overlaps():
    back = cells_of(documents(1)[0])
    assert (back.to_masks() == TWO).all()
    assert back.labels.tolist() == [2, 0]
    assert back.scores.tolist() == [0.75, 0.5]


def test_merged_ids_are_unique_and_the_project_reads_them(tmp_path):
    path = tmp_path / "instances.json"
    merge_coco(documents(3), ["a/x.png", "b/x.png", "y.png"], CLASSES).save(path)
    merged = json.loads(path.read_bytes())
    assert [a["id"] for a in merged["annotations"]] == [1, 2, 3, 4, 5, 6]
    assert [a["image_id"] for a in merged["annotations"]] == [1, 1, 2, 2, 3, 3]
    assert [i["id"] for i in merged["images"]] == [1, 2, 3]
    samples = read_annotations(path)
    assert [s.name for s in samples] == ["a/x", "b/x", "y"]
    assert (samples[1].instances.to_masks() == TWO).all()


def test_merging_nothing_gives_an_empty_document(tmp_path):
    merge_coco([], [], ("a",)).save(tmp_path / "x.json")
    assert json.loads((tmp_path / "x.json").read_bytes()) == {"images": [], "categories": [{"id": 1, "name": "a"}], "annotations": []}


def test_many_cells_are_written_one_by_one_and_give_the_same_bytes(tmp_path, monkeypatch):
    result = ImageResult(cells(), None, "a.png", 2, 0.5, measure(cells()), {"made": "by hand"})
    whole = coco_file(result).data
    assert isinstance(whole, bytes)
    monkeypatch.setattr(coco, "AT_ONCE", 1)
    saved = coco_file(result).save(tmp_path / "x.json")
    assert (tmp_path / "x.json").read_bytes() == whole
    assert saved == (len(whole), 0)
