"""CSV tables: every text comes back, none is a formula, and other tools' tables are read."""

import csv
import io
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from somaseg.errors import InputError
from somaseg.texts.tables import csv_bytes, csv_row, read_table, writable

ODD = ["=1+2", "+1", "-x", "@x", "\tx", "a,b", 'a"b', "a\nb", "a\r\nb", "'=1", "''@", "-1.5", "+2e3", "ä µ", "'x", '=a,\n"b']
LETTERS = st.text(st.sampled_from("=+-@'\",;\t\n\r ab1.ä|"), min_size=1, max_size=8).filter(lambda text: text.strip() == text)


def test_names_survive_and_none_is_a_formula(tmp_path: Path) -> None:
    data = csv_bytes(pl.DataFrame({"name": ODD, "n": range(len(ODD))}))
    cells = [row[0] for row in csv.reader(io.StringIO(data.decode(), newline=""))][1:]
    assert all(cell[0] not in "=+-@\t\r\n" or cell in ("-1.5", "+2e3", "+1") for cell in cells)
    (tmp_path / "x.csv").write_bytes(data)
    assert read_table(tmp_path / "x.csv")["name"].to_list() == ODD


@settings(max_examples=50, deadline=None)
@given(st.lists(LETTERS, min_size=1, max_size=5))
def test_every_text_comes_back(tmp_path_factory: pytest.TempPathFactory, texts: list[str]) -> None:
    path = tmp_path_factory.mktemp("tables") / "x.csv"
    path.write_bytes(csv_bytes(pl.DataFrame({"first": ["x"] * len(texts), "name": texts})))
    assert read_table(path)["name"].to_list() == texts


def test_a_row_and_a_header_are_guarded_too() -> None:
    assert csv_row(["=1", 'a"b']) == '\'=1,"a""b"'
    assert csv_bytes(pl.DataFrame({"=cmd": ["x"]})) == b"'=cmd\nx\n"


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
    assert table.select("id", "size").rows() == [("a", "1"), ("b", "2")]


def test_lines_are_those_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("sep=;\nid;line\na;1\n;\nb;\n")
    assert read_table(tmp_path / "x.csv").rows() == [(3, "a", "1"), (5, "b", None)]


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
