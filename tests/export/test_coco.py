import io
import json

import numpy as np
import polars as pl
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from drawing import draw
from somaseg.annotations.read import read_annotations
from somaseg.annotations.submission import read_submission
from somaseg.errors import InputError
from somaseg.export.coco import annotations, cells_of, coco_document, merge_coco
from somaseg.export.labels import label_tiff
from somaseg.export.overlay import overlay, overlay_png
from somaseg.export.submission import submission_csv
from somaseg.export.table import cells_csv
from somaseg.files import write_atomic
from somaseg.instances import Instances

CLASSES = ("shsy5y", "astro", "cort")
TWO = np.stack(
    [
        draw("##... ##... ..... ....."),
        draw("..... .##.. .###. ....."),
    ]
)


def cells(overlapping: bool = True) -> Instances:
    dense = TWO.copy()
    if not overlapping:
        dense[1] &= ~dense[0]
    return Instances.from_masks(dense, CLASSES, labels=[2, 0], scores=[0.75, 0.5])


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
    path.write_bytes(merge_coco(documents(3), ["a/x.png", "b/x.png", "y.png"], CLASSES))
    merged = json.loads(path.read_bytes())
    assert [a["id"] for a in merged["annotations"]] == [1, 2, 3, 4, 5, 6]
    assert [a["image_id"] for a in merged["annotations"]] == [1, 1, 2, 2, 3, 3]
    assert [i["id"] for i in merged["images"]] == [1, 2, 3]
    samples = read_annotations(path)
    assert [s.name for s in samples] == ["a/x", "b/x", "y"]
    assert (samples[1].instances.to_masks() == TWO).all()


def test_merging_nothing_gives_an_empty_document():
    assert json.loads(merge_coco([], [], ("a",))) == {"images": [], "categories": [{"id": 1, "name": "a"}], "annotations": []}


def test_cells_csv_has_a_row_a_cell():
    table = pl.read_csv(cells_csv(documents(2), ["a", "b"]))
    assert table.columns == ["image", "id", "label", "class", "score", "area", "centroid_x", "centroid_y", "x0", "y0", "x1", "y1"]
    assert table.row(1) == ("a", 2, 2, "shsy5y", 0.5, 5, 1.8, 1.6, 1, 1, 4, 3)
    assert table["id"].to_list() == [1, 2, 3, 4]
    assert table["image"].to_list() == ["a", "a", "b", "b"]


def test_cells_csv_gives_areas_in_um2_where_the_pixel_size_is_known():
    table = pl.read_csv(cells_csv([*documents(1, pixel_size=0.5), *documents(1)], ["a", "b"]))
    assert table["area_um2"].to_list() == [1.0, 1.25, None, None]


def test_cells_csv_without_cells_is_a_header():
    table = pl.read_csv(cells_csv([coco_document(Instances.empty((4, 5), CLASSES), "a.png")], ["a"]))
    assert table.shape == (0, 12)


def test_label_tiff_reads_back_and_counts_lost_pixels(tmp_path):
    data, lost = label_tiff(cells())
    assert lost == 1
    path = tmp_path / "labels" / "x_labels.tif"
    write_atomic(path, data)
    labels = tifffile.imread(path)
    assert labels.dtype == np.uint16
    assert labels.tolist() == [[1, 1, 0, 0, 0], [1, 1, 2, 0, 0], [0, 2, 2, 2, 0], [0, 0, 0, 0, 0]]
    back = read_annotations(path)[0].instances
    assert back.classes == CLASSES
    assert back.labels.tolist() == [2, 0]


def test_label_tiff_widens_beyond_65535_cells():
    size = (256, 257)
    boxes = np.stack(np.meshgrid(np.arange(257), np.arange(256)), axis=-1).reshape(-1, 2)[:65536]
    pixel = np.ones((1, 1), bool)
    many = Instances.build(size, [((x, y, x + 1, y + 1), pixel) for x, y in boxes.tolist()], ("cell",))
    for one, dtype in ((many[:65535], np.uint16), (many, np.uint32)):
        data, lost = label_tiff(one)
        labels = tifffile.imread(io.BytesIO(data))
        assert lost == 0
        assert labels.dtype == dtype
        assert labels.max() == len(one)


def test_label_tiff_is_compressed():
    data, _ = label_tiff(Instances.empty((500, 500), ("cell",)))
    assert len(data) < 5000


