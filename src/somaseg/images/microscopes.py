"""Planes of microscope files: Zeiss CZI, Leica LIF and Nikon ND2, read through bioio (the extra `bioio`).

What this was tried on: CZI files written by Zeiss's own library (stacks, channels, colours, tiles) and LIF files laid out by hand (stacks,
channels, scenes; bioio-lif refuses colours). No file from an instrument was at hand, and none at all for ND2: there only the part that
is ours was tried, on a stand-in for bioio.
"""

import importlib
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from somaseg.errors import InputError, MissingExtraError
from somaseg.images.decoders.units import square
from somaseg.images.frame import Frame, Meaning, Step
from somaseg.images.limits import check_planes, check_size
from somaseg.images.regions import lazy
from somaseg.images.regions.czi import czi_image
from somaseg.instances import Pixels

PLUGINS = {".czi": "bioio_czi", ".lif": "bioio_lif", ".nd2": "bioio_nd2"}
MICROSCOPE_SUFFIXES = tuple(PLUGINS)
# What bioio-czi and bioio-lif read at once: a plane, so that a long stack never fills the memory. "A" is the colour axis of CZI; left out,
# bioio-czi 3.0.1 gives the first colour three times. bioio-nd2 reads plane by plane as it is and has no such option.
PLANE_AXES = {".czi": {"chunk_dims": "YXSA"}, ".lif": {"chunk_dims": "YXS"}, ".nd2": {}}
NAMED = {"T": "t", "Z": "z"}  # axes whose steps have names
NO_EDGE = {".nd2": 1.0}  # µm, what bioio-nd2 says of a file without calibration


def microscope_frames(path: Path, suffix: str) -> Iterator[Frame]:
    """Frames of a microscope file.

    Each depth of each time point is a frame; scenes (positions) follow one another, and tiles are stitched as bioio does it. The
    page counts from 0 through the whole file and is None where the file holds one frame.

    Args:
        path: the file.
        suffix: one of `MICROSCOPE_SUFFIXES`, which says which plugin of bioio reads it.

    Raises:
        MissingExtraError: when the extra `bioio` is not installed.
        InputError: naming the file, when it cannot be read, holds no image, or has further axes.
    """
    plugin = PLUGINS[suffix]
    try:
        bio_image = importlib.import_module("bioio").BioImage
        reader = importlib.import_module(plugin).Reader
    except ImportError as error:
        raise MissingExtraError(plugin.replace("_", "-"), "bioio") from error
    try:
        yield from _frames(path, suffix, bio_image(path, reader=reader, **PLANE_AXES[suffix]))
    except (InputError, MemoryError):
        raise
    except Exception as error:  # the libraries behind bioio raise what they like on a damaged file, without a common base
        reason = (str(error).strip() or type(error).__name__).splitlines()[-1].strip(" -")  # bioio lists what was tried, a line each
        raise InputError(
            f"{path}: bioio cannot read it ({reason}): check the file, or save it as OME-TIFF in the microscope's software"
        ) from error


def _frames(path: Path, suffix: str, image: Any) -> Iterator[Frame]:
    """Frames of an opened `bioio.BioImage`."""
    if not image.scenes:
        raise InputError(f"{path}: holds no image: check the file")
    number = 0
    for scene, name in enumerate(image.scenes):
        image.set_scene(scene)
        of_scene = [Step("s", scene, len(image.scenes))] if len(image.scenes) > 1 else []
        _check_axes(path, name, image)
        order = "YXCS" if "S" in image.dims.order else "YXC"
        sizes = dict(zip(image.dims.order, image.dims.shape, strict=True))
        steps = {axis: n for axis, n in sizes.items() if axis not in order}
        check_planes(path, math.prod(steps.values()), "description")
        itemsize = np.dtype(getattr(image, "dtype", None) or np.uint16).itemsize
        pixel_bytes = itemsize * sizes.get("C", 1) * sizes.get("S", 1)
        by_region = suffix == ".czi" and sizes["X"] * sizes["Y"] * pixel_bytes > lazy.WHOLE_BYTES
        check_size(path, sizes["X"], sizes["Y"], pixel_bytes, by_region=by_region)
        single = math.prod(steps.values()) == len(image.scenes) == 1
        size, warnings = square(*(_edge(edge, suffix) for edge in (image.physical_pixel_sizes.X, image.physical_pixel_sizes.Y)))
        names = tuple(map(str, getattr(image, "channel_names", None) or ()))
        for place in np.ndindex(*steps.values()):
            at = dict(zip(steps, place, strict=True))
            array: Pixels | None = czi_image(path, scene, at, sizes, image.dtype) if by_region else None
            array = _plane(path, image, order, at, pixel_bytes) if array is None else array
            channels = 1 if array.ndim == 2 else array.shape[2]
            meaning: Meaning = "grey" if channels == 1 else "colour" if sizes.get("C", 1) == 1 and channels == 3 else "channels"
            own = names if len(names) == channels else ()
            named = [Step(NAMED.get(axis, ""), i, n) for (axis, n), i in zip(steps.items(), place, strict=True) if n > 1]
            told = (*of_scene, *named)
            yield Frame(path, None if single else number, array, size, meaning, channels=own, warnings=warnings, steps=told)
            number += 1


def _plane(path: Path, image: Any, order: str, at: dict[str, int], pixel_bytes: int) -> NDArray[Any]:
    """All pixels of a frame, (H, W) or (H, W, C)."""
    sizes = dict(zip(image.dims.order, image.dims.shape, strict=True))
    check_size(path, sizes["X"], sizes["Y"], pixel_bytes)
    plane = image.get_image_dask_data(order, **at)
    array = np.asarray(plane.compute(scheduler="synchronous"))  # a single read, which threads would not speed up
    array = array.reshape(*array.shape[:2], -1)
    return array[..., 0] if array.shape[2] == 1 else array


def _edge(edge: float | None, suffix: str) -> float | None:
    return float(edge) if edge and edge > 0 and edge != NO_EDGE.get(suffix) else None


def _check_axes(path: Path, name: str, image: Any) -> None:
    """Refuse what would not become frames; bioio takes the first of further axes (phases, angles) unasked."""
    sizes = dict(zip(image.reader.dims.order, image.reader.dims.shape, strict=True))
    further = {axis: n for axis, n in sizes.items() if n > 1 and axis not in "MTCZYXS"}
    if further:
        raise InputError(
            f"{path}: scene {name} has further axes {further}, expected time, depth and channels: save one of each as OME-TIFF"
        )
