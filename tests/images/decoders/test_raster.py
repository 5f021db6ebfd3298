"""PNG, JPEG, GIF, BMP, WebP and JPEG 2000: shape, type and pixels are those that the file states."""

import io
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from images import COLOUR, GREY, packed, pillow, png, png_chunk
from somaseg.errors import InputError
from somaseg.images.frame import Frame
from somaseg.images.read import read_frames, read_planes

DEEP = COLOUR.astype(np.uint16) * 201 + 7
RGBA = np.dstack([COLOUR, GREY])


def frames(tmp_path: Path, data: bytes, name: str = "x") -> list[Frame]:
    """Frames of a file without a suffix, so that only the content tells what it is."""
    (tmp_path / name).write_bytes(data)
    return list(read_frames(tmp_path / name))


def one(tmp_path: Path, data: bytes) -> Frame:
    (frame,) = frames(tmp_path, data)
    assert frame.page is None
    return frame


def same(found: NDArray[Any], expected: NDArray[Any]) -> None:
    assert found.dtype == expected.dtype
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_grey_png_of_few_bits_keeps_its_numbers(tmp_path: Path, bits: int) -> None:
    values = GREY >> (8 - bits)
    same(one(tmp_path, png(packed(values, bits), 24, bits, 0)).array, values)


@pytest.mark.parametrize("array", [GREY, COLOUR, RGBA, RGBA[..., 2:]], ids=["grey", "rgb", "rgba", "la"])
@pytest.mark.parametrize("factor", [None, 1, 257])
def test_png_of_8_and_16_bits(tmp_path: Path, array: NDArray[Any], factor: int | None) -> None:
    array = array if factor is None else array.astype(np.uint16) * factor  # 1: a dim one, which 8 bits would make black
    frame = one(tmp_path, imagecodecs.png_encode(np.ascontiguousarray(array)))
    same(frame.array, array)
    assert (frame.meaning, frame.alpha) == ("colour" if array.ndim == 3 and array.shape[2] > 2 else "grey", _alpha(array))


def _alpha(array: NDArray[Any]) -> str | None:
    return "straight" if array.ndim == 3 and array.shape[2] in (2, 4) else None


def test_a_colour_that_stands_for_transparent(tmp_path: Path) -> None:
    image = Image.fromarray(GREY)
    buffer = io.BytesIO()
    image.save(buffer, "PNG", transparency=int(GREY[3, 4]))
    frame = one(tmp_path, buffer.getvalue())
    same(frame.array[..., 0], GREY)
    same(frame.array[..., 1], np.where(GREY[3, 4] == GREY, 0, 255).astype(np.uint8))


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
@pytest.mark.parametrize("form", ["PNG", "BMP", "GIF"])
def test_palettes_are_colours_to_look_at_and_places_as_labels(tmp_path: Path, form: str, bits: int) -> None:
    places = GREY >> (8 - bits)
    colours = np.random.default_rng(bits).integers(0, 256, (2**bits, 3), np.uint8)
    image = Image.frombytes("P", (24, 20), places.tobytes())
    image.putpalette(colours.tobytes())
    buffer = io.BytesIO()
    image.save(buffer, form, **({"bits": bits} if form == "PNG" else {}))
    same(one(tmp_path, buffer.getvalue()).array, colours[places])
    if form == "PNG":
        (stored,) = read_planes(tmp_path / "x")
        same(stored, places)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
def test_exif_says_which_way_is_up(tmp_path: Path, orientation: int, form: str) -> None:
    upright = np.zeros((32, 48), np.uint8)
    upright[:8, :16] = 240  # a mark in the upper left corner
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.T,
        6: np.rot90(upright, 1),
        7: upright[::-1, ::-1].T,
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Image.Exif()
    exif[274] = orientation
    array = one(tmp_path, pillow(np.ascontiguousarray(stored), form, exif=exif)).array
    assert array.shape[:2] == (32, 48)
    grey = array if array.ndim == 2 else array[..., 0]
    np.testing.assert_allclose(grey, upright, atol=12)


def test_a_broken_exif_costs_no_pixel(tmp_path: Path) -> None:
    frame = one(tmp_path, png([row.tobytes() for row in GREY], 24, 8, 0, more=png_chunk(b"eXIf", b"MM\0\x2a\xff\xff\xff\xff")))
    same(frame.array, GREY)


