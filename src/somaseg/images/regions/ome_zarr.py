"""Frames of OME-Zarr images, which are folders: versions 0.1 to 0.5, of which the largest level is read."""

import hashlib
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from somaseg.errors import InputError
from somaseg.images.decoders.units import in_microns, square
from somaseg.images.frame import Frame, Meaning, Step
from somaseg.images.limits import check_planes, check_size
from somaseg.images.regions import lazy
from somaseg.images.regions.lazy import Box, LazyImage
from somaseg.images.regions.zarr_array import ZarrArray, read_json

Node = Literal["image", "group", "array"]
OLD_AXES = "tczyx"  # of versions 0.1 and 0.2, which do not name them


def zarr_node(folder: Path) -> Node | None:
    """What a folder is of a Zarr store: an image, a group of others, or an array; None where it is no part of one.

    One whose description is damaged counts as an image, so that reading it tells what is wrong.
    """
    try:
        newer = read_json(folder / "zarr.json")
        if newer is None and not (folder / ".zgroup").is_file():
            return "array" if (folder / ".zarray").is_file() else None
        if newer is not None and newer.get("node_type") == "array":
            return "array"
        return "image" if _about(folder).get("multiscales") else "group"
    except InputError:
        return "image"
    except OSError:
        return None


def zarr_frames(folder: Path) -> Iterator[Frame]:
    """Frames of an OME-Zarr image: each step along an axis other than height, width and channel is one.

    Raises:
        InputError: naming the file and the field, when it cannot be read.
    """
    about, scales, level = _largest(folder)
    try:
        array = ZarrArray(folder / str(level["path"]))
        axes = _axes(scales, len(array.shape))
        size, warnings = square(*_edges(scales, level, axes))
        labels = [str(one.get("label", "")) for one in (about.get("omero") or {}).get("channels", ())]
    except (KeyError, TypeError, IndexError, AttributeError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{folder}: multiscales: {type(error).__name__}: {error}: the description of the image is damaged") from error
    sizes = dict(zip(axes, array.shape, strict=True))
    outer = {axis: n for axis, n in sizes.items() if axis not in "yxc"}
    channels = sizes.get("c", 1)
    check_planes(folder, math.prod(outer.values()), "description")
    frame_bytes = math.prod((sizes["y"], sizes["x"], channels)) * array.dtype.itemsize
    by_region = frame_bytes > lazy.WHOLE_BYTES
    check_size(folder, sizes["x"], sizes["y"], channels * array.dtype.itemsize, by_region=by_region)
    check_size(folder, array.chunk_bytes, 1, 1)
    names = tuple(labels) if len(labels) == channels and any(labels) else ()
    meaning: Meaning = "channels" if channels > 1 else "grey"
    for page, place in enumerate(np.ndindex(*outer.values())):
        steps = dict(zip(outer, place, strict=True))
        image = _image(folder, array, axes, sizes, steps)
        whole: Any = image if by_region else np.asarray(image)
        at = tuple(Step(axis if axis in "tz" else "", steps[axis], n) for axis, n in outer.items() if n > 1)
        yield Frame(folder, page if at else None, whole, size, meaning, None, names, warnings, at)


def zarr_sha256(folder: Path) -> str:
    """SHA-256 of what an image is read from: its description, and the files of its largest level with their names.

    Raises:
        InputError: when it cannot be read.
    """
    digest = hashlib.sha256()
    level = folder / str(_largest(folder)[2]["path"])
    files = [file for name in (".zattrs", "zarr.json") if (file := folder / name).is_file()]
    for parent, folders, names in os.walk(level):
        folders.sort()
        files += [Path(parent, name) for name in sorted(names)]
    try:
        for file in files:
            digest.update(f"{file.relative_to(folder).as_posix()}\0{file.stat().st_size}\0".encode())
            with file.open("rb") as opened:
                digest.update(hashlib.file_digest(opened, "sha256").digest())
    except OSError as error:
        raise InputError(f"{folder}: cannot be read ({error.strerror}): check the folder and its permissions") from error
    return digest.hexdigest()


def _about(folder: Path) -> dict[str, Any]:
    """What the description of a group tells of images."""
    newer = read_json(folder / "zarr.json")
    if newer is None:
        return read_json(folder / ".zattrs") or {}
    attributes = newer.get("attributes") or {}
    about = attributes.get("ome", attributes) if isinstance(attributes, dict) else {}
    return about if isinstance(about, dict) else {}


def _largest(folder: Path) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """What a group tells of its images, of the first of them, and of the largest level of that."""
    about = _about(folder)
    try:
        scales = about["multiscales"][0]
        level = scales["datasets"][0]
        if not isinstance(level["path"], str) or ".." in Path(level["path"]).parts or Path(level["path"]).is_absolute():
            raise ValueError(f"path: found {level['path']!r}, expected that of a folder below the image")
    except (KeyError, TypeError, IndexError, AttributeError, ValueError) as error:
        raise InputError(f"{folder}: multiscales: {type(error).__name__}: {error}: the description of the image is damaged") from error
    return about, scales, level


def _axes(scales: dict[str, Any], count: int) -> str:
    """One letter an axis, in the order of the array."""
    named = scales.get("axes")
    axes = OLD_AXES[-count:] if named is None else "".join(str(a if isinstance(a, str) else a["name"])[:1].lower() for a in named)
    if len(axes) != count or len(set(axes)) != count or not {"y", "x"} <= set(axes):
        raise InputError(f"axes: found {named} for {count} dimensions, expected height, width and others by name")
    return axes


def _edges(scales: dict[str, Any], level: dict[str, Any], axes: str) -> tuple[float | None, float | None]:
    """Width and height of a pixel in µm, where units are told."""
    named = scales.get("axes") or ()
    edges: list[float | None] = []
    for axis in "xy":
        at = axes.index(axis)
        unit = named[at].get("unit", "") if at < len(named) and isinstance(named[at], dict) else ""
        steps = [t["scale"][at] for of in (level, scales) for t in of.get("coordinateTransformations", ()) if t.get("type") == "scale"]
        edges.append(in_microns(math.prod(map(float, steps)), str(unit)) if steps else None)
    return edges[0], edges[1]


def _image(folder: Path, array: ZarrArray, axes: str, sizes: dict[str, int], steps: dict[str, int]) -> LazyImage:
    """One step of an array as an image (H, W), or (H, W, C) with several channels."""

    def read(box: Box, channel: int | None = None) -> NDArray[Any]:
        x0, y0, x1, y1 = box
        several = slice(0, sizes["c"]) if sizes.get("c", 1) > 1 and channel is None else channel or 0
        wanted = {"x": slice(x0, x1), "y": slice(y0, y1), "c": several, **steps}
        region = array.read([wanted[axis] for axis in axes])
        kept = [axis for axis in axes if isinstance(wanted[axis], slice)]
        region = region.transpose([kept.index(axis) for axis in "yxc" if axis in kept])
        return np.ascontiguousarray(region.astype(np.uint8) if region.dtype == np.bool_ else region)

    def check() -> None:
        check_size(folder, sizes["x"], sizes["y"], array.dtype.itemsize * sizes.get("c", 1))

    size = (sizes["y"], sizes["x"])
    dtype = np.dtype(np.uint8) if array.dtype == np.bool_ else array.dtype.newbyteorder("=")
    image = LazyImage((*size, *([sizes["c"]] if sizes.get("c", 1) > 1 else [])), dtype, read, check=check)
    image.split_by(lambda n: LazyImage(size, dtype, lambda box: read(box, n), check=check))
    return image
