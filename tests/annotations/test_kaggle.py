"""`train.csv` as annotations."""

from pathlib import Path

import numpy as np
import pytest

from coco_files import SQUARE
from somaseg.annotations.read import inspect_annotations, read_annotations
from somaseg.errors import InputError


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