@pytest.mark.parametrize("form", ["GIF", "PNG", "WEBP"])
def test_an_animation_is_a_frame_a_picture(tmp_path: Path, form: str) -> None:
    pictures = [COLOUR // 64 * 64, COLOUR[::-1] // 64 * 64, 255 - COLOUR // 64 * 64]
    images = [Image.fromarray(p) for p in pictures]
    if form == "GIF":
        images = [image.quantize(256) for image in images]
        pictures = [np.asarray(image.convert("RGB")) for image in images]
    buffer = io.BytesIO()
    options = {"lossless": True, "exact": True} if form == "WEBP" else {}
    images[0].save(buffer, form, save_all=True, append_images=images[1:], **options)
    found = frames(tmp_path, buffer.getvalue())
    assert [frame.page for frame in found] == [0, 1, 2]
    for frame, picture in zip(found, pictures, strict=True):
        same(frame.array[..., :3], picture)


def test_jpeg_of_12_bits_and_without_loss(tmp_path: Path) -> None:
    deep = np.tile(np.arange(24, dtype=np.uint16) * 150, (20, 1))
    array = one(tmp_path, imagecodecs.jpeg8_encode(deep, bitspersample=12, level=100)).array
    assert array.dtype == np.uint16
    np.testing.assert_allclose(array.astype(int), deep, atol=40)
    same(one(tmp_path, imagecodecs.ljpeg_encode(deep)).array, deep)
    same(one(tmp_path, imagecodecs.jpegls_encode(GREY)).array, GREY)


def test_cmyk_jpeg_is_light_not_ink(tmp_path: Path) -> None:
    bright = np.full((16, 16, 4), (10, 20, 30, 0), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(bright, "CMYK").save(buffer, "JPEG", quality=100)
    np.testing.assert_allclose(one(tmp_path, buffer.getvalue()).array.astype(int), np.full((16, 16, 3), (245, 235, 225)), atol=4)


@pytest.mark.parametrize("array", [GREY, COLOUR, GREY.astype(np.uint16) * 257], ids=["grey", "rgb", "deep"])
@pytest.mark.parametrize("codec", ["jp2", "j2k"])
def test_jpeg_2000(tmp_path: Path, array: NDArray[Any], codec: str) -> None:
    same(one(tmp_path, imagecodecs.jpeg2k_encode(array, level=0, codecformat=codec, reversible=True)).array, array)


@pytest.mark.parametrize("array", [GREY, COLOUR, GREY > 99], ids=["grey", "rgb", "bit"])
def test_bmp(tmp_path: Path, array: NDArray[Any]) -> None:
    same(one(tmp_path, pillow(array, "BMP")).array, array.astype(np.uint8))


@pytest.mark.parametrize("array", [COLOUR, RGBA], ids=["rgb", "rgba"])
def test_webp(tmp_path: Path, array: NDArray[Any]) -> None:
    same(one(tmp_path, pillow(array, "WEBP", lossless=True, exact=True)).array, array)


def test_a_png_with_one_changed_byte_is_refused(tmp_path: Path) -> None:
    data = bytearray(imagecodecs.png_encode(DEEP))
    data[len(data) // 2] ^= 1
    with pytest.raises(InputError, match=r"x: the chunk b'IDAT' of the PNG has another checksum"):
        frames(tmp_path, bytes(data))
    with pytest.raises(InputError, match=r"x: the PNG ends before its last chunk: it is cut off"):
        frames(tmp_path, imagecodecs.png_encode(DEEP)[:-20])


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (imagecodecs.jpegxl_encode(GREY), "JPEG XL"),
        (imagecodecs.avif_encode(COLOUR), "AVIF or HEIF"),
        (bytes(128) + b"DICM", "DICOM"),
        (b"\x93NUMPY\x01\0", "NumPy"),
        (b"PK\x03\x04", "ZIP"),
        (b"<svg></svg>", "SVG"),
        (b"P5 2 2 255 ....", "PNM"),
    ],
)
def test_kinds_that_are_not_read_are_named(tmp_path: Path, data: bytes, kind: str) -> None:
    with pytest.raises(InputError, match=f"x.png: is a file of the kind {kind}, which is not read: expected PNG, JPEG"):
        frames(tmp_path, data, "x.png")