def test_submission_is_exact():
    # Row-major from 1: rows of 5 pixels. The pixel that both cells claim goes to the first.
    text = submission_csv([("x", cells()), ("none", Instances.empty((4, 5), CLASSES))]).decode()
    assert text == "id,predicted\nx,1 2 6 2\nx,8 1 12 3\nnone,\n"


def test_submission_leaves_out_a_cell_without_a_pixel_of_its_own():
    twice = Instances.from_masks(TWO[[0, 0]], CLASSES)
    assert submission_csv([("x", twice)]).decode() == "id,predicted\nx,1 2 6 2\n"


def test_submission_refuses_one_name_for_two_images():
    with pytest.raises(InputError, match="two images are called 'x'"):
        submission_csv([("x", cells()), ("x", cells())])


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_submission_never_overlaps_and_keeps_every_pixel(tmp_path_factory, seed):
    rng = np.random.default_rng(seed)
    dense = rng.uniform(size=(6, 9, 11)) > 0.7
    path = tmp_path_factory.mktemp("submission") / "submission.csv"
    path.write_bytes(submission_csv([("x", Instances.from_masks(dense, ("cell",)))]))
    predictions, others = read_submission(path, {"x": (9, 11)})
    assert others == ()
    count = predictions["x"].to_masks().sum(axis=0)
    assert (count == dense.any(axis=0)).all()


def test_write_atomic_makes_folders_and_replaces(tmp_path):
    path = tmp_path / "a" / "b" / "file.txt"
    write_atomic(path, b"one")
    write_atomic(path, b"two")
    assert path.read_bytes() == b"two"
    assert [p.name for p in path.parent.iterdir()] == ["file.txt"]


def test_write_atomic_keeps_the_old_file_when_it_is_broken_off(tmp_path, monkeypatch):
    path = tmp_path / "file.txt"
    write_atomic(path, b"old")

    def broken(self, target):
        raise KeyboardInterrupt

    monkeypatch.setattr(type(path), "replace", broken)
    with pytest.raises(KeyboardInterrupt):
        write_atomic(path, b"new")
    assert path.read_bytes() == b"old"


def grey(size: tuple[int, int]) -> NDArray[np.float32]:
    return np.random.default_rng(0).normal(100, 10, size).astype(np.float32)


def square(labels: list[int]) -> Instances:
    boxes = [(10, 10, 30, 30), (60, 40, 80, 60)]
    return Instances.build((80, 100), [(b, np.ones((20, 20), bool)) for b in boxes], CLASSES, labels, [1.0, 1.0])


def colour_of(picture: NDArray[np.uint8], x: int, y: int) -> NDArray[np.int64]:
    """The most coloured pixel of a small window."""
    window = picture[y - 3 : y + 4, x - 3 : x + 4].reshape(-1, 3).astype(np.int64)
    return window[np.ptp(window, axis=1).argmax()]


def test_overlay_draws_outlines_and_leaves_the_inside_grey():
    picture = np.asarray(overlay(grey((80, 100)), square([0, 0])))
    assert picture.shape == (80 * 4 + 40, 420, 3)
    inside = picture[60:100, 60:100].astype(int)
    assert np.ptp(inside, axis=2).max() == 0
    assert np.ptp(colour_of(picture, 40, 80)) > 150


def test_overlay_colours_differ_by_class():
    picture = np.asarray(overlay(grey((80, 100)), square([0, 1])))
    assert np.abs(colour_of(picture, 40, 80) - colour_of(picture, 240, 200)).max() > 100


def test_overlay_colours_of_touching_cells_differ():
    boxes = [(10, 10, 30, 30), (30, 10, 50, 30)]
    two = Instances.build((80, 100), [(b, np.ones((20, 20), bool)) for b in boxes], CLASSES)
    picture = np.asarray(overlay(grey((80, 100)), two))
    assert np.abs(colour_of(picture, 40, 80) - colour_of(picture, 200, 80)).max() > 100


@pytest.mark.parametrize(
    ("size", "expected"), [((1, 1), (420, 44)), ((300, 600), (1200, 640)), ((1100, 30), (420, 1140)), ((20, 5000), (4096, 56))]
)
def test_overlay_of_odd_sizes(size, expected):
    one = Instances.build(size, [((0, 0, 1, 1), np.ones((1, 1), bool))], ("cell",))
    assert overlay(np.zeros(size, np.float32), one).size == expected
    assert overlay(np.zeros(size, np.float32), Instances.empty(size, ("cell",))).size == expected


def test_overlay_png_is_a_png():
    with Image.open(io.BytesIO(overlay_png(grey((80, 100)), square([0, 0])))) as image:
        assert image.format == "PNG"
