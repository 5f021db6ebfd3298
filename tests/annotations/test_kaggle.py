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


HEADER = "id,annotation,width,height,cell_type"


@pytest.mark.parametrize(
    "text",
    [
        f"{HEADER}\na,8 2 13 2,5,4,astro\n",
        f"{HEADER.replace(',', ', ')}\na, 8 2 13 2, 5, 4, astro\n",
        f"{HEADER}\na,8  2   13 2 ,5,4,astro\n",
        f"{HEADER}\na.png,8 2 13 2,5,4,astro\n",
        f"{HEADER.replace(',', ';')}\na;8 2 13 2;5;4;astro\n",
        f"{HEADER.replace(',', ';')}\na;8 2 13 2;5,0;4,0;astro\n",
        f"{HEADER.replace(',', chr(9))}\na\t8 2 13 2\t5\t4\tastro\n",
        f"{HEADER.title()}\na,8 2 13 2,5,4,astro\n",
        f"{HEADER.upper().replace('_', ' ')}\na,8 2 13 2,5,4,astro\n",
        f"\ufeff{HEADER}\r\n\r\na,8 2 13 2,5.0,4.0,astro\r\n,,,,\r\n",
        f'{HEADER}\n"a","8 2 13 2","5","4","astro"\n',
        f'{HEADER}\na, "8, 2, 13, 2", 5, 4, astro\n',
        f'{HEADER}\na,"[8 2 13 2]",5,4,astro\n',
        f"{HEADER}\na,8.0 2.0 13.0 2.0,5,4,astro\n",
        f"{HEADER}\nC:\\x\\a.PNG,8 2 13 2,5,4,astro\n",
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_tables_of_spreadsheets_and_scripts(tmp_path: Path, text: str, encoding: str) -> None:
    (tmp_path / "train.csv").write_bytes(text.encode(encoding))
    (sample,) = read_annotations(tmp_path)
    assert (sample.name, sample.cell_type) == ("a", "astro")
    np.testing.assert_array_equal(sample.instances.to_masks()[0], SQUARE == 1)


@pytest.mark.parametrize("nothing", ["", "nan", "None", "NULL"])
def test_an_image_without_cells(tmp_path: Path, nothing: str) -> None:
    (tmp_path / "train.csv").write_text(f"{HEADER}\na,{nothing},5,4,\n")
    assert len(read_annotations(tmp_path)[0].instances) == 0


def test_an_image_under_two_spellings_counts_once(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text(f"{HEADER}\na,8 2,5,4,astro\na.png,8 2,5,4,astro\na.png,1 1,5,4,astro\n")
    samples, problems = inspect_annotations(tmp_path)
    assert [(s.name, len(s.instances)) for s in samples] == [("a", 2)]
    assert [p.kind for p in problems] == ["image listed twice"]


@pytest.mark.parametrize("value", ["nan", "inf", "-0", "1e999", "2.5", "", "x", "99999999999999999999"])
def test_sizes_that_are_none(tmp_path: Path, value: str) -> None:
    (tmp_path / "train.csv").write_text(f"{HEADER}\na,1 1,{value},4,astro\n")
    with pytest.raises(InputError, match="line 2, width"):
        read_annotations(tmp_path)


def test_a_giant_image_is_refused(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text(f"{HEADER}\na,1 1,100000,100000,astro\n")
    with pytest.raises(InputError, match=r"line 2: 100000 x 100000 are 10,000,000,000 pixels.*SOMASEG_MAX_PIXELS"):
        read_annotations(tmp_path)
