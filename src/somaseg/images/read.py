"""Read image files frame by frame; which decoder reads a file is chosen by its content, never by its suffix."""

import struct
import warnings as python_warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from somaseg.errors import InputError, MissingExtraError
from somaseg.files import file_sha256
from somaseg.images.decoders.kinds import MICROSCOPES, RASTERS, READ, kind_of
from somaseg.images.decoders.raster import raster_frames
from somaseg.images.decoders.tiff import tiff_frames
from somaseg.images.depths import ALL, at_depth
from somaseg.images.find import IMAGE_SUFFIXES, TIFF_SUFFIXES, find_images
from somaseg.images.frame import Frame, frame_name, image_stem
from somaseg.images.microscopes import MICROSCOPE_SUFFIXES, microscope_frames
from somaseg.images.regions.lazy import LazyImage
from somaseg.images.regions.ome_zarr import zarr_frames, zarr_node, zarr_sha256

__all__ = [
    "DECODE_ERRORS",
    "IMAGE_SUFFIXES",
    "TIFF_SUFFIXES",
    "Frame",
    "find_images",
    "frame_name",
    "image_sha256",
    "image_stem",
    "read_frames",
    "read_image",
    "read_planes",
]

# What decoders raise on files that are cut off or were never images.
DECODE_ERRORS = (
    OSError,
    EOFError,
    ValueError,
    TypeError,
    IndexError,
    KeyError,
    SyntaxError,
    RuntimeError,
    struct.error,
    zlib.error,
    tifffile.TiffFileError,
)


def read_frames(path: str | Path, channel: str | None = None, depth: str = ALL) -> Iterator[Frame]:
    """Frames of an image file, read one by one, so that a long stack never fills the memory.

    A PNG, JPEG, BMP, WebP or JPEG 2000 is one frame, an animation one frame a picture. In a TIFF each step along an axis other than
    height, width, channel and sample (depth, time, unknown pages) is a frame; channels come last whatever their place in the file. In
    a microscope file each depth of each time point is a frame, and one scene follows another. An OME-TIFF in several files is read
    whole from any of them. An OME-Zarr image is a folder. See docs/files.md for every format, and what is made of palettes, alpha,
    orientation and the like.

    Args:
        path: the file.
        channel: name of the channel that is wanted, or its number from 0, or several with + between them, see `Frame.choose`; else all
            of them come, of at most four, and of more the first.
        depth: of each stack: `all` depths as frames of their own, the one of a number from 0, or the projection `max` or `mean`.

    Raises:
        InputError: naming the file, when it is missing, empty, cut off, too large or of no known format; when it has not the channel or
            the depth that is chosen.
        MissingExtraError: when it is a microscope file and the extra `bioio` is not installed.
    """
    for frame in at_depth(_decoded(Path(path), stored=False), depth):
        yield frame.choose(channel)


def read_image(path: str | Path, channel: str | None = None) -> Frame:
    """The only frame of a file; what it warns of is a warning of Python too.

    Raises:
        InputError: when the file cannot be read or holds several frames.
    """
    frames = read_frames(path, channel)
    first = next(frames)
    if first.page is not None:
        raise InputError(f"{path}: holds several frames, expected one: save the frames as files of their own")
    next(frames, None)  # a file that is cut off tells so after its last whole frame
    for warning in first.warnings:
        python_warnings.warn(f"{path}: {warning}", UserWarning, stacklevel=2)
    return first


def image_sha256(path: Path) -> str:
    """SHA-256 of what an image is read from: the content of its file, or of what makes up its folder.

    Raises:
        InputError: when it cannot be read.
    """
    return zarr_sha256(path) if zarr_node(path) == "image" else file_sha256(path)


def read_planes(path: str | Path) -> list[NDArray[Any]]:
    """The planes of a file as numbers, as label images want them: (H, W) or (H, W, C), upright.

    What is stored counts, not what a viewer shows: places in a palette rather than its colours, and white-is-zero not inverted.
    Reads all that `read_frames` reads, with any number of channels.

    Raises:
        InputError: naming the file, when it cannot be read.
        MissingExtraError: when it is a microscope file and the extra `bioio` is not installed.
    """
    return [np.asarray(frame.array) for frame in _decoded(Path(path), stored=True)]


def _decoded(path: Path, stored: bool) -> Iterator[Frame]:
    """Frames as the decoder of a file gives them. The one place where decoders are called."""
    try:
        if zarr_node(path) == "image":
            with _decoding(path, "OME-Zarr"):
                for frame in zarr_frames(path):
                    yield _guarded(frame, "OME-Zarr")
            return
        if path.is_dir():
            raise InputError(f"{path}: is a folder and no OME-Zarr image (none is told of in .zattrs or zarr.json): give image files")
        if not path.is_file():
            raise InputError(f"{path}: no such image file: check the path")
        if path.stat().st_size == 0:
            raise InputError(f"{path}: the image file is empty (0 bytes): copy it again or leave it out")
        kind = kind_of(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error}): check the file and its permissions") from error
    suffix = path.suffix.lower()
    # Nikon's old files are JPEG 2000 inside; what bears a suffix of a microscope and looks like no picture goes to bioio too.
    if kind in MICROSCOPES or (suffix in MICROSCOPE_SUFFIXES and kind in (None, "JPEG 2000")):
        yield from microscope_frames(path, MICROSCOPES.get(kind or "", suffix))
        return
    if kind not in READ:
        what = f"is a file of the kind {kind}, which is not read" if kind else "begins like no image that is read"
        raise InputError(f"{path}: {what}: expected {', '.join(READ)}; save it as TIFF or PNG, or copy it again if it is damaged")
    with _decoding(path, kind):
        for frame in raster_frames(path, kind, stored) if kind in RASTERS else tiff_frames(path, stored):
            yield _guarded(frame, kind)


def _guarded(frame: Frame, kind: str) -> Frame:
    """The frame, with errors that name the file when its regions are read."""
    image = frame.array
    return replace(frame, array=image.guarded(partial(_decoding, frame.path, kind))) if isinstance(image, LazyImage) else frame


@contextmanager
def _decoding(path: Path, kind: str) -> Iterator[None]:
    """Turn what decoders raise into errors that name the file."""
    try:
        yield
    except (InputError, MissingExtraError):
        raise
    except MemoryError as error:
        raise InputError(f"{path}: there is not enough memory to read it: cut it into tiles") from error
    except Exception as error:  # decoders raise what they like on a damaged file, without a common base
        raise InputError(f"{path}: cannot be read as {kind} ({_first_line(error)}): the file may be damaged or cut off") from error


def _first_line(error: BaseException) -> str:
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0][:300]
