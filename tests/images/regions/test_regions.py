"""Frames that are read by region: every kind of TIFF, and every slice, gives what the whole gives."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from images import COLOUR, GREY, of_every_kind, tiff
from somaseg.errors import InputError
from somaseg.images.levels import levels_of
from somaseg.images.limits import VARIABLE
from somaseg.images.read import Frame, read_frames, read_planes
from somaseg.images.regions import lazy, segments
from somaseg.images.regions.lazy import LazyImage

LARGE = np.tile(GREY, (5, 4))  # 100 x 96
LARGE_COLOUR = np.tile(COLOUR, (5, 4, 1))
STACK = np.stack([LARGE, LARGE[::-1], 255 - LARGE])
ALPHA = np.dstack([LARGE_COLOUR, LARGE])
NAMES = ["DAPI", "GFP", "Tau"]
TILES = {"tile": (32, 16)}


def kinds() -> dict[str, bytes]:
    """Files of every way to store pixels."""
    separate = np.moveaxis(LARGE_COLOUR, -1, 0)
    found = {
        "plain": tiff(LARGE),
        "strips": tiff(LARGE, rowsperstrip=7),
        "one strip": tiff(LARGE, rowsperstrip=100, compression="zlib"),
        "lzw strips": tiff(LARGE.astype(np.uint16) * 250, rowsperstrip=9, compression="lzw", predictor=True),
        "tiles": tiff(LARGE, **TILES),
        "zstd tiles": tiff(LARGE, compression="zstd", **TILES),
        "big": tiff(LARGE.astype(np.uint16) * 3, bigtiff=True, byteorder=">", compression="zlib", predictor=True, **TILES),
        "big-endian": tiff(LARGE.astype(np.int32) - 99, byteorder=">"),
        "float tiles": tiff(LARGE.astype(np.float32) / 7, compression="zlib", predictor=True, **TILES),
        "double": tiff(LARGE.astype(np.float64) / 7, rowsperstrip=13, compression="lzma"),
        "twelve bits": tiff(LARGE.astype(np.uint16) * 16 + 3, bitspersample=12, rowsperstrip=10),
        "bits": tiff((LARGE > 99), rowsperstrip=10),
        "white is zero": tiff(LARGE, photometric="miniswhite", **TILES),
        "palette": tiff(LARGE, photometric="palette", colormap=np.arange(768, dtype=np.uint16).reshape(3, 256) * 64, **TILES),
        "colour": tiff(LARGE_COLOUR, photometric="rgb", compression="zlib", **TILES),
        "colour planes": tiff(separate, photometric="rgb", planarconfig="separate", compression="zlib", **TILES),
        "plain colour planes": tiff(separate, photometric="rgb", planarconfig="separate"),
        "jpeg": tiff(LARGE_COLOUR, photometric="ycbcr", compression="jpeg", **TILES),
        "jpeg strips": tiff(LARGE_COLOUR, photometric="ycbcr", compression="jpeg", rowsperstrip=16),
        "jpeg 2000": tiff(LARGE, compression="jpeg2000", **TILES),
        "ink": tiff(ALPHA, photometric="separated", **TILES),
        "alpha": tiff(ALPHA, photometric="rgb", extrasamples=["unassalpha"], compression="zlib", **TILES),
        "multiplied": tiff(ALPHA, photometric="rgb", extrasamples=["assocalpha"], compression="zlib", **TILES),
        "grey and alpha": tiff(ALPHA[..., 2:], extrasamples=["unassalpha"], planarconfig="contig", **TILES),
        "stack": tiff(STACK, compression="zlib", **TILES),
        "imagej": tiff(STACK, imagej=True, metadata={"axes": "TYX"}),
        "imagej colours": tiff(np.stack([LARGE_COLOUR] * 2), imagej=True, photometric="rgb", metadata={"axes": "TYXS"}),
        "channels": tiff(
            STACK, ome=True, compression="zlib", metadata={"axes": "CYX", "Channel": {"Name": ["DAPI", "GFP", "Tau"]}}, **TILES
        ),
        "time": tiff(STACK, ome=True, metadata={"axes": "TYX", "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5}),
        "two channels in time": tiff(np.stack([STACK, STACK + 1]), ome=True, metadata={"axes": "TCYX"}),
        "interleaved": tiff(np.moveaxis(STACK, 0, -1), planarconfig="contig", **TILES),
    }
    for orientation in range(2, 9):
        found[f"turned {orientation}"] = tiff(LARGE_COLOUR, photometric="rgb", extratags=[(274, "H", 1, orientation, True)], **TILES)
    return found


KINDS = kinds()


def both(path: Path, monkeypatch: pytest.MonkeyPatch, **options: Any) -> tuple[list[Frame], list[Frame]]:
    """The frames of a file as wholes, and by region."""
    wholes = list(read_frames(path, **options))
    with monkeypatch.context() as patched:
        patched.setattr(lazy, "WHOLE_BYTES", 0)
        return wholes, list(read_frames(path, **options))  # all of them: the file is closed when their regions are read


def same(frame: Frame, whole: Frame) -> None:
    assert isinstance(frame.array, LazyImage)
    about = [(f.name, f.page, f.pixel_size, f.meaning, f.alpha, f.channels, f.warnings) for f in (frame, whole)]
    assert about[0] == about[1]
    for image, expected in ((frame.array, np.asarray(whole.array)), (frame.picture, np.asarray(whole.picture))):
        assert (image.shape, image.dtype, image.ndim, image.size) == (expected.shape, expected.dtype, expected.ndim, expected.size)
        for found, wanted in ((np.asarray(image), expected), (image[30:77, 11:50], expected[30:77, 11:50])):
            assert found.dtype == wanted.dtype
            assert found.dtype.isnative
            np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("name", KINDS)
def test_regions_of_every_kind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    (tmp_path / "x.dat").write_bytes(KINDS[name])
    wholes, frames = both(tmp_path / "x.dat", monkeypatch)
    assert len(wholes) == len(frames)
    for whole, frame in zip(wholes, frames, strict=True):
        same(frame, whole)


@pytest.mark.parametrize("name", [name for name in of_every_kind() if name.endswith(".tif")])
def test_small_files_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    (tmp_path / name).write_bytes(of_every_kind()[name])
    for whole, frame in zip(*both(tmp_path / name, monkeypatch), strict=True):
        np.testing.assert_array_equal(np.asarray(frame.array), np.asarray(whole.array))


@pytest.mark.parametrize("name", ["channels", "two channels in time", "interleaved", "colour"])
@pytest.mark.parametrize("channel", ["0", "1"])
def test_one_channel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, channel: str) -> None:
    (tmp_path / "x.tif").write_bytes(KINDS[name])
    for whole, frame in zip(*both(tmp_path / "x.tif", monkeypatch, channel=channel), strict=True):
        same(frame, whole)


def test_one_channel_of_planes_apart_does_not_decode_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x.tif").write_bytes(KINDS["channels"])
    monkeypatch.setattr(lazy, "WHOLE_BYTES", 0)
    (frame,) = read_frames(tmp_path / "x.tif", "Tau")
    decoded = count_decoded(monkeypatch)
    assert frame.array[:20, :10].shape == (20, 10)
    assert len(decoded) == 1


INDEX = st.one_of(
    st.slices(96),
    st.integers(-96, 95),
    st.builds(slice, st.integers(-120, 120), st.integers(-120, 120), st.sampled_from([-3, -1, 1, 2])),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(rows=INDEX, columns=INDEX, name=st.sampled_from(["zstd tiles", "strips", "colour planes", "plain", "turned 6"]))
def test_any_slices(tmp_path: Path, rows: Any, columns: Any, name: str) -> None:
    path = tmp_path / f"{name}.tif"
    if not path.exists():
        path.write_bytes(KINDS[name])
    with pytest.MonkeyPatch.context() as patched:
        wholes, frames = both(path, patched)
    whole, image = np.asarray(wholes[0].array), frames[0].array
    np.testing.assert_array_equal(image[rows, columns], whole[rows, columns])
    np.testing.assert_array_equal(image[rows], whole[rows])
    np.testing.assert_array_equal(image[..., -1], whole[..., -1])


def test_what_is_no_slice_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x.tif").write_bytes(KINDS["tiles"])
    image = both(tmp_path / "x.tif", monkeypatch)[1][0].array
    for index in ([1, 2], None, np.array([True])):
        with pytest.raises(TypeError, match="takes slices and whole numbers"):
            image[index]
    with pytest.raises(IndexError):
        image[1000]
    with pytest.raises(IndexError, match="no 3 axes"):
        image[0, 0, 0]


def count_decoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    decoded: list[int] = []
    real = segments._Segments._decoded
    monkeypatch.setattr(segments._Segments, "_decoded", lambda self, index: decoded.append(index) or real(self, index))
    return decoded


def test_a_part_is_decoded_once_as_long_as_there_is_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x.tif").write_bytes(KINDS["zstd tiles"])  # 4 x 6 tiles of 32 x 16
    image = both(tmp_path / "x.tif", monkeypatch)[1][0].array
    decoded = count_decoded(monkeypatch)
    for left in range(0, 96, 8):
        image[0:40, left : left + 12]
    assert sorted(decoded) == list(range(12))


def test_little_room_costs_time_and_no_pixels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x.tif").write_bytes(KINDS["zstd tiles"])
    cache = segments.Cache(1000)  # of tiles of 512 bytes
    with tifffile.TiffFile(tmp_path / "x.tif") as tif:
        read = segments.page_regions(tmp_path / "x.tif", tif.pages.first, 0, cache)
    decoded = count_decoded(monkeypatch)
    np.testing.assert_array_equal(read((0, 0, 96, 100)), LARGE)
    np.testing.assert_array_equal(read((0, 0, 96, 100)), LARGE)
    assert len(decoded) == 48
    assert cache._bytes <= 1024


def test_planes_in_one_piece_are_told_and_decoded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from somaseg.images.decoders import tiff_regions

    monkeypatch.setattr(tiff_regions, "ONE_PIECE", 9000)
    monkeypatch.setattr(tiff_regions, "CACHE_BYTES", 0)
    data = tiff(STACK, ome=True, compression="zlib", rowsperstrip=100, metadata={"axes": "CYX"})
    (tmp_path / "x.tif").write_bytes(data)
    (frame,) = both(tmp_path / "x.tif", monkeypatch)[1]
    assert any("stored in pieces of 0 MB, decoded one by one: save it in tiles" in warning for warning in frame.warnings)
    decoded = count_decoded(monkeypatch)
    for top in range(0, 100, 20):
        frame.array[top : top + 20]
    assert decoded == [0, 0, 0]


def test_small_levels_of_a_pyramid_are_no_frames(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for ome in (True, False):
        with tifffile.TiffWriter(tmp_path / "x.tif", bigtiff=True, ome=ome) as writer:
            writer.write(LARGE, subifds=2 if ome else 0, tile=(32, 32), metadata={"axes": "YX"} if ome else None)
            for step in (2, 4):
                writer.write(LARGE[::step, ::step], subfiletype=1, tile=(16, 16), metadata=None)
        ((whole,), (frame,)) = both(tmp_path / "x.tif", monkeypatch)
        same(frame, whole)
        np.testing.assert_array_equal(np.asarray(frame.array), LARGE)


def test_a_tile_that_is_not_there_is_the_value_for_no_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiles = iter([LARGE[:32, :32], None, LARGE[:32, 32:64], None])
    tifffile.imwrite(tmp_path / "x.tif", tiles, shape=(64, 64), dtype=np.uint8, tile=(32, 32), compression="zlib", metadata=None)
    ((whole,), (frame,)) = both(tmp_path / "x.tif", monkeypatch)
    assert not np.asarray(whole.array)[:32, 32:].any()
    same(frame, whole)


def test_damage_is_told_with_the_file_when_the_region_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = bytearray(KINDS["zstd tiles"])
    (tmp_path / "x.tif").write_bytes(data)
    with tifffile.TiffFile(tmp_path / "x.tif") as tif:
        start = tif.pages.first.dataoffsets[5]
    data[start : start + 8] = bytes(8)
    (tmp_path / "x.tif").write_bytes(data)
    monkeypatch.setattr(lazy, "WHOLE_BYTES", 0)
    (frame,) = read_frames(tmp_path / "x.tif")
    np.testing.assert_array_equal(frame.array[:30, :16], LARGE[:30, :16])
    for image in (frame.array, frame.picture, frame.choose("0").picture):
        with pytest.raises(InputError, match=r"x\.tif: cannot be read as TIFF"):
            image[:32, 80:]
    (tmp_path / "x.tif").write_bytes(data[: len(data) // 2])
    with pytest.raises(InputError, match=r"x\.tif: .*(cut off|damaged)"):
        np.asarray(next(read_frames(tmp_path / "x.tif")).array)


def test_a_file_that_is_gone_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x.tif").write_bytes(KINDS["plain"])
    image = both(tmp_path / "x.tif", monkeypatch)[1][0].array
    (tmp_path / "x.tif").unlink()
    with pytest.raises(InputError, match=r"x\.tif: cannot be read as TIFF"):
        image[:5]


def test_an_image_larger_than_memory_is_read_by_region(tmp_path: Path) -> None:
    path = tmp_path / "x.tif"
    tifffile.imwrite(path, shape=(60000, 50000, 3), dtype=np.uint8, photometric="rgb", bigtiff=True)  # 9 GB, all of it a hole
    with tifffile.TiffFile(path) as tif:
        start = tif.pages.first.dataoffsets[0]
    with path.open("r+b") as file:
        file.seek(start + (40100 * 50000 + 30000) * 3)
        file.write(b"\1\2\3")
    (frame,) = read_frames(path)
    assert frame.array.shape == (60000, 50000, 3)
    assert frame.picture[40100:40102, 29999:30002].tolist() == [[[0, 0, 0], [1, 2, 3], [0, 0, 0]], [[0] * 3] * 3]
    assert levels_of(frame.picture).deviation == 0
    with pytest.raises(InputError, match=rf"x\.tif: has 50000 x 60000 pixels, .*{VARIABLE}=9000000000"):
        np.asarray(frame.array)
    with pytest.raises(InputError, match=VARIABLE):
        read_planes(path)
