from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
import tifffile
from faster_coco_eval.core import mask as coco_mask

from somaseg.annotations.read import inspect_annotations, read_annotations
from somaseg.errors import InputError

SHARED = Path(__file__).parents[3] / "shared" / "data"
needs_data = pytest.mark.skipif(not SHARED.is_dir(), reason="the real images are not beside the repository")

SQUARE = np.zeros((4, 5), np.uint8)
SQUARE[1:3, 2:4] = 1


def rle(mask: np.ndarray) -> dict[str, Any]:
    code = coco_mask.encode(np.asfortranarray(mask, np.uint8))
    return {"size": [*mask.shape], "counts": code["counts"].decode()}


def coco(path: Path, segmentations: list[Any], **image: Any) -> Path:
    data = {
        "images": [{"id": 7, "file_name": "a.png", "width": 5, "height": 4, **image}],
        "categories": [{"id": 3, "name": "shsy5y"}, {"id": 9, "name": "astro"}],
        "annotations": [{"id": i, "image_id": 7, "category_id": 9, "segmentation": s} for i, s in enumerate(segmentations)],
    }
    path.write_bytes(orjson.dumps(data))
    return path


def edit(path: Path, **changes: Any) -> Path:
    path.write_bytes(orjson.dumps({**orjson.loads(path.read_bytes()), **changes}))
    return path


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


def kaggle(path: Path, *rows: str, header: str = "id,annotation,width,height,cell_type,plate_time") -> Path:
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def test_kaggle_rows(tmp_path: Path) -> None:
    rows = ["b,8 2 13 2,5,4,astro,", "a,1 1,3,2,cort,11h", "b,20 1,5,4,astro,", "c,,5,4,,"]
    samples = read_annotations(kaggle(tmp_path / "train.csv", *rows))
    assert [(s.name, s.cell_type, len(s.instances), s.instances.size) for s in samples] == [
        ("b", "astro", 2, (4, 5)),
        ("a", "cort", 1, (2, 3)),
        ("c", None, 0, (4, 5)),
    ]
    np.testing.assert_array_equal(samples[0].instances.to_masks()[0], SQUARE == 1)
    assert samples[0].instances.boxes[1].tolist() == [4, 3, 5, 4]
    assert samples[0].instances.classes == ("shsy5y", "astro", "cort")
    assert dict(samples[1].metadata) == {"plate_time": "11h"}


def test_kaggle_with_other_cell_types(tmp_path: Path) -> None:
    sample = read_annotations(kaggle(tmp_path / "t.csv", "a,1 1,5,4,glia,", "a,2 1,5,4,astro,"))[0]
    assert (sample.instances.classes, sample.instances.labels.tolist()) == (("astro", "glia"), [1, 0])


@pytest.mark.parametrize(
    ("annotation", "kind", "message", "area"),
    [
        ("1 2 3", "unreadable mask", "pairs", 0),
        ("1 -2", "unreadable mask", "pairs", 0),
        ("1 2x", "unreadable mask", "pairs", 0),
        ("0 2", "unreadable mask", "found the run 0 2", 0),
        ("3 0", "unreadable mask", "found the run 3 0", 0),
        ("5 3 7 2", "unreadable mask", "found the run 7 2", 0),
        ("1 1 19 3", "outside image", "20 pixels", 3),
        ("1 1 300 3", "outside image", "20 pixels", 1),
    ],
)
def test_a_bad_row_names_file_line_and_field(tmp_path: Path, annotation: str, kind: str, message: str, area: int) -> None:
    path = kaggle(tmp_path / "train.csv", "a,1 1,5,4,astro,", f"a,{annotation},5,4,astro,", "a,20 1,5,4,astro,")
    with pytest.raises(InputError, match=rf"train\.csv: line 3, annotation.*{message}"):
        read_annotations(path)
    samples, problems = inspect_annotations(path)
    assert [(p.kind, p.index) for p in problems] == [(kind, 1)]
    assert samples[0].instances.area.tolist() == [1, area, 1]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("a,1 1,-5,4,astro,", "line 3, width"),
        ("a,1 1,5,x,astro,", "line 3, height"),
        ("a,1 1,5,4,,", "line 3, cell_type"),
        ("a,1 1,6,4,astro,", "line 3: differs"),
        ("a,1 1,5,4,astro,12h", "line 3: differs"),
        (",1 1,5,4,astro,", "line 3, id"),
    ],
)
def test_a_row_that_says_nothing_certain_about_its_image(tmp_path: Path, row: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_annotations(kaggle(tmp_path / "train.csv", "a,2 1,5,4,astro,", row))


def test_a_csv_without_a_column(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no column annotation"):
        read_annotations(kaggle(tmp_path / "train.csv", "a,b", header="id,predicted"))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.uint32])
