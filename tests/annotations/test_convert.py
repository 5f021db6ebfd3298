"""From any format that is read to any that is written."""

from pathlib import Path

import numpy as np

from alike import assert_same
from somaseg.annotations.convert import convert
from somaseg.annotations.read import read_annotations
from somaseg.annotations.samples import Sample
from somaseg.annotations.write import write_coco
from somaseg.instances import Instances

SHARED = Path(__file__).parents[3] / "shared" / "data"
CLASSES = ("shsy5y", "astro", "cort")


def one(**fields: object) -> Sample:
    stack = np.zeros((2, 4, 5), bool)
    stack[0, 1:3, 2:4] = stack[1, 3, 4] = True
    return Sample(**{"image": Path("a.png"), "instances": Instances.from_masks(stack, CLASSES, [2, 0]), "name": "a", **fields})  # type: ignore[arg-type]


def test_converting_says_that_ignored_regions_are_left_out(tmp_path: Path) -> None:
    write_coco([one(ignored=one().instances)], tmp_path / "x.json")
    assert "2 ignored regions are left out: only COCO JSON holds them" in convert(tmp_path / "x.json", tmp_path / "out", "kaggle")
    assert len(read_annotations(tmp_path / "out")[0].instances) == 2


def test_convert(tmp_path: Path) -> None:
    write_coco([one(), one(name="b", image=Path("b.png"))], tmp_path / "x.json")
    assert convert(tmp_path / "x.json", tmp_path / "k", "kaggle") == [f"wrote 2 images with 4 cells to {tmp_path / 'k/train.csv'}"]
    assert convert(tmp_path / "k", tmp_path / "y.json", "coco") == [f"wrote 2 images with 4 cells to {tmp_path / 'y.json'}"]
    assert_same(read_annotations(tmp_path / "y.json"), read_annotations(tmp_path / "x.json"))
    lines = convert(tmp_path / "y.json", tmp_path / "l", "labels")
    assert lines == [f"wrote 2 images with 4 cells to {tmp_path / 'l/labels'}, 0 pixels lost where cells overlap"]
