"""The image files that annotations name."""

from pathlib import Path

import pytest

from coco_files import coco, edit
from somaseg.annotations.image_folder import pair_names, sample_names
from somaseg.annotations.read import inspect_annotations, read_annotations
from somaseg.annotations.samples import Sample
from somaseg.data.check import image_problems
from somaseg.errors import InputError


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


@pytest.mark.parametrize(
    ("on_disk", "name"),
    [
        ("images/plate1/field.png", "images\\plate1\\field.png"),
        ("images/plate1/field.png", "C:\\data\\plate1\\field.png"),
        ("images/plate1/field.png", "\\\\server\\share\\plate1\\field.png"),
        ("images/plate1/field.png", "/home/somebody/plate1/field.png"),
        ("images/plate1/field.png", "..\\elsewhere\\plate1\\field.png"),
        ("images/plate1/field.png", "https://host.example/data/plate1/field.png?token=a%2Fb#x"),
        ("images/plate1/field.png", "s3://bucket/plate1/field.png"),
        ("images/plate1/field.png", "/data/local-files/?d=plate1/field.png"),
        ("images/plate1/field.png", "file:///C:/plate1/field.png"),
        ("images/plate1/field.png", " ./plate1/./field.png "),
        ("images/field.png", "Field.PNG"),
        ("images/my field (1).png", "my%20field%20%281%29.png"),
        ("images/my%20field.png", "my%20field.png"),
        ("images/K\u00f6rper.png", "Ko\u0308rper.png"),
        ("images/a\\b.png", "a\\b.png"),
    ],
)
def test_names_of_other_systems_and_tools(tmp_path: Path, on_disk: str, name: str) -> None:
    (tmp_path / on_disk).parent.mkdir(parents=True)
    (tmp_path / on_disk).touch()
    (tmp_path / "images/plate2").mkdir()
    (tmp_path / "images/plate2/field2.png").touch()
    samples, problems = inspect_annotations(coco(tmp_path / "annotations.json", [], file_name=name))
    assert samples[0].image.samefile(tmp_path / on_disk)
    assert problems == []


def test_folders_tell_copies_apart(tmp_path: Path) -> None:
    for folder in ("plate1", "plate2", "PLATE3"):
        (tmp_path / "images" / folder).mkdir(parents=True)
        (tmp_path / "images" / folder / "field.png").touch()
    files = ["D:\\x\\plate1\\field.png", "y/plate2/field.png", "plate3/field.png"]
    images = [{"id": n, "file_name": name, "width": 5, "height": 4} for n, name in enumerate(files)]
    samples = read_annotations(edit(coco(tmp_path / "x.json", []), images=images))
    assert [s.image.parent.name for s in samples] == ["plate1", "plate2", "PLATE3"]
    assert [s.name for s in samples] == ["plate1/field", "plate2/field", "plate3/field"]


def test_what_was_probably_meant_is_told(tmp_path: Path) -> None:
    (tmp_path / "fieldA.png").touch()
    samples, problems = inspect_annotations(coco(tmp_path / "annotations.json", [], file_name="field-A.jpg"))
    assert [(p.kind, p.image, p.fatal) for p in problems] == [("missing image", "field-A", False)]
    assert "probably meant: fieldA.png" in problems[0].message
    assert samples[0].image == tmp_path / "field-A.jpg"


def test_copies_are_told_and_counted(tmp_path: Path) -> None:
    for folder in ("raw", "edited"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.png").touch()
    samples, problems = inspect_annotations(coco(tmp_path / "annotations.json", []))
    assert [p.kind for p in problems] == ["ambiguous image"]
    assert "edited/a.png or raw/a.png" in problems[0].message
    assert read_annotations(tmp_path / "annotations.json", opened=False)[0].name == samples[0].name == "a"


def test_sample_names() -> None:
    files = ["x/1/a.png", "y/1/a.png", "x/2/a.png", "a.tif", "b.png", "c.png", "c.tif"]
    assert sample_names(files, [None] * 7) == ["x/1/a", "y/1/a", "x/2/a", "a", "b", "c.png", "c.tif"]
    assert sample_names(["../images/p1/a.png", "../images/p2/a.png", "p1/a.png"], [None, None, 2]) == ["p1/a", "p2/a", "a_p002"]


def test_names_are_paired() -> None:
    known = ["plate1/a", "plate2/a", "b", "x/c", "My Field"]
    names = ["plate1_a", "plate2/a", "B", "c", "my%20field", "d"]
    assert pair_names(names, known) == {"plate1_a": "plate1/a", "plate2/a": "plate2/a", "B": "b", "c": "x/c", "my%20field": "My Field"}
    assert pair_names(["plate3/a"], ["plate1/a"]) == {}
    assert pair_names(["a"], ["plate1/a", "plate2/a"]) == {}


def test_a_name_that_no_file_can_have(tmp_path: Path) -> None:
    samples, _ = inspect_annotations(coco(tmp_path / "annotations.json", [], file_name="a" * 5000 + ".png"))
    assert check_images(samples) == ["missing image"]


def check_images(samples: list[Sample]) -> list[str]:
    return [problem.kind for sample in samples for problem in image_problems(sample)]
