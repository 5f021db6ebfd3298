"""The competition's `submission.csv`: exact cells, and errors that name the line."""

import json
from pathlib import Path

import pytest

from coco_files import SQUARE, coco, edit, rle
from somaseg.annotations.read import read_annotations
from somaseg.annotations.samples import Sample
from somaseg.annotations.submission import is_result_list, is_submission, read_result_list, read_submission
from somaseg.errors import InputError

SIZES = {"a": (3, 4), "b": (2, 2)}


def write(folder: Path, *rows: str) -> Path:
    path = folder / "submission.csv"
    path.write_text("\n".join(("id,predicted", *rows)) + "\n")
    return path


def test_cells_by_image(tmp_path: Path) -> None:
    """Pixels are numbered from 1 along the rows; the rows of an image need not stand together."""
    found, others = read_submission(write(tmp_path, "a,2 2 6 2", "b,", "x,1 1", "a,12 1"), SIZES)
    assert list(found) == ["a", "b"]
    assert others == ("x",)
    assert found["a"].boxes.tolist() == [[1, 0, 3, 2], [3, 2, 4, 3]]
    assert all(mask.all() for mask in found["a"].masks)
    assert found["a"].scores.tolist() == [1, 1]
    assert (len(found["b"]), found["b"].size) == (0, (2, 2))


@pytest.mark.parametrize(
    ("rle", "message"), [("2 two", "pairs of start and length"), ("2", "pairs"), ("12 2", "12 pixels"), ("0 2", "from 1")]
)
def test_a_bad_code_names_its_line(tmp_path: Path, rle: str, message: str) -> None:
    with pytest.raises(InputError, match=rf"submission.csv: line 4, predicted: .*{message}"):
        read_submission(write(tmp_path, "b,", "a,1 1", f"a,{rle}"), SIZES)


def test_a_table_with_rows_of_two_lengths_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is not a CSV table"):
        read_submission(write(tmp_path, "a,1 1,b,2 2"), SIZES)


def test_is_submission(tmp_path: Path) -> None:
    assert is_submission(write(tmp_path))
    (tmp_path / "train.csv").write_text("id,annotation,width,height,cell_type\n")
    assert not is_submission(tmp_path / "train.csv")
    assert not is_submission(tmp_path / "absent.csv")
    assert not is_submission(tmp_path)


@pytest.mark.parametrize(
    "text", ["Id, Predicted\na.png, 2 2 6 2\n", "id;predicted\na;2 2  6 2\n", '\ufeff"id","predicted"\r\n"a","2 2 6 2"\r\n']
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_submissions_of_spreadsheets(tmp_path: Path, text: str, encoding: str) -> None:
    path = tmp_path / "s.csv"
    path.write_bytes(text.encode(encoding))
    assert is_submission(path)
    found, _ = read_submission(path, SIZES)
    assert found["a"].area.tolist() == [4]


def truth(folder: Path) -> list[Sample]:
    path = edit(coco(folder / "annotations.json", [rle(SQUARE)]), images=IMAGES)
    return read_annotations(path)


IMAGES = [{"id": n, "file_name": f"plate{n}/a.png", "width": 5, "height": 4} for n in (7, 8)]


@pytest.mark.parametrize("image_id", [7, "7", 7.0, "plate7/a.png", "plate7\\a", "plate7_a.png"])
@pytest.mark.parametrize("lines", [False, True])
def test_a_list_of_results(tmp_path: Path, image_id: object, lines: bool) -> None:
    rows = [{"image_id": image_id, "category_id": 1, "bbox": [2, 1, 2, 2], "score": 0.5, "segmentation": rle(SQUARE)}]
    rows += [{**rows[0], "image_id": 99}]
    path = tmp_path / ("r.jsonl" if lines else "r.json")
    path.write_text("\n".join(map(json.dumps, rows)) if lines else json.dumps(rows))
    assert is_result_list(path)
    found, others = read_result_list(path, truth(tmp_path))
    assert list(found) == ["plate7/a"]
    assert (found["plate7/a"].area.tolist(), found["plate7/a"].scores.tolist(), others) == ([4], [0.5], ("99",))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"score": 1.2}, "score: found 1.2"),
        ({"score": None}, "score: found None"),
        ({"segmentation": None}, "boxes alone are not scored"),
        ({"segmentation": {"size": [4, 5], "counts": "02"}}, "sum to 20"),
        ({"image_id": [1]}, "image_id"),
    ],
)
def test_a_bad_result_names_its_entry(tmp_path: Path, change: dict[str, object], message: str) -> None:
    good = {"image_id": 7, "category_id": 1, "score": 0.5, "segmentation": rle(SQUARE)}
    (tmp_path / "r.json").write_text(json.dumps([good, {**good, **change}]))
    with pytest.raises(InputError, match=rf"r\.json: annotations\[1\], .*{message}"):
        read_result_list(tmp_path / "r.json", truth(tmp_path))
