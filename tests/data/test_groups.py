"""Which images belong together."""

from pathlib import Path

import pytest

from somaseg.annotations.samples import Sample
from somaseg.data.groups import grouped, groups_from_csv, joined
from somaseg.errors import InputError
from somaseg.instances import Instances


def sample(name: str, group: str | None = None, cell_type: str = "cort", **metadata: object) -> Sample:
    return Sample(Path(f"{name}.png"), Instances.empty((4, 4), ("cell",)), name, group, cell_type, metadata=metadata)


def test_groups_from_metadata_and_csv(tmp_path: Path) -> None:
    samples = [sample("a", "old", plate="P"), sample("b", plate=3)]
    assert [s.group for s in grouped(samples)] == ["old", None]
    assert [s.group for s in grouped(samples, "plate")] == ["P", "3"]
    table = tmp_path / "groups.csv"
    table.write_text("image,well\na.png,x\nb,y\na.png,x\n")
    assert [s.group for s in grouped(samples, "well", table)] == ["x", "y"]
    with pytest.raises(InputError, match=r"--group-column .*no value in this column"):
        grouped([*samples, sample("c")], "plate")
    with pytest.raises(InputError, match="no row for image c"):
        grouped([*samples, sample("c")], "well", table)
    with pytest.raises(InputError, match="--group-column"):
        grouped(samples, None, table)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("image,x\na,1\n", "no column well"),
        ("image,well\na,\n", "line 2, well: is empty"),
        ("image,well\na,1\na.tif,2\n", "line 3, well: found 2"),
    ],
)
def test_a_table_of_groups_that_is_none(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "groups.csv").write_text(text)
    with pytest.raises(InputError, match=message):
        groups_from_csv(tmp_path / "groups.csv", "well")


def test_found_groups_join_given_ones() -> None:
    samples = [sample("a", "1"), sample("b", "1"), sample("c", "2"), sample("d"), sample("e", "2")]
    found = {"a": "a", "b": "b", "c": "b", "d": "d", "e": "e"}
    assert [s.group for s in joined(samples, found)] == ["a", "a", "a", "d", "a"]
