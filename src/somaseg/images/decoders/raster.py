"""Pictures that are no TIFF: PNG, JPEG, GIF, BMP, WebP and JPEG 2000, with the pixels that the file states."""

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from PIL import BmpImagePlugin, GifImagePlugin, Image, ImageFile, Jpeg2KImagePlugin, JpegImagePlugin, PngImagePlugin, WebPImagePlugin

from somaseg.errors import InputError
from somaseg.images.decoders.colour import from_ink
from somaseg.images.frame import Alpha, Frame, Meaning, turned
from somaseg.images.limits import check_size

# The classes themselves: `Image.open` goes by suffix in part, tries other formats, and has a limit of its own.
READERS: dict[str, type[ImageFile.ImageFile]] = {
    "PNG": PngImagePlugin.PngImageFile,
    "JPEG": JpegImagePlugin.JpegImageFile,
    "GIF": GifImagePlugin.GifImageFile,
    "BMP": BmpImagePlugin.BmpImageFile,
    "WebP": WebPImagePlugin.WebPImageFile,
    "JPEG 2000": Jpeg2KImagePlugin.Jpeg2KImageFile,
}
ORIENTATION = 274  # the tag of EXIF
PNG_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by colour type
BYTES = {"1": 1, "L": 1, "P": 4, "LA": 2, "RGB": 3, "RGBA": 4, "CMYK": 4, "I;16": 2, "I;16B": 2, "I": 4, "F": 4}
SOF = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC} | {0xF7}  # markers of JPEG that begin a frame; the last is JPEG-LS


class JpegHeader(NamedTuple):
    """What a JPEG says of its one frame."""

    marker: int
    bits: int
    height: int
    width: int
    samples: int


def raster_frames(path: Path, kind: str, stored: bool = False) -> Iterator[Frame]:
    """Frames of a picture file: one, or those of an animation, each as a viewer shows it.

    Args:
        path: the file.
        kind: one of `READERS`.
        stored: whether places in a palette are wanted rather than their colours, and samples as they lie in the file.

    Raises:
        InputError: naming file and limit when it claims too many pixels. What the decoders raise is passed on.
    """
    if kind == "PNG":
        _check_png(path)
    decoded = _by_imagecodecs(path, kind)
    if decoded is not None:
        yield _frame(path, None, decoded, 1, ())
        return
    with path.open("rb") as file:
        image = READERS[kind](file)
        check_size(path, *image.size, BYTES.get(image.mode, 4))
        count = getattr(image, "n_frames", 1) if kind in ("PNG", "GIF", "WebP") else 1
        first_is_grey = image.mode in ("1", "L")
        for number in range(count):
            try:
                if number:
                    image.seek(number)
                    check_size(path, *image.size, BYTES.get(image.mode, 4))  # a frame of a GIF may reach beyond the first
                image.load()
            except EOFError as error:
                raise InputError(f"{path}: promises {count} frames, holds {number}: it may be cut off") from error
            orientation, warnings = _orientation(image) if kind in ("PNG", "JPEG", "WebP") else (1, ())
            array = _samples(image, path, kind, stored)
            if kind == "GIF" and first_is_grey and array.ndim == 3:
                array = array[..., 0]
            yield _frame(path, number if count > 1 else None, array, orientation, warnings)


def _frame(path: Path, page: int | None, array: NDArray[Any], orientation: int, warnings: tuple[str, ...]) -> Frame:
    channels = 1 if array.ndim == 2 else array.shape[2]
    meaning: Meaning = "colour" if channels in (3, 4) else "grey" if channels < 3 else "channels"
    alpha: Alpha | None = "straight" if channels in (2, 4) else None
    return Frame(path, page, turned(array, orientation), meaning=meaning, alpha=alpha, warnings=warnings)


def _samples(image: ImageFile.ImageFile, path: Path, kind: str, stored: bool) -> NDArray[Any]:
    """Pixels of a loaded picture: (H, W), or (H, W, C) of colours and alpha."""
    if image.mode in ("P", "PA"):
        return np.asarray(image) if stored else _of_palette(image)
    array = np.array(image)
    if image.mode == "1":
        array = array.astype(np.uint8)
    elif image.mode == "CMYK":
        array = from_ink(array)
    elif kind == "PNG" and image.mode in ("L", "I"):
        array = _png_grey(array, path)
    key = image.info.get("transparency")
    if key is not None and not stored and isinstance(key, int | tuple) and image.mode in ("1", "L", "RGB", "I;16"):
        hidden = (array == key).all(axis=-1) if array.ndim == 3 else array == key
        opaque = np.where(hidden, 0, np.iinfo(array.dtype).max).astype(array.dtype)
        array = np.dstack([array, opaque])
    return array


