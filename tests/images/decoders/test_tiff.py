"""TIFF of every kind: shape, type and pixels are those that the file states, or the error says what it is."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray

from images import COLOUR, GREY, ome_xml, packed, tiff
from somaseg.errors import InputError
from somaseg.images.frame import Frame
from somaseg.images.read import read_frames, read_image, read_planes
from somaseg.images.regions import lazy
from somaseg.images.regions.lazy import LazyImage

STACK = np.stack([GREY, GREY[::-1], 255 - GREY])
RGBA = np.dstack([COLOUR, GREY])


def frames(tmp_path: Path, data: bytes, **options: Any) -> list[Frame]:
    (tmp_path / "x.dat").write_bytes(data)
    return list(read_frames(tmp_path / "x.dat", **options))


def same(found: NDArray[Any], expected: NDArray[Any]) -> None:
    assert found.dtype == expected.dtype
    assert found.dtype.isnative
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("compression", ["lzw", "zlib", "zstd", "lzma", "packbits", "jpeg2000", "jpegxl", "webp", "png", "lerc"])
@pytest.mark.parametrize("array", [GREY, COLOUR, GREY.astype(np.uint16) * 250], ids=["grey", "rgb", "deep"])
def test_every_compression_gives_the_very_pixels(tmp_path: Path, compression: str, array: NDArray[Any]) -> None:
    if compression == "webp" and array.ndim == 2:
        pytest.skip("WebP has colours alone")
    options = {"compressionargs": {"lossless": True}} if compression in ("jpegxl", "webp") else {}
    (frame,) = frames(tmp_path, tiff(array, compression=compression, photometric="rgb" if array.ndim == 3 else "minisblack", **options))
    same(frame.array, array)


@pytest.mark.parametrize("predictor", [False, True])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "uint32", "int16", "float16", "float32", "float64"])
@pytest.mark.parametrize("byteorder", "<>")
def test_types_byte_orders_and_predictors(tmp_path: Path, dtype: str, byteorder: str, predictor: bool) -> None:
    array = (GREY * 1.0).astype(dtype)
    for options in ({"compression": "lzw", "predictor": predictor}, {"bigtiff": True}, {"tile": (16, 16), "compression": "zlib"}):
        (frame,) = frames(tmp_path, tiff(array, byteorder=byteorder, **options))
        same(frame.array, array)


@pytest.mark.parametrize("dtype", ["int8", "int32", "int64", "uint64", "bool"])
def test_further_types(tmp_path: Path, dtype: str) -> None:
    array = (GREY > 99) if dtype == "bool" else GREY.astype(dtype)
    (frame,) = frames(tmp_path, tiff(array))
    same(frame.array, array.astype(np.uint8) if dtype == "bool" else array)


def test_complex_numbers_are_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"x\.dat: has pixels of type complex64"):
        frames(tmp_path, tiff(GREY.astype(np.complex64)))


@pytest.mark.parametrize("bits", [1, 2, 4, 6, 10, 12, 14, 16])
@pytest.mark.parametrize("white_is_zero", [False, True])
def test_odd_depths_and_white_is_zero(tmp_path: Path, bits: int, white_is_zero: bool) -> None:
    values = (GREY.astype(np.uint16) * 257 >> (16 - bits)).astype(np.uint8 if bits <= 8 else np.uint16)
    data = tiff(values, bitspersample=bits, photometric="miniswhite" if white_is_zero else "minisblack")
    (frame,) = frames(tmp_path, data)
    same(frame.array, (2**bits - 1 - values).astype(values.dtype) if white_is_zero else values)
    (stored,) = read_planes(tmp_path / "x.dat")
    same(stored, values)


def test_twelve_bits_packed_by_hand(tmp_path: Path) -> None:
    values = GREY.astype(np.uint16) * 16 + 3
    data = bytearray(tiff(values, bitspersample=12))
    assert b"".join(packed(values, 12)) in bytes(data)
    (frame,) = frames(tmp_path, bytes(data))
    same(frame.array, values)


@pytest.mark.parametrize(("scale", "name"), [(257, "16 bits"), (256, "shifted"), (1, "8 bits")])
def test_a_palette_is_its_colours(tmp_path: Path, scale: int, name: str) -> None:
    table = np.random.default_rng(3).integers(0, 256, (3, 256)).astype(np.uint16)
    (frame,) = frames(tmp_path, tiff(GREY, photometric="palette", colormap=table * np.uint16(scale)))
    same(frame.array, table.T.astype(np.uint8)[GREY])
    (stored,) = read_planes(tmp_path / "x.dat")
    same(stored, GREY)


@pytest.mark.parametrize("planar", [False, True])
@pytest.mark.parametrize("compression", [None, "lzw"])
def test_planes_of_colours(tmp_path: Path, planar: bool, compression: str | None) -> None:
    deep = COLOUR.astype(np.uint16) * 201
    stored, config = (np.moveaxis(deep, -1, 0), "separate") if planar else (deep, "contig")
    (frame,) = frames(tmp_path, tiff(stored, photometric="rgb", planarconfig=config, compression=compression))
    same(frame.array, deep)


@pytest.mark.parametrize(
    ("extra", "alpha", "grey_means"),
    [("unassalpha", "straight", "grey"), ("assocalpha", "premultiplied", "grey"), ("unspecified", None, "channels")],
)
def test_what_stands_behind_the_colours(tmp_path: Path, extra: str, alpha: str | None, grey_means: str) -> None:
    (frame,) = frames(tmp_path, tiff(RGBA, photometric="rgb", extrasamples=[extra]))
    same(frame.array, RGBA)
    assert (frame.meaning, frame.alpha) == ("colour", alpha)
    assert frame.picture.shape == ((20, 24, 4) if alpha else (20, 24, 3))
    assert bool(frame.warnings) == (alpha is None)
    (frame,) = frames(tmp_path, tiff(RGBA[..., 2:], extrasamples=[extra], planarconfig="contig"))
    assert (frame.meaning, frame.alpha) == (grey_means, alpha)


def test_colours_multiplied_by_alpha_are_shown_as_before() -> None:
    array = np.array([[[50, 100, 20, 128], [0, 0, 0, 0], [7, 8, 9, 255]]], np.uint8)
    shown = Frame(Path("x"), None, array, meaning="colour", alpha="premultiplied").picture
    assert shown.tolist() == [[[100, 199, 40, 128], [0, 0, 0, 0], [7, 8, 9, 255]]]


def test_inks_are_light(tmp_path: Path) -> None:
    ink = np.dstack([255 - COLOUR, np.zeros_like(GREY)])
    (frame,) = frames(tmp_path, tiff(ink, photometric="separated"))
    same(frame.array, COLOUR)
    black = np.dstack([np.zeros_like(COLOUR), GREY])
    (frame,) = frames(tmp_path, tiff(black, photometric="separated"))
    same(frame.array, np.repeat(255 - GREY[..., None], 3, axis=2))


def test_ycbcr(tmp_path: Path) -> None:
    grey = np.dstack([GREY, np.full_like(GREY, 128), np.full_like(GREY, 128)])
    (frame,) = frames(tmp_path, tiff(grey, photometric="ycbcr"))
    same(frame.array, np.repeat(GREY[..., None], 3, axis=2))


@pytest.mark.parametrize(
    ("photometric", "array", "told"),
    [("cielab", COLOUR, "CIELab"), ("cfa", GREY, "raw colours of a camera"), ("separated", np.dstack([RGBA, GREY]), "CMYK or other inks")],
)
def test_colours_that_are_not_turned_into_grey_are_named(tmp_path: Path, photometric: str, array: NDArray[Any], told: str) -> None:
    with pytest.raises(InputError, match=rf"x\.dat: has 8-bit pixels \({photometric}, compression NONE\) with . samples, {told}"):
        frames(tmp_path, tiff(array, photometric=photometric))


def test_a_compression_without_a_decoder_is_named(tmp_path: Path) -> None:
    data = bytearray(tiff(GREY, compression="packbits"))
    with tifffile.TiffFile(_written(tmp_path, bytes(data))) as tif:
        at = tif.pages.first.tags["Compression"].valueoffset
    data[at : at + 2] = (32809).to_bytes(2, "little")
    with pytest.raises(InputError, match=r"8-bit pixels \(minisblack, compression THUNDERSCAN\), which the package imagecodecs") as error:
        frames(tmp_path, bytes(data))
    assert "damaged" not in str(error.value)


def _written(tmp_path: Path, data: bytes) -> Path:
    (tmp_path / "x.dat").write_bytes(data)
    return tmp_path / "x.dat"


@pytest.mark.parametrize("orientation", [3, 4, 6, 8])
def test_orientation(tmp_path: Path, orientation: int) -> None:
    stored = {3: GREY[::-1, ::-1], 4: GREY[::-1], 6: np.rot90(GREY, 1), 8: np.rot90(GREY, -1)}[orientation]
    (frame,) = frames(tmp_path, tiff(np.ascontiguousarray(stored), extratags=[(274, 3, 1, orientation, True)]))
    same(frame.array, GREY)


@pytest.mark.parametrize("kind", [{"imagej": True, "metadata": {"axes": "TYX"}}, {"metadata": {"axes": "TYX"}}, {}, {"ome": True}])
@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("keep", [0.2, 0.4, 0.6, 0.8, 0.95])
def test_a_stack_that_is_cut_off_gives_its_whole_frames_and_an_error(
    tmp_path: Path, kind: dict[str, Any], compression: str | None, keep: float
) -> None:
    if kind.get("imagej") and compression:
        pytest.skip("ImageJ stacks are not compressed")
    data = tiff(STACK, compression=compression, **kind)
    path = _written(tmp_path, data[: int(len(data) * keep)])
    found, told = [], ""
    try:
        for frame in read_frames(path):
            found.append(frame.array)
    except InputError as error:
        told = str(error)
    assert "x.dat" in told or len(found) == 3
    for array, expected in zip(found, STACK, strict=False):
        same(array, expected)


def test_an_imagej_stack_says_how_many_images_there_should_be(tmp_path: Path) -> None:
    data = tiff(np.repeat(STACK, 100, axis=1), imagej=True, metadata={"axes": "TYX"})
    frames_of = read_frames(_written(tmp_path, data[: len(data) * 6 // 10]))
    same(next(frames_of).array, np.repeat(STACK[0], 100, axis=0))
    with pytest.raises(InputError, match=r"x\.dat: promises 3 planes, holds 1: the file is cut off"):
        list(frames_of)
    with pytest.raises(InputError, match="several frames"):
        read_image(tmp_path / "x.dat")


@pytest.mark.parametrize("order", ["TZCYX", "CTZYX", "ZTCYX", "TCZYX", "CZTYX", "ZCTYX"])
def test_ome_in_any_order(tmp_path: Path, order: str) -> None:
    sizes = dict(zip("TZCYX", (2, 3, 2, 8, 9), strict=True))
    array = np.random.default_rng(4).integers(0, 65535, [sizes[axis] for axis in order]).astype(np.uint16)
    found = frames(tmp_path, tiff(array, ome=True, metadata={"axes": order}))
    expected = np.moveaxis(array, order.index("C"), -1).reshape(6, 8, 9, 2)
    assert [frame.page for frame in found] == list(range(6))
    for frame, plane in zip(found, expected, strict=True):
        same(frame.array, plane)


@pytest.mark.parametrize("axes", ["TZCYX", "ZCYX", "TCYX", "CYX", "ZYX", "TYX", "TYXS"])
def test_imagej_hyperstacks(tmp_path: Path, axes: str) -> None:
    sizes = dict(zip("TZCYXS", (2, 3, 2, 8, 9, 3), strict=True))
    array = np.random.default_rng(5).integers(0, 256, [sizes[axis] for axis in axes]).astype(np.uint8)
    photometric = "rgb" if "S" in axes else "minisblack"
    found = frames(tmp_path, tiff(array, imagej=True, metadata={"axes": axes}, photometric=photometric))
    moved = np.moveaxis(array, axes.index("C"), -1) if "C" in axes else array
    expected = moved.reshape(-1, 8, 9, *moved.shape[axes.replace("C", "").index("X") + 1 :])
    assert len(found) == len(expected)
    for frame, plane in zip(found, expected, strict=True):
        same(frame.array, plane)


def test_of_more_than_four_channels_the_first_is_shown_where_none_is_chosen(tmp_path: Path) -> None:
    array = np.stack([GREY // (n + 1) for n in range(5)])
    data = tiff(array, ome=True, metadata={"axes": "CYX", "Channel": {"Name": ["DAPI", "GFP", "RFP", "Cy5", "Phase"]}})
    (frame,) = frames(tmp_path, data)
    same(frame.array, array[0])
    assert frame.channels == ("DAPI",)
    assert frame.warnings[0].startswith("has 5 channels (DAPI, GFP, RFP, Cy5, Phase), the first is shown: choose the one")
    for choice in ("4", "Phase", "phase"):
        (frame,) = frames(tmp_path, data, channel=choice)
        same(frame.array, array[4])
        assert frame.channels == ("Phase",)
    for wrong in ("5", "-1", "Brightfield", "DAPI+"):
        with pytest.raises(InputError, match=f"has no channel '{wrong.removeprefix('DAPI+')}'"):
            frames(tmp_path, data, channel=wrong)
    (stored,) = read_planes(tmp_path / "x.dat")
    same(stored, np.moveaxis(array, 0, -1))


@pytest.mark.parametrize("choice", ["1+4", "GFP + phase", "Phase+GFP"])
def test_channels_are_combined(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, choice: str) -> None:
    array = np.stack([GREY.astype(np.uint16), GREY.astype(np.uint16) * 200, *[GREY.astype(np.uint16)] * 2, GREY[::-1].astype(np.uint16)])
    data = tiff(array, ome=True, metadata={"axes": "CYX", "Channel": {"Name": ["DAPI", "GFP", "RFP", "Cy5", "Phase"]}})
    (frame,) = frames(tmp_path, data, channel=choice)
    parts = []
    for channel in (array[1], array[4]):
        low, high = np.percentile(channel, (0.3, 99.7))
        parts.append((channel - low) * 255 / (high - low))
    np.testing.assert_allclose(np.asarray(frame.array), np.mean(parts, axis=0), rtol=1e-4, atol=1e-3)
    assert frame.array.dtype == np.float32
    assert sorted(frame.channels[0].split("+")) == ["GFP", "Phase"]
    monkeypatch.setattr(lazy, "WHOLE_BYTES", 0)
    (by_region,) = frames(tmp_path, data, channel=choice)
    assert isinstance(by_region.array, LazyImage)
    np.testing.assert_array_equal(by_region.array[3:11, 5:20], np.asarray(frame.array)[3:11, 5:20])


@pytest.mark.parametrize(("count", "shown"), [(2, "the first is shown"), (3, "red, green and blue"), (4, "the first is shown")])
def test_a_few_channels_are_shown_with_a_warning(tmp_path: Path, count: int, shown: str) -> None:
    array = np.stack([GREY, 255 - GREY, GREY // 2, GREY[::-1]][:count])
    (frame,) = frames(tmp_path, tiff(array, imagej=True, metadata={"axes": "CYX"}))
    same(frame.array, np.moveaxis(array, 0, -1))
    (warning,) = frame.warnings
    assert shown in warning
    assert "--channel" in warning
    same(frame.picture, frame.array if count == 3 else GREY)
    with pytest.warns(UserWarning, match=f"has {count} channels"):
        read_image(tmp_path / "x.dat")


def test_channels_behind_height_and_width(tmp_path: Path) -> None:
    array = np.random.default_rng(6).integers(0, 256, (40, 56, 6), np.uint8)
    path = tmp_path / "x.tif"
    tifffile.imwrite(path, array, photometric="minisblack")
    (frame,) = read_frames(path)
    same(frame.array, array[..., 0])
    assert frame.warnings[0].startswith("has 6 channels, the first is shown")
    (frame,) = read_frames(path, channel="5")
    same(frame.array, array[..., 5])


def test_a_page_that_is_a_small_copy_is_no_frame(tmp_path: Path) -> None:
    path = tmp_path / "x.tif"
    with tifffile.TiffWriter(path) as writer:
        writer.write(GREY, metadata=None)
        writer.write(COLOUR, photometric="rgb", metadata=None)
        writer.write(GREY[::2, ::2], metadata=None, subfiletype=1)
    first, second = read_frames(path)
    same(first.array, GREY)
    same(second.array, COLOUR)


def test_a_list_of_pages_in_a_circle(tmp_path: Path) -> None:
    data = bytearray(tiff(GREY))
    start = int.from_bytes(data[4:8], "little")
    behind = start + 2 + 12 * int.from_bytes(data[start : start + 2], "little")
    data[behind : behind + 4] = data[4:8]
    with pytest.raises(InputError, match=r"x\.dat: its list of pages comes back to page 0"):
        frames(tmp_path, bytes(data))


@pytest.mark.parametrize(
    ("options", "size"),
    [
        ({"imagej": True, "resolution": (2, 2), "metadata": {"unit": "micrometer"}}, 0.5),
        ({"imagej": True, "resolution": (1000, 1000), "metadata": {"unit": "inch"}}, 25.4),
        ({"imagej": True, "resolution": (2, 2), "metadata": {"unit": "pixel"}}, None),
        ({"imagej": True, "resolution": (2, 2)}, None),
        ({"resolution": (20000, 20000), "resolutionunit": "CENTIMETER"}, 0.5),
        ({"resolution": (300, 300), "resolutionunit": "INCH"}, None),
        ({"resolution": (40000, 40000), "resolutionunit": "NONE"}, None),
    ],
)
def test_pixel_sizes(tmp_path: Path, options: dict[str, Any], size: float | None) -> None:
    (frame,) = frames(tmp_path, tiff(GREY, **options))
    assert frame.pixel_size == (None if size is None else pytest.approx(size))
    assert frame.warnings == ()


@pytest.mark.parametrize(
    "options",
    [
        {"imagej": True, "resolution": (2, 1), "metadata": {"unit": "um"}},
        {"ome": True, "metadata": {"axes": "YX", "PhysicalSizeX": 0.5, "PhysicalSizeY": 1.0}},
    ],
)
def test_pixels_that_are_not_square_have_no_one_edge(tmp_path: Path, options: dict[str, Any]) -> None:
    (frame,) = frames(tmp_path, tiff(GREY, **options))
    assert frame.pixel_size is None
    assert frame.warnings == ("pixels of 0.5 x 1 µm are not square: there are no areas in µm², and cells look squeezed",)


def test_a_description_that_cannot_be_read_costs_no_pixel(tmp_path: Path) -> None:
    for text, told in [
        (ome_xml('SizeZ="1" SizeC="1" SizeT="1"').replace("<Image", "<Image <"), "the description is no XML"),
        ('<!DOCTYPE a [<!ENTITY b "c">]>' + ome_xml('SizeZ="1" SizeC="1" SizeT="1"'), "declares entities"),
        (ome_xml('SizeZ="many" SizeC="1" SizeT="1"'), "SizeZ: found 'many'"),
    ]:
        (frame,) = frames(tmp_path, tiff(GREY, description=text.encode()))
        same(frame.array, GREY)
        assert told in frame.warnings[0]
