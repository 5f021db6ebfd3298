"""What claims too much is refused from its header, in no time and without the memory."""

import json
import struct
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from images import COLOUR, GREY, ome_xml, pillow, png, tiff
from somaseg.errors import InputError
from somaseg.images.limits import VARIABLE, check_planes, check_size
from somaseg.images.read import read_frames


def with_value(data: bytes, code: int, value: int) -> bytes:
    """A little-endian TIFF whose tag of this code says something else."""
    start = struct.unpack("<I", data[4:8])[0]
    for at in range(start + 2, start + 2 + 12 * struct.unpack("<H", data[start : start + 2])[0], 12):
        if struct.unpack("<H", data[at : at + 2])[0] == code:
            return data[: at + 2] + struct.pack("<HII", 4, 1, value) + data[at + 12 :]
    raise AssertionError(f"no tag {code}")


def larger_tiff(width: int, height: int, **options: object) -> bytes:
    return with_value(with_value(with_value(tiff(GREY, **options), 256, width), 257, height), 278, height)


def larger_jpeg() -> bytes:
    data = pillow(COLOUR, "JPEG")
    at = data.index(b"\xff\xc0")
    return data[: at + 5] + struct.pack(">HH", 65500, 65500) + data[at + 9 :]


def larger_bmp() -> bytes:
    data = pillow(COLOUR, "BMP")
    return data[:18] + struct.pack("<ii", 40000, 40000) + data[26:]


def larger_gif() -> bytes:
    data = pillow(GREY, "GIF")
    return data[:6] + struct.pack("<HH", 65000, 65000) + data[10:]


CLAIMS: dict[str, tuple[Callable[[], bytes], str]] = {
    "bit.png": (lambda: png([bytes(1688)] * 4, 13500, 1, 0, 13500), "13500 x 13500 pixels"),
    "grey.png": (lambda: png([bytes(8)], 60000, 8, 0, 60000), "60000 x 60000 pixels"),
    "deep.png": (lambda: png([bytes(8)], 60000, 16, 6, 60000), "60000 x 60000 pixels"),
    "x.jpg": (larger_jpeg, "65500 x 65500 pixels"),
    "x.bmp": (larger_bmp, "40000 x 40000 pixels"),
    "x.gif": (larger_gif, "65000 x 65000 pixels"),
    "plain.tif": (lambda: larger_tiff(100000, 100000), "100000 x 100000 pixels"),
    "zlib.tif": (lambda: larger_tiff(100000, 90000, compression="zlib"), "100000 x 90000 pixels"),
    "lzma.tif": (lambda: larger_tiff(13000, 13000, compression="lzma"), "13000 x 13000 pixels"),
    "ome.tif": (
        lambda: tiff(GREY, description=ome_xml('SizeZ="1000" SizeC="1000" SizeT="1000"').encode()),
        "promises 1,000,000,000 planes",
    ),
    "ome_data.tif": (
        lambda: tiff(GREY, description=ome_xml('SizeZ="900" SizeC="1" SizeT="900"', '<TiffData IFD="0" PlaneCount="99999999"/>').encode()),
        "promises 810000 planes",
    ),
    "imagej.tif": (
        lambda: tiff(GREY, description="ImageJ=1.54f\nimages=1000000000\nslices=1000000000\nhyperstack=true\n"),
        "promises 1,000,000,000 planes",
    ),
    "shaped.tif": (lambda: tiff(GREY, description=json.dumps({"shape": [10**9, 20, 24]})), "promises"),
}


@pytest.mark.parametrize("name", CLAIMS)
def test_a_claim_beyond_reason_is_refused_before_memory_is_taken(tmp_path: Path, name: str) -> None:
    make, told = CLAIMS[name]
    (tmp_path / name).write_bytes(make())
    begin = time.perf_counter()
    tracemalloc.start()
    with pytest.raises(InputError, match=rf"{name}: .*{told}") as error:
        list(read_frames(tmp_path / name))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert "\n" not in str(error.value)
    assert time.perf_counter() - begin < 3
    assert peak < 50e6


def test_what_lifts_the_limit_is_said_and_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "blank.png"
    path.write_bytes(png([bytes(1250)] * 11000, 10000, 1, 0))
    with pytest.raises(InputError, match=rf"10000 x 11000 pixels, which take 110,000,000 bytes .*{VARIABLE}=110000000"):
        list(read_frames(path))
    monkeypatch.setenv(VARIABLE, "110000000")
    (frame,) = read_frames(path)
    assert frame.array.shape == (11000, 10000)
    monkeypatch.setenv(VARIABLE, "109999999")
    with pytest.raises(InputError, match="more than the limit of 109,999,999"):
        list(read_frames(path))
    monkeypatch.setenv(VARIABLE, "4 GB")
    with pytest.raises(InputError, match=f"{VARIABLE}: found '4 GB', expected a whole number from 1"):
        list(read_frames(path))


def test_large_images_of_cells_are_within_the_limits(tmp_path: Path) -> None:
    path = tmp_path / "x"
    with path.open("wb") as file:
        file.truncate(40 * 10**6)  # 400 million pixels in 40 MB
    for pixel_bytes in (1, 2, 6, 8):
        check_size(path, 20000, 20000, pixel_bytes)
    with pytest.raises(InputError, match="3 planes of 20000 x 20000"):
        check_size(path, 20000, 20000, 4, 3)
    check_planes(path, 10**6, "description")


def test_small_files_may_be_blown_up(tmp_path: Path) -> None:
    path = tmp_path / "zeros.tif"
    path.write_bytes(tiff(np.zeros((3000, 3000), np.uint8), compression="zstd"))
    (frame,) = read_frames(path)
    assert frame.array.shape == (3000, 3000)
