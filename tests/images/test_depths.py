"""Depths: each a frame, one of them, or projected; time points and positions stay apart, and names say which is which."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from images import GREY, ome_xml, tiff
from somaseg.errors import InputError
from somaseg.images.read import Frame, read_frames
from somaseg.images.regions import lazy
from somaseg.images.regions.lazy import LazyImage
from zarrs import write_zarr

STACK = np.random.default_rng(0).integers(0, 256, (2, 3, 20, 24), np.uint8)  # t z y x
EXPECTED = {"max": STACK.max(axis=1), "mean": STACK.mean(axis=1, dtype=np.float64).astype(np.float32), "1": STACK[:, 1]}


def ome(path: Path, order: str = "XYCZT") -> Path:
    if order == "XYCZT":
        tifffile.imwrite(path, STACK, ome=True, photometric="minisblack", metadata={"axes": "TZYX"})
    else:  # depth outermost
        description = ome_xml('SizeZ="3" SizeC="1" SizeT="2"').replace("XYZCT", order)
        path.write_bytes(tiff(STACK.swapaxes(0, 1).reshape(6, 20, 24), description=description.encode()))
    return path


def imagej(path: Path) -> Path:
    tifffile.imwrite(path, STACK, imagej=True, metadata={"axes": "TZYX"})
    return path


FILES = {
    "ome": lambda folder: ome(folder / "x.ome.tif"),
    "ome, depth outermost": lambda folder: ome(folder / "x.ome.tif", "XYCTZ"),
    "imagej": lambda folder: imagej(folder / "x.tif"),
    "zarr": lambda folder: write_zarr(folder / "x.zarr", STACK, "tzyx", (1, 2, 8, 8)),
}


@pytest.mark.parametrize("by_region", [False, True])
@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("depth", EXPECTED)
def test_depths_are_projected_and_time_points_stay_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, depth: str, by_region: bool
) -> None:
    if by_region:
        monkeypatch.setattr(lazy, "WHOLE_BYTES", 0)
    frames = list(read_frames(FILES[name](tmp_path), depth=depth))
    assert [(frame.name, frame.page, frame.warnings) for frame in frames] == [("x_t000", 0, ()), ("x_t001", 1, ())]
    for frame, expected in zip(frames, EXPECTED[depth], strict=True):
        assert isinstance(frame.array, LazyImage) == by_region
        assert frame.array.dtype == expected.dtype
        np.testing.assert_array_equal(np.asarray(frame.array), expected)
        np.testing.assert_array_equal(frame.picture[3:11, 5:20], expected[3:11, 5:20])


@pytest.mark.parametrize("name", FILES)
def test_each_depth_is_a_frame_that_says_where_it_is(tmp_path: Path, name: str) -> None:
    frames = list(read_frames(FILES[name](tmp_path)))
    places = ["t000_z000", "t000_z001", "t000_z002", "t001_z000", "t001_z001", "t001_z002"]
    assert sorted(frame.place for frame in frames) == places
    assert [frame.page for frame in frames] == [0, 1, 2, 3, 4, 5]
    assert {frame.name for frame in frames} == {f"x_{place}" for place in places}
    for frame in frames:
        t, z = (step.number for step in sorted(frame.steps))
        np.testing.assert_array_equal(np.asarray(frame.array), STACK[t, z])


def named(path: Path, **options: Any) -> list[str]:
    return [frame.name for frame in read_frames(path, **options)]


def test_names_of_plain_stacks_and_of_one_image(tmp_path: Path) -> None:
    (tmp_path / "x.tif").write_bytes(tiff(STACK[0]))
    assert named(tmp_path / "x.tif") == ["x_p000", "x_p001", "x_p002"]
    (tmp_path / "x.tif").write_bytes(tiff(GREY))
    for depth in ("all", "max", "mean", "7"):
        assert named(tmp_path / "x.tif", depth=depth) == ["x"]
    tifffile.imwrite(tmp_path / "x.tif", STACK[0], photometric="minisblack", metadata={"axes": "ZYX"})
    assert named(tmp_path / "x.tif") == ["x_z000", "x_z001", "x_z002"]
    (frame,) = read_frames(tmp_path / "x.tif", depth="max")
    assert (frame.name, frame.page) == ("x", None)


def test_images_of_one_file_stay_apart(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "x.ome.tif", ome=True) as writer:
        for stack in STACK:
            writer.write(stack, photometric="minisblack", metadata={"axes": "ZYX"})
    assert named(tmp_path / "x.ome.tif")[3:] == ["x_s001_z000", "x_s001_z001", "x_s001_z002"]
    frames = list(read_frames(tmp_path / "x.ome.tif", depth="max"))
    assert [(frame.name, frame.page) for frame in frames] == [("x_s000", 0), ("x_s001", 1)]
    np.testing.assert_array_equal(np.asarray(frames[1].array), STACK[1].max(axis=0))


def test_pages_without_a_name_count_as_depths_with_a_warning(tmp_path: Path) -> None:
    (tmp_path / "x.tif").write_bytes(tiff(STACK[0]))
    (frame,) = read_frames(tmp_path / "x.tif", depth="max")
    np.testing.assert_array_equal(np.asarray(frame.array), STACK[0].max(axis=0))
    assert frame.warnings == ("its pages have no names: they are taken for depths, as --z asks",)


def test_depths_that_are_missing_are_told(tmp_path: Path) -> None:
    planes = "".join(f'<TiffData FirstZ="{z}" IFD="{z}"/>' for z in range(2))
    (tmp_path / "x.ome.tif").write_bytes(tiff(STACK[0, :2], description=ome_xml('SizeZ="3" SizeC="1" SizeT="1"', planes).encode()))
    (frame,) = read_frames(tmp_path / "x.ome.tif", depth="max")
    assert "only 2 of its depths are there" in frame.warnings[-1]
    np.testing.assert_array_equal(np.asarray(frame.array), STACK[0, :2].max(axis=0))


def test_channels_are_chosen_after_the_projection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    array = np.stack([STACK[0], 255 - STACK[0]], axis=1)  # z c y x
    tifffile.imwrite(tmp_path / "x.ome.tif", array, ome=True, photometric="minisblack", metadata={"axes": "ZCYX"})
    for whole_bytes in (10**9, 0):
        monkeypatch.setattr(lazy, "WHOLE_BYTES", whole_bytes)
        (frame,) = read_frames(tmp_path / "x.ome.tif", "1", "max")
        np.testing.assert_array_equal(np.asarray(frame.array), array[:, 1].max(axis=0))


def test_what_is_no_depth_is_refused(tmp_path: Path) -> None:
    path = imagej(tmp_path / "x.tif")
    with pytest.raises(InputError, match=r"x\.tif: has 3 depths, found --z 3: numbers count from 0"):
        list(read_frames(path, depth="3"))
    for wrong in ("min", "-1", "1.5", ""):
        with pytest.raises(InputError, match="expected all, max, mean, or the number of a depth"):
            list(read_frames(path, depth=wrong))


def test_a_frame_by_itself_has_no_place() -> None:
    assert Frame(Path("x.tif"), None, GREY).place == ""
