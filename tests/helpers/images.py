"""Small image files of every kind that is read, drawn from random numbers."""

import io
import struct
import zlib
from collections.abc import Sequence
from typing import Any

import imagecodecs
import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image

RANDOM = np.random.default_rng(0)
GREY: NDArray[np.uint8] = RANDOM.integers(0, 256, (20, 24), np.uint8)
COLOUR: NDArray[np.uint8] = RANDOM.integers(0, 256, (20, 24, 3), np.uint8)


def tiff(array: NDArray[Any], **options: Any) -> bytes:
    """A TIFF in memory; plain unless `metadata`, `ome` or `imagej` say otherwise."""
    buffer = io.BytesIO()
    if not options.get("ome") and not options.get("imagej"):
        options.setdefault("metadata", None)
    options.setdefault("photometric", "minisblack")
    tifffile.imwrite(buffer, array, **options)
    return buffer.getvalue()


def pillow(array: NDArray[Any], form: str, **options: Any) -> bytes:
    """A file that Pillow writes."""
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, form, **options)
    return buffer.getvalue()


def png(rows: Sequence[bytes], width: int, bits: int, colour: int, height: int | None = None, more: bytes = b"") -> bytes:
    """A PNG of packed rows; `more` are chunks before the data, and a height may be claimed that is not there."""
    head = struct.pack(">IIBBBBB", width, height or len(rows), bits, colour, 0, 0, 0)
    data = zlib.compress(b"".join(b"\0" + row for row in rows))
    return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", head) + more + png_chunk(b"IDAT", data) + png_chunk(b"IEND", b"")


def png_chunk(kind: bytes, body: bytes) -> bytes:
    """A chunk of a PNG."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def packed(values: NDArray[Any], bits: int) -> list[bytes]:
    """Rows of numbers of so many bits, most significant first."""
    places = [format(int(value), f"0{bits}b") for value in values.ravel()]
    rows = ["".join(places[row * values.shape[1] : (row + 1) * values.shape[1]]) for row in range(len(values))]
    return [int(row.ljust(-(-len(row) // 8) * 8, "0"), 2).to_bytes(-(-len(row) // 8)) for row in rows]


def ome_xml(pixels: str, planes: str = "", channels: str = "", root: str = "") -> str:
    """OME-XML of one image of 24 x 20 pixels of 8 bits."""
    return (
        f'<?xml version="1.0" encoding="UTF-8"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" {root}><Image ID="Image:0" '
        f'Name="field"><Pixels ID="Pixels:0" DimensionOrder="XYZCT" Type="uint8" SizeX="24" SizeY="20" {pixels}>'
        f"{channels}{planes}</Pixels></Image></OME>"
    )


def of_every_kind() -> dict[str, bytes]:
    """Valid files by name."""
    stack = np.stack([GREY, GREY[::-1], 255 - GREY])
    return {
        "grey.png": pillow(GREY, "PNG"),
        "deep.png": imagecodecs.png_encode(COLOUR.astype(np.uint16) * 257),
        "table.png": png(packed(GREY // 16, 4), 24, 4, 3, more=png_chunk(b"PLTE", bytes(range(48)))),
        "moving.png": _animated("PNG"),
        "grey.jpg": pillow(GREY, "JPEG"),
        "colour.jpg": pillow(COLOUR, "JPEG", exif=_turned()),
        "deep.jpg": imagecodecs.jpeg8_encode(GREY.astype(np.uint16) * 16, bitspersample=12),
        "grey.gif": pillow(GREY, "GIF"),
        "moving.gif": _animated("GIF"),
        "colour.bmp": pillow(COLOUR, "BMP"),
        "colour.webp": pillow(COLOUR, "WEBP", lossless=True),
        "colour.jp2": imagecodecs.jpeg2k_encode(COLOUR),
        "plain.tif": tiff(GREY),
        "big.tif": tiff(GREY, bigtiff=True, byteorder=">"),
        "stack.tif": tiff(stack),
        "shaped.tif": tiff(stack, metadata={"axes": "ZYX"}),
        "lzw.tif": tiff(COLOUR, photometric="rgb", compression="lzw", predictor=True),
        "planar.tif": tiff(np.moveaxis(COLOUR, -1, 0), photometric="rgb", planarconfig="separate", compression="zlib"),
        "jpeg.tif": tiff(COLOUR, photometric="ycbcr", compression="jpeg"),
        "tiled.tif": tiff(np.tile(GREY, (3, 3)), tile=(32, 32), compression="zstd"),
        "float.tif": tiff(GREY.astype(np.float32), compression="lzma"),
        "twelve.tif": tiff(GREY.astype(np.uint16) * 16, bitspersample=12),
        "table.tif": tiff(GREY, photometric="palette", colormap=np.arange(768, dtype=np.uint16).reshape(3, 256) * 64),
        "imagej.tif": tiff(stack, imagej=True, metadata={"axes": "TYX", "unit": "um"}, resolution=(2, 2)),
        "image.ome.tif": tiff(stack, ome=True, metadata={"axes": "CYX", "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5}),
    }


def _animated(form: str) -> bytes:
    frames = [Image.fromarray(array) for array in (GREY, GREY // 2, 255 - GREY)]
    buffer = io.BytesIO()
    frames[0].save(buffer, form, save_all=True, append_images=frames[1:])
    return buffer.getvalue()


def _turned() -> Image.Exif:
    exif = Image.Exif()
    exif[274] = 6
    return exif