def _of_palette(image: Image.Image) -> NDArray[np.uint8]:
    """Colours of a picture with a palette, with an alpha channel where some entry is not opaque."""
    mode = "RGBA" if image.mode == "PA" or "transparency" in image.info else "RGB"
    colours = np.asarray(image.convert(mode))
    return colours[..., :3] if mode == "RGBA" and (colours[..., 3] == 255).all() else colours


def _png_grey(array: NDArray[Any], path: Path) -> NDArray[Any]:
    """Grey values of a PNG in the file's own numbers: Pillow spreads 2 and 4 bits over 0 to 255, and keeps 16 in 32."""
    bits = _png_header(path)[2]
    return array // (255 // (2**bits - 1)) if bits < 8 else array.astype(np.uint16) if bits == 16 else array


def _png_header(path: Path) -> tuple[int, int, int, int]:
    """Width, height, bits of a sample and colour type of a PNG."""
    with path.open("rb") as file:
        width, height, bits, colour = struct.unpack(">16x2I2B", file.read(26))
    return int(width), int(height), int(bits), int(colour)


def _check_png(path: Path) -> None:
    """Refuse a PNG whose data are not what its own checksums say, or that has no end; decoders let some of that pass.

    Raises:
        InputError: naming the file and the chunk.
    """
    with path.open("rb") as file:
        file.seek(8)
        kind = b""
        while kind != b"IEND":
            head = file.read(8)
            length, kind = struct.unpack(">I4s", head) if len(head) == 8 else (0, b"")
            checksum, left = zlib.crc32(kind), length
            while left > 0 and (data := file.read(min(left, 2**20))):
                checksum, left = zlib.crc32(data, checksum), left - len(data)
            found = file.read(4)
            if len(found) < 4:
                raise InputError(f"{path}: the PNG ends before its last chunk: it is cut off")
            if int.from_bytes(found) != checksum and (kind[:1].isupper() or kind == b"fdAT"):
                raise InputError(f"{path}: the chunk {kind!r} of the PNG has another checksum than it says: the file is damaged")


def _by_imagecodecs(path: Path, kind: str) -> NDArray[Any] | None:
    """Pixels of what Pillow narrows to 8 bits or refuses: 16-bit PNG with colours or alpha, other than 8-bit JPEG, JPEG 2000."""
    if kind == "PNG":
        width, height, bits, colour = _png_header(path)
        if bits < 16 or colour == 0:
            return None
        check_size(path, width, height, 2 * PNG_SAMPLES.get(colour, 4))
        return np.asarray(imagecodecs.png_decode(path.read_bytes()))
    if kind == "JPEG":
        header = _jpeg_header(path)
        if header is None or (header.bits == 8 and header.marker not in (0xC3, 0xF7)):
            return None
        check_size(path, header.width, header.height, 2 * header.samples)
        decode = imagecodecs.jpegls_decode if header.marker == 0xF7 else imagecodecs.jpeg_decode
        return np.asarray(decode(path.read_bytes()))
    if kind == "JPEG 2000":
        with path.open("rb") as file:
            image = Jpeg2KImagePlugin.Jpeg2KImageFile(file)
            check_size(path, *image.size, 4 * len(image.getbands()))
        return np.asarray(imagecodecs.jpeg2k_decode(path.read_bytes()))
    return None


def _jpeg_header(path: Path) -> JpegHeader | None:
    """The header of the first frame of a JPEG; None where there is none before its data."""
    with path.open("rb") as file:
        file.seek(2)
        while len(marker := file.read(2)) == 2 and marker[0] == 0xFF:
            if marker[1] == 0xFF:  # bytes that fill up
                file.seek(-1, 1)
                continue
            length = int.from_bytes(file.read(2))
            if marker[1] in SOF:
                fields = file.read(6)
                return JpegHeader(marker[1], *struct.unpack(">BHHB", fields)) if len(fields) == 6 else None
            if marker[1] == 0xDA or length < 2:
                return None
            file.seek(length - 2, 1)
    return None


def _orientation(image: Image.Image) -> tuple[int, tuple[str, ...]]:
    """How a loaded picture is stored (1 to 8), and what is wrong with its EXIF, which never costs the pixels."""
    try:
        found = image.getexif().get(ORIENTATION, 1)
    except Exception as error:  # a damaged EXIF block raises what it likes
        return 1, (f"its EXIF cannot be read ({type(error).__name__}): taken as upright",)
    return (int(found), ()) if isinstance(found, int) and 1 <= found <= 8 else (1, ())
