"""The competition's `submission.csv`: exact cells, and errors that name the line."""

from pathlib import Path

import pytest

from somaseg.annotations.submission import is_submission, read_submission
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
