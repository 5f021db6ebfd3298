"""The image files that annotations name."""

from pathlib import Path

import pytest

from coco_files import coco, edit
from somaseg.annotations.read import read_annotations
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
