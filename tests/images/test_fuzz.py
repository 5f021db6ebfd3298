"""Damaged files of every kind: an error that names the file, or an image, and nothing else."""

import time
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from images import of_every_kind
from somaseg.errors import InputError, MissingExtraError
from somaseg.images.read import read_frames, read_planes

FILES = of_every_kind()
ODD = [b"\0", b"\xff", b"\x7f\xff\xff\xff", b"\xff\xff\xff\xff", b"\0\0\0\0", b"\x80", b"\xff\xff\xff\xff\xff\xff\xff\x7f"]


@st.composite
def damaged(draw: st.DrawFn) -> tuple[str, bytes]:
    """A file with some bytes overwritten, cut out, doubled, or its end missing."""
    name = draw(st.sampled_from(sorted(FILES)))
    data = bytearray(FILES[name])
    for _ in range(draw(st.integers(1, 4))):
        # Most of what a file says of itself stands near its beginning or its end.
        near = draw(st.sampled_from(["begin", "end", "anywhere"]))
        at = draw(st.integers(0, max(0, (len(data) if near == "anywhere" else min(len(data), 300)) - 1)))
        at = len(data) - 1 - at if near == "end" else at
        match draw(st.sampled_from(["write", "odd", "cut", "remove", "double"])):
            case "write":
                data[at : at + 1] = draw(st.binary(min_size=1, max_size=1))
            case "odd":
                value = draw(st.sampled_from(ODD))
                data[at : at + len(value)] = value
            case "cut":
                del data[at:]
            case "remove":
                del data[at : at + draw(st.integers(1, 16))]
            case "double":
                data[at:at] = data[at : at + draw(st.integers(1, 64))]
    return name, bytes(data)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(damaged())
def test_a_damaged_file_is_an_image_or_an_error_that_names_it(tmp_path: Path, file: tuple[str, bytes]) -> None:
    path = tmp_path / f"x_{file[0]}"
    path.write_bytes(file[1])
    begin = time.perf_counter()
    for read in (read_frames, read_planes):
        told = path.name
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the libraries
            try:
                for frame in read(path):
                    array = frame if isinstance(frame, np.ndarray) else frame.array
                    assert array.ndim in (2, 3)
                    assert array.dtype.kind in "uif"
            except InputError as error:
                told = str(error)
            except MissingExtraError:
                pass
        assert path.name in told
        assert "\n" not in told
    assert time.perf_counter() - begin < 5


@pytest.mark.parametrize("name", sorted(FILES))
def test_the_files_are_whole_before_they_are_damaged(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(FILES[name])
    assert list(read_frames(path))
    assert read_planes(path)
