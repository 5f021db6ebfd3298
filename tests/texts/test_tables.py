"""CSV tables: every text comes back, none is a formula, and other tools' tables are read."""

import csv
import io
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from somaseg.errors import InputError
from somaseg.texts.tables import csv_row, csv_table, read_table, writable

ODD = ["=1+2", "+1", "-x", "@x", "\tx", "a,b", 'a"b', "a\nb", "a\r\nb", "'=1", "''@", "-1.5", "+2e3", "ä µ", "'x", '=a,\n"b']
LETTERS = st.text(st.sampled_from("=+-@'\",;\t\n\r ab1.ä|"), min_size=1, max_size=8).filter(lambda text: text.strip() == text)


def test_names_survive_and_none_is_a_formula(tmp_path: Path) -> None:
    data = csv_table(["name", "n"], zip(ODD, range(len(ODD)), strict=True))
    cells = [row[0] for row in csv.reader(io.StringIO(data.decode(), newline=""))][1:]
    assert all(cell[0] not in "=+-@\t\r\n" or cell in ("-1.5", "+2e3", "+1") for cell in cells)
    (tmp_path / "x.csv").write_bytes(data)
    assert read_table(tmp_path / "x.csv")["name"] == ODD


@settings(max_examples=50, deadline=None)
@given(st.lists(LETTERS, min_size=1, max_size=5))
def test_every_text_comes_back(tmp_path_factory: pytest.TempPathFactory, texts: list[str]) -> None:
    path = tmp_path_factory.mktemp("tables") / "x.csv"
    path.write_bytes(csv_table(["first", "name"], [("x", text) for text in texts]))
    assert read_table(path)["name"] == texts


def test_a_row_and_a_header_are_guarded_too() -> None:
    assert csv_row(["=1", 'a"b']) == '\'=1,"a""b"'
    assert csv_table(["=cmd"], [["x"]]) == b"'=cmd\nx\n"


def test_names_that_are_no_utf8() -> None:
    assert writable(b"caf\xe9.png".decode("utf-8", "surrogateescape")).startswith("caf")
    writable(b"caf\xe9.png".decode("utf-8", "surrogateescape")).encode()


@pytest.mark.parametrize(
    "text",
    [
        "id,size\na,1\nb,2\n",
        "\ufeffid,size\r\na,1\r\nb,2\r\n",
        "id;size\na;1\nb;2\n",
        "sep=;\nid;size\na;1\nb;2\n",
        "id\tsize\na\t1\nb\t2\n",
        "id|size\na|1\nb|2",
        'id, size\na, "1"\nb, "2"\n',
        "ID, Size \n a , 1 \n\n,\nb,2\n",
        "\n\nid,size\ra,1\rb,2\r".lstrip(),
        '"id","size"\n"a","1"\n"b","2"\n',
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "latin-1"])
def test_tables_of_other_tools(tmp_path: Path, text: str, encoding: str) -> None:
    (tmp_path / "x.csv").write_bytes(text.replace("\ufeff", "" if encoding == "latin-1" else "\ufeff").encode(encoding))
    table = read_table(tmp_path / "x.csv", ("id", "size"))
    assert table.columns == {"id": ["a", "b"], "size": ["1", "2"]}


def test_lines_are_those_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("sep=;\nid;line\na;1\n;\nb;\n")
    table = read_table(tmp_path / "x.csv")
    assert (table.lines, table.columns) == ([3, 5], {"id": ["a", "b"], "line_": ["1", None]})


@pytest.mark.parametrize(
    ("value", "written"),
    [(None, ""), (3, "3"), (0.5, "0.5"), (1.0, "1.0"), (1.5e-7, "1.5e-7"), (1e300, "1e300"), (float("nan"), "NaN"), (float("inf"), "inf")],
)
def test_numbers_are_written_in_the_fewest_digits(value: float | None, written: str) -> None:
    assert csv_table(["a", "b"], [("x", value)]).decode() == f"a,b\nx,{written}\n"


def test_a_cell_of_any_length_and_a_row_that_ends_early(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text(f"id,code,more\na,{'1 ' * 200_000}\n")
    table = read_table(tmp_path / "x.csv")
    assert [len(cells[0] or "") for cells in table.columns.values()] == [1, 399_999, 0]
    assert csv.field_size_limit() < 200_000


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "it is empty"),
        (b"id,id\na,b\n", "column .*id.* twice"),
        (b"Id,ID\na,b\n", "column .*id.* twice"),
        (b"id,size\na,1,2,3\n", "is not a CSV table"),
        (b'id, size\na, "1", 2, 3\n', "line 2 has 4 cells"),
        (b"id,size\na,\0\n", "zero bytes"),
    ],
)
def test_what_is_no_table(tmp_path: Path, data: bytes, message: str) -> None:
    (tmp_path / "x.csv").write_bytes(data)
    with pytest.raises(InputError, match=message):
        read_table(tmp_path / "x.csv", ("id", "size"))