def test_label_tiffs_beside_their_images(tmp_path: Path, dtype: Any) -> None:
    labels = np.zeros((4, 5), dtype)
    labels[0, 0], labels[3] = 200, 7
    tifffile.imwrite(tmp_path / "a_labels.tif", labels)
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((4, 5), np.uint8))
    for path in (tmp_path, tmp_path / "a_labels.tif"):
        sample = read_annotations(path)[0]
        assert (sample.name, sample.image, sample.cell_type) == ("a", tmp_path / "a.tif", "cell")
        assert sample.instances.boxes.tolist() == [[0, 3, 5, 4], [0, 0, 1, 1]]


@pytest.mark.parametrize("images", ["images", "."])
def test_label_tiffs_in_a_folder_of_their_own(tmp_path: Path, images: str) -> None:
    for folder in ("labels", images):
        (tmp_path / folder).mkdir(exist_ok=True)
    tifffile.imwrite(tmp_path / "labels/a.tif", np.ones((4, 5), np.uint16))
    image = tmp_path / images / "a.png"
    image.write_bytes(b"not opened")
    assert read_annotations(tmp_path)[0].image == image
    assert read_annotations(tmp_path / "labels", tmp_path / images)[0].image == image


@pytest.mark.parametrize("array", [np.zeros((2, 4, 5), np.uint16), np.zeros((4, 5), np.float32), np.full((4, 5), -1, np.int16)])
def test_a_tiff_that_is_no_label_image(tmp_path: Path, array: np.ndarray) -> None:
    tifffile.imwrite(tmp_path / "a_labels.tif", array)
    with pytest.raises(InputError, match="whole numbers from 0"):
        read_annotations(tmp_path)


def test_images_are_found_in_subfolders_and_may_be_absent(tmp_path: Path) -> None:
    path = coco(tmp_path / "annotations.json", [])
    assert read_annotations(tmp_path)[0].image == tmp_path / "a.png"
    for folder in ("images/A172", "images/BV2"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "images/A172/a.png").touch()
    assert read_annotations(path)[0].image == tmp_path / "images/A172/a.png"
    (tmp_path / "images/BV2/a.png").touch()
    with pytest.raises(InputError, match="subfolder"):
        read_annotations(path)
    edit(path, images=[{"id": 7, "file_name": "BV2/a.png", "width": 5, "height": 4}])
    assert read_annotations(path)[0].image == tmp_path / "images/BV2/a.png"
    assert read_annotations(path, tmp_path / "images/A172")[0].image == tmp_path / "images/A172/a.png"


def test_names_are_unique_where_folders_hold_the_same_stem(tmp_path: Path) -> None:
    files = ["x/a.png", "y/a.png", "b.png"]
    images = [{"id": n, "file_name": name, "width": 5, "height": 4} for n, name in enumerate(files)]
    images += [{"id": 10 + page, "file_name": "s.tif", "page": page, "width": 5, "height": 4} for page in range(2)]
    samples = read_annotations(edit(coco(tmp_path / "x.json", []), images=images))
    assert [s.name for s in samples] == ["x/a", "y/a", "b", "s_p000", "s_p001"]


@pytest.mark.parametrize("name", ["nothing", "a.txt", "."])
def test_a_path_without_annotations(tmp_path: Path, name: str) -> None:
    (tmp_path / "a.txt").touch()
    with pytest.raises(InputError, match=r"check the path|expected"):
        read_annotations(tmp_path / name)


@needs_data
def test_sartorius_reads_the_same_from_both_files() -> None:
    of_json, of_csv = read_annotations(SHARED / "sartorius"), read_annotations(SHARED / "sartorius/train.csv")
    assert len(of_json) == len(of_csv) == 419
    assert sum(len(s.instances) for s in of_json) == 35_336
    assert len({s.group for s in of_json}) == 297
    for a, b in zip(of_json, of_csv, strict=True):
        assert (a.name, a.cell_type, a.image) == (b.name, b.cell_type, b.image)
        assert a.image.is_file()
        np.testing.assert_array_equal(a.instances.boxes, b.instances.boxes)
        np.testing.assert_array_equal(a.instances.labels, b.instances.labels)
        assert all(np.array_equal(m, n) for m, n in zip(a.instances.masks, b.instances.masks, strict=True))


@needs_data
def test_livecell_as_it_is() -> None:
    samples = read_annotations(SHARED / "livecell")
    assert sum(len(s.instances) for s in samples) == 1_746
    assert {s.cell_type for s in samples} == {"A172", "BT474", "Huh7", "MCF7", "SKOV3"}
    data = orjson.loads((SHARED / "livecell/annotations.json").read_bytes())
    first = [a for a in data["annotations"] if a["image_id"] == data["images"][0]["id"]]
    expected = coco_mask.decode(coco_mask.frPyObjects([a["segmentation"][0] for a in first], 520, 704))
    np.testing.assert_array_equal(samples[0].instances.to_masks(), np.moveaxis(expected, -1, 0) == 1)
    assert samples[0].image.samefile(SHARED / "livecell/images" / data["images"][0]["file_name"])
