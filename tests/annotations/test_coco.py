"""COCO JSON as annotations: every kind of mask, fields of the image, what is refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from coco_files import SQUARE, coco, edit, rle
from somaseg.annotations.read import inspect_annotations, read_annotations
from somaseg.errors import InputError


def test_coco_reads_polygons_and_both_kinds_of_rle(tmp_path: Path) -> None:
    polygon = [[2, 1, 4, 1, 4, 3, 2, 3]]
    two = [[2, 1, 4, 1, 4, 2, 2, 2], [2, 2, 4, 2, 4, 3, 2, 3]]
    counts = {"size": [4, 5], "counts": [9, 2, 2, 2, 5]}
    sample = read_annotations(coco(tmp_path / "x.json", [polygon, two, rle(SQUARE), counts]))[0]
    np.testing.assert_array_equal(sample.instances.to_masks(), np.stack([SQUARE == 1] * 4))
    assert (sample.name, sample.cell_type, sample.group, sample.source) == ("a", "astro", None, "manual")
    assert sample.instances.classes == ("shsy5y", "astro")
    assert sample.instances.labels.tolist() == [1, 1, 1, 1]


def test_coco_fields_of_the_image(tmp_path: Path) -> None:
    path = coco(tmp_path / "x.json", [], cell_type="cort", field_group=12, pixel_size=0.6, source="pseudo", plate="B")
    sample = read_annotations(path)[0]
    assert (sample.cell_type, sample.group, sample.pixel_size, sample.source) == ("cort", "12", 0.6, "pseudo")
    assert dict(sample.metadata) == {"field_group": 12, "plate": "B"}
    assert len(sample.instances) == 0
    assert read_annotations(coco(tmp_path / "x.json", [], group="g", field_group=12))[0].group == "g"


def test_livecell_names_tell_the_field(tmp_path: Path) -> None:
    sample = read_annotations(coco(tmp_path / "x.json", [], file_name="A172_Phase_C7_1_00d20h00m_4.tif"))[0]
    assert sample.group == "A172_Phase_C7_1"


def test_coco_annotations_as_a_dict_and_scores(tmp_path: Path) -> None:
    path = coco(tmp_path / "x.json", [])
    cells = {str(n): {"image_id": 7, "category_id": 3, "segmentation": rle(SQUARE), "score": n / 4} for n in (1, 2)}
    sample = read_annotations(edit(path, annotations=cells))[0]
    assert sample.instances.scores.tolist() == [0.25, 0.5]


def test_images_of_several_sizes_keep_their_own_cells(tmp_path: Path) -> None:
    path = coco(tmp_path / "x.json", [])
    sizes = [(4, 5), (4, 5), (6, 3), (4, 5)]
    images = [{"id": n, "file_name": f"{n}.png", "height": h, "width": w} for n, (h, w) in enumerate(sizes)]
    masks = [np.eye(h, w, k) for k, (h, w) in enumerate(sizes)]
    cells = [{"image_id": n, "category_id": 3, "segmentation": rle(masks[n])} for n in (3, 0, 2, 0)]
    samples = read_annotations(edit(path, images=images, annotations=cells))
    assert [(s.name, len(s.instances)) for s in samples] == [("0", 2), ("1", 0), ("2", 1), ("3", 1)]
    for n in (0, 2, 3):
        np.testing.assert_array_equal(samples[n].instances.to_masks()[0], masks[n] == 1)


@pytest.mark.parametrize(
    ("segmentation", "message"),
    [
        ({"size": [4, 5], "counts": "0P"}, "cut off"),
        ({"size": [4, 5], "counts": "02"}, "sum to 20"),
        ({"size": [5, 4], "counts": "d0"}, "size"),
        ({"size": [4, 5], "counts": [9, 2, 2, 2]}, "sum to 20"),
        ({"size": [4, 5], "counts": [9, -2, 13]}, "from 0"),
        ({"size": [4, 5]}, "counts"),
        ([[1, 2, 3, 4]], "4 numbers"),
        ([["a", 1, 2, 3, 4, 5]], "could not convert"),
        ([], "polygons"),
        (None, "None"),
    ],
)
def test_an_unreadable_segmentation_names_file_row_and_field(tmp_path: Path, segmentation: Any, message: str) -> None:
    path = coco(tmp_path / "x.json", [rle(SQUARE), segmentation, rle(SQUARE)])
    with pytest.raises(InputError, match=rf"x\.json: annotations\[1\], segmentation.*{message}"):
        read_annotations(path)
    samples, problems = inspect_annotations(path)
    assert [(p.kind, p.image, p.index, p.fatal) for p in problems] == [("unreadable mask", "a", 1, True)]
    assert samples[0].instances.area.tolist() == [4, 0, 4]


def test_unknown_image_and_class(tmp_path: Path) -> None:
    path = coco(tmp_path / "x.json", [rle(SQUARE)])
    good = {"image_id": 7, "category_id": 3, "segmentation": rle(SQUARE)}
    edit(path, annotations=[good, {**good, "image_id": 8}, {**good, "category_id": 4}])
    samples, problems = inspect_annotations(path)
    assert [(p.kind, p.image, p.index) for p in problems] == [("unknown image", None, None), ("unknown class", "a", 1)]
    assert len(samples[0].instances) == 2
    with pytest.raises(InputError, match=r"annotations\[1\], image_id.*1 more"):
        read_annotations(path)


def test_a_polygon_over_the_border_is_cut_off_and_noted(tmp_path: Path) -> None:
    samples, problems = inspect_annotations(coco(tmp_path / "x.json", [[[-4, 1, 2, 1, 2, 3, -4, 3]]]))
    assert samples[0].instances.boxes.tolist() == [[0, 1, 2, 3]]
    assert [(p.kind, p.fatal) for p in problems] == [("outside image", False)]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images": 3}, "images: found int"),
        ({"annotations": None}, "annotations: found NoneType"),
        ({"images": [{"id": 1, "file_name": "a.png", "width": 0, "height": 4}]}, r"images\[0\], width: found 0"),
        ({"images": [{"id": 1, "width": 5, "height": 4}]}, r"images\[0\], file_name: found None"),
        ({"images": [{"id": 1, "file_name": n, "width": 5, "height": 4} for n in ("a", "b")]}, r"images\[1\], id: 1"),
        ({"categories": [{"id": 1}]}, r"categories\[0\]"),
    ],
)
def test_a_file_that_is_no_coco(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_annotations(edit(coco(tmp_path / "x.json", []), **changes))


def test_json_that_is_cut_off(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text('{"images": [')
    with pytest.raises(InputError, match=r"x\.json: is not valid JSON"):
        read_annotations(tmp_path)
