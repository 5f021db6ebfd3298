"""Damaged files that are read by region: pixels, or an error that names the file, and nothing else."""

import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from images import GREY, of_every_kind
from somaseg.errors import InputError
from somaseg.images.read import image_sha256, read_frames
from somaseg.images.regions import lazy
from zarrs import write_zarr

TIFFS = {name: data for name, data in of_every_kind().items() if name.endswith(".tif")}
ODD = [b"\0", b"\xff", b"\xff\xff\xff\xff", b"9", b"]", b"-"]
CHANGES = st.lists(st.tuples(st.floats(0, 1), st.sampled_from(ODD)), min_size=1, max_size=4)


def with_changes(data: bytes, changes: list[tuple[float, bytes]]) -> bytes:
    changed = bytearray(data)
    for at, value in changes:
        place = int(at * len(data))
        changed[place : place + len(value)] = value
    return bytes(changed)


def check(path: Path) -> None:
    told = path.name
    with warnings.catch_warnings(), pytest.MonkeyPatch.context() as patched:
        warnings.simplefilter("ignore")  # of the libraries
        patched.setattr(lazy, "WHOLE_BYTES", 0)
        try:
            for frame in read_frames(path):
                assert np.asarray(frame.array).dtype.kind in "uif"
                assert frame.picture[2:5, 3:9].ndim in (2, 3)
            image_sha256(path)
        except InputError as error:
            told = str(error)
    assert path.name in told
    assert "\n" not in told


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(name=st.sampled_from(sorted(TIFFS)), changes=CHANGES)
def test_damaged_tiffs(tmp_path: Path, name: str, changes: list[tuple[float, bytes]]) -> None:
    path = tmp_path / f"x_{name}"
    path.write_bytes(with_changes(TIFFS[name], changes))
    check(path)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(form=st.sampled_from(["2", "3", "shards"]), which=st.floats(0, 0.999), changes=CHANGES)
def test_damaged_zarrs(tmp_path: Path, form: str, which: float, changes: list[tuple[float, bytes]]) -> None:
    path = tmp_path / "x.zarr"
    shutil.rmtree(path, ignore_errors=True)
    stack = np.stack([GREY, 255 - GREY])
    write_zarr(path, stack, "zyx", (1, 8, 8), form=2 if form == "2" else 3, shards=(2, 16, 16) if form == "shards" else None)
    told = [file for file in sorted(path.rglob("*")) if (file.is_file() and file.suffix == ".json") or file.name.startswith(".z")]
    files = told * 3 + [file for file in sorted(path.rglob("*")) if file.is_file()]  # more often what describes the chunks
    file = files[int(which * len(files))]
    file.write_bytes(with_changes(file.read_bytes(), changes))
    check(path)
