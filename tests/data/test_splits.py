from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from somaseg.annotations.read import read_annotations
from somaseg.annotations.samples import UNKNOWN_TYPE, Sample
from somaseg.cli.main import app
from somaseg.data.splits import check_folds, fold_table, make_folds, read_folds, write_folds
from somaseg.errors import InputError
from somaseg.instances import Instances

SHARED = Path(__file__).parents[3] / "shared" / "data"
needs_data = pytest.mark.skipif(not SHARED.is_dir(), reason="the real images are not beside the repository")


def sample(name: str, group: str | None = None, cell_type: str = "cort", **metadata: object) -> Sample:
    return Sample(Path(f"{name}.png"), Instances.empty((4, 4), ("cell",)), name, group, cell_type, metadata=metadata)


def test_the_table_counts_images_by_cell_type():
    samples = [sample("a"), sample("b"), Sample(Path("c.png"), Instances.empty((4, 4), ("cell",)), "c")]
    table = fold_table(samples, {"a": 0, "b": 1, "c": 1})
    assert {str(column.header): list(column.cells) for column in table.columns} == {
        "fold": ["0", "1"], "images": ["1", "2"], "groups": ["1", "2"], "cells": ["0", "0"], "cort": ["1", "1"], UNKNOWN_TYPE: ["0", "1"]
    }  # fmt: skip


groups = st.lists(st.tuples(st.sampled_from("abcdefgh"), st.sampled_from(["cort", "astro"])), min_size=1, max_size=30)


@given(groups, st.integers(2, 5), st.integers(0, 3), st.randoms())
def test_folds_never_leak_and_do_not_depend_on_the_order(drawn: list[tuple[str, str]], k: int, seed: int, random: object) -> None:
    samples = [sample(str(i), group, kind) for i, (group, kind) in enumerate(drawn)]
    if len({group for group, _ in drawn}) < k:
        with pytest.raises(InputError, match=f"--folds: is {k}, but the images of the annotations are of"):
            make_folds(samples, k, seed)
        return
    folds = make_folds(samples, k, seed)
    check_folds(samples, folds)
    assert set(folds.values()) == set(range(k))
    shuffled = samples.copy()
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert make_folds(shuffled, k, seed) == folds


def test_folds_are_stratified_and_seeded() -> None:
    samples = [sample(f"{kind}{i}", None, kind) for kind, n in {"cort": 20, "astro": 10, "shsy5y": 5}.items() for i in range(n)]
    folds = make_folds(samples, 5)
    counts = Counter((s.cell_type, folds[s.name]) for s in samples)
    assert [sorted(n for (kind, _), n in counts.items() if kind == t) for t in ("cort", "astro", "shsy5y")] == [[4] * 5, [2] * 5, [1] * 5]
    assert make_folds(samples, 5, 1) != folds


@pytest.mark.parametrize("folds", [-1, 0, 1])
def test_one_fold_is_no_split(folds: int) -> None:
    with pytest.raises(InputError, match=f"--folds: is {folds}: give 2 or more"):
        make_folds([sample("a")], folds)


def test_more_folds_than_fields_are_refused_by_the_name_of_the_setting() -> None:
    samples = [sample("a", "g"), sample("b", "g"), sample("c"), sample("d")]
    message = r"train\.folds: is 5, but the images of here are of 3 fields of view: give 3 or fewer, or images of more fields of view"
    with pytest.raises(InputError, match=message):
        make_folds(samples, 5, setting="train.folds", source="here")
    with pytest.raises(InputError, match=r"--folds: is 2, but the images of the annotations are of 1 field of view: give images of 2 or"):
        make_folds(samples[:2], 2)


def test_a_split_that_leaks_or_misses_an_image_is_refused() -> None:
    samples = [sample("a", "g"), sample("b", "g"), sample("c")]
    check_folds(samples, {"a": 0, "b": 0, "c": 1})
    with pytest.raises(InputError, match=r"--check: the folds leak: a \(fold 0\) and b \(fold 1\) are both of group g"):
        check_folds(samples, {"a": 0, "b": 1, "c": 1})
    with pytest.raises(InputError, match="--check: the folds do not name the image c"):
        check_folds(samples, {"a": 0, "b": 0})


def test_folds_file(tmp_path: Path) -> None:
    write_folds({"b": 1, "a": 0}, tmp_path / "x/folds.json")
    assert list(read_folds(tmp_path / "x/folds.json").items()) == [("a", 0), ("b", 1)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not valid JSON"),
        ("[]", "folds: is missing"),
        ('{"folds": {"a": -1}}', "folds, a: found -1"),
        ('{"folds": {"a": true}}', "found True"),
    ],
)
def test_a_folds_file_that_is_none(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "folds.json"
    with pytest.raises(InputError, match="cannot be read"):
        read_folds(path)
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        read_folds(path)


def test_command(tmp_path: Path) -> None:
    rows = [f"i{n},1 1,4,4,{'cort' if n % 2 else 'astro'},w{n // 3}" for n in range(12)]
    (tmp_path / "train.csv").write_text("\n".join(["id,annotation,width,height,cell_type,sample_id", *rows]))
    run = ["data", "split", str(tmp_path), "--out", str(tmp_path / "folds.json")]
    assert CliRunner().invoke(app, [*run, "--folds", "3", "--group-column", "sample_id"]).exit_code == 0
    folds = read_folds(tmp_path / "folds.json")
    assert all(len({folds[f"i{n}"] for n in range(w, w + 3)}) == 1 for w in range(0, 12, 3))
    checked = CliRunner().invoke(app, ["data", "split", str(tmp_path), "--check", str(tmp_path / "folds.json")])
    assert (checked.exit_code, "no group is in two folds" in checked.output.replace("\n", " ")) == (0, True)
    refused = CliRunner().invoke(app, [*run, "--folds", "5", "--group-column", "sample_id"])
    assert isinstance(refused.exception, InputError)


@needs_data
def test_real_folds_are_grouped_and_balanced() -> None:
    samples = read_annotations(SHARED / "sartorius")
    folds = make_folds(samples, 5)
    check_folds(samples, folds)
    for kind, n in {"cort": 51, "astro": 21, "shsy5y": 11.8}.items():
        counts = np.bincount([folds[s.name] for s in samples if s.cell_type == kind])
        assert np.abs(counts - n).max() < 1
