"""Frames of a TIFF, of any kind of it: plain, OME (also in several files), ImageJ, LSM, BigTIFF."""

import logging
import math
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from somaseg.errors import InputError
from somaseg.images.decoders.ome import OmeImage, files_of, is_ome, parse_ome
from somaseg.images.decoders.stacks import (
    INNER,
    Stack,
    channels_last,
    imagej_stack,
    promised_planes,
    read_page,
    regions_of,
    series_stack,
    stored_together,
)
from somaseg.images.decoders.tiff_pages import Samples, as_shown, count_pages
from somaseg.images.decoders.tiff_regions import by_regions
from somaseg.images.decoders.units import in_microns, square
from somaseg.images.frame import Frame, Step, several
from somaseg.images.limits import check_planes, check_size
from somaseg.images.regions import lazy

logging.getLogger("tifffile").addHandler(logging.NullHandler())  # what it logs of a file is told as a warning or an error of that file
LARGEST_EDGE = 10.0  # µm; resolutions that make pixels larger are settings of screens and printers
CM, INCH = 3, 2  # of ResolutionUnit
NAMED = {"T": "t", "Z": "z"}  # axes whose steps have names


def tiff_frames(path: Path, stored: bool = False) -> Iterator[Frame]:
    """Frames of a TIFF, plane by plane.

    Each step along an axis other than height, width, channel and sample is a frame; channels come last whatever their place in the file.

    Args:
        path: the file.
        stored: whether places in a palette are wanted rather than their colours, and values of white-is-zero images as they are.

    Raises:
        InputError: naming the file: what is wrong with it. What the decoders raise is passed on.
    """
    with ExitStack() as opened:
        tif = opened.enter_context(_open(path))
        pages = count_pages(path, tif)
        first = tif.pages.first
        description = first.description
        warnings: tuple[str, ...] = ()
        images: list[OmeImage] = []
        if is_ome(description):
            try:
                images = parse_ome(path, description)
            except ValueError as error:
                if isinstance(error, InputError):
                    raise
                warnings = (f"its OME description is left out: {error}",)
        if images:
            frames = _ome_frames(path, tif, images, opened, stored)
        else:
            width, height, told = _edges(tif)
            size, odd = square(width, height)
            warnings += told + odd
            frames = (replace(frame, pixel_size=size) for frame in _plain_frames(path, tif, abs(pages), stored))
        for frame in frames:
            yield replace(frame, warnings=warnings + frame.warnings) if warnings else frame
        if pages < 0:
            raise InputError(f"{path}: the list of its pages breaks off after {-pages}: the file is cut off")


def _open(path: Path) -> tifffile.TiffFile:
    # OME is read by `decoders.ome`, which bounds what a description may promise; the other two look for files by themselves.
    return tifffile.TiffFile(path, is_ome=False, is_ndtiff=False, is_mmstack=False)


def _frames_of(path: Path, stack: Stack, stored: bool) -> Iterator[Frame]:
    """Frames of a stack, numbered from 0; one is not read before the one before it was taken."""
    lead, lead_shape = stack.axes[: len(stack.axes) - stack.inner], stack.shape[: len(stack.shape) - stack.inner]
    numbers = np.arange(math.prod(lead_shape)).reshape(lead_shape)
    steps = [1 if axis in INNER else n for axis, n in zip(lead, lead_shape, strict=True)]
    axes = "".join(axis for axis in stack.axes if axis in INNER)
    sizes = dict(zip(stack.axes, stack.shape, strict=True))
    pixel_bytes = np.dtype(stack.page.dtype).itemsize * sizes.get("C", 1) * sizes.get("S", 1)
    by_region = stack.regions is not None and sizes["X"] * sizes["Y"] * pixel_bytes > lazy.WHOLE_BYTES
    check_size(path, sizes["X"], sizes["Y"], pixel_bytes, by_region=by_region)
    has = {axis: sizes.get(axis, 1) > 1 for axis in "CS"}

    def shown_of(wanted: NDArray[Any], planes: list[NDArray[Any]]) -> Samples:
        array = planes[0] if len(planes) == 1 else np.stack(planes)
        array = channels_last(array.reshape(*np.shape(wanted), *planes[0].shape), axes)
        return as_shown(path, array, stack.page, has["C"], has["S"], stored)

    for page, place in enumerate(np.ndindex(*steps)):
        at = tuple(Step(NAMED.get(axis, ""), i, n) for axis, i, n in zip(lead, place, steps, strict=True) if n > 1)
        index = tuple(slice(None) if axis in INNER else i for i, axis in zip(place, lead, strict=True))
        wanted = numbers[index]
        if by_region:
            yield replace(by_regions(path, page, stack, wanted, shown_of), steps=at)
            continue
        shown = shown_of(wanted, [stack.plane(int(n)) for n in np.ravel(wanted)])
        count = 1 if shown.array.ndim == 2 else shown.array.shape[2]
        yield Frame(path, page, shown.array, None, shown.meaning, shown.alpha, stack.names(count), shown.warnings, at)


def _numbered(frames: Iterator[tuple[bool, Frame]]) -> Iterator[Frame]:
    """Number the frames of all stacks of a file; the one frame of a file has no number."""
    for page, (alone, frame) in enumerate(frames):
        yield replace(frame, page=None if alone else page)


# Files of all kinds but OME.


def _plain_frames(path: Path, tif: tifffile.TiffFile, pages: int, stored: bool) -> Iterator[Frame]:
    """Frames of the series that tifffile finds."""
    promised = promised_planes(tif)
    check_planes(path, promised, "ImageJ description")
    first = tif.pages.first
    if tif.is_imagej and promised > pages and stored_together(first):
        stacks = [imagej_stack(path, tif, promised)]
    else:
        series = [one for one in tif.series if not one.keyframe.is_reduced and not one.keyframe.is_mask]
        stacks = [series_stack(path, one, pages) for one in series]
    if not stacks:
        raise InputError(f"{path}: the TIFF holds no image: check the file")
    alone = len(stacks) == 1 and stacks[0].frames == 1
    of_stack = [Step("", n, len(stacks)) for n in range(len(stacks))] if len(stacks) > 1 else []
    frames = ((n, frame) for n, stack in enumerate(stacks) for frame in _frames_of(path, stack, stored))
    yield from _numbered((alone, replace(frame, steps=(*of_stack[n : n + 1], *frame.steps))) for n, frame in frames)
    if tif.is_imagej and first.samplesperpixel == 1 and (held := sum(stack.planes for stack in stacks)) < promised:
        raise InputError(f"{path}: promises {promised} planes, holds {held}: it is cut off, or its description is that of another file")


# OME: one image may lie in several files.


def _ome_frames(path: Path, tif: tifffile.TiffFile, images: list[OmeImage], opened: ExitStack, stored: bool) -> Iterator[Frame]:
    """Frames of the images that an OME description tells of, each plane from the file that holds it."""
    named = files_of(images)
    there = [name for name in named if (path.parent / name).is_file()]
    # A file that was renamed has its old name in its description.
    alone = not there and len(named) == 1 and all(name is not None for image in images for name, _ in image.places.values())
    missing = [] if alone else [name for name in named if name not in there]
    pages_of: dict[str | None, Any] = {None: (path, tif.pages, abs(count_pages(path, tif)))}
    if alone:
        pages_of[named[0]] = pages_of[None]
    for name in there:
        other = path.parent / name
        part = opened.enter_context(_open(other))
        pages_of[name] = (other, part.pages, abs(count_pages(other, part)))
    warnings = (f"part of a set of {len(named) + 1} files, missing: {several(missing)}",) if missing else ()

    def page_at(image: OmeImage, place: tuple[int, ...]) -> Any:
        name, number = image.places[place]
        file, pages, count = pages_of[name]
        if number >= count:
            raise InputError(f"{path}: its OME description promises {image.planes} planes, {file.name} has {count} pages: it is cut off")
        return file, pages[number], number, count

    wholes = [_ome_places(image, pages_of) for image in images]
    if not any(whole for whole, _ in wholes):
        raise InputError(
            f"{path}: none of the planes of its OME description is there: check the file" + "".join(f"; {w}" for w in warnings)
        )
    single = sum(len(whole) for whole, _ in wholes) == 1 and not missing
    number = 0
    for scene, (image, (whole, lost)) in enumerate(zip(images, wholes, strict=True)):
        of_scene = [Step("s", scene, len(images))] if len(images) > 1 else []
        axes_of_image = list(zip(image.axes, image.shape, strict=True))
        size, odd = square(image.width, image.height)
        told = (*warnings, *odd, *((f"{lost} of {image.planes} planes are in no file that is there",) if lost and not missing else ()))
        for places in whole:
            found = [page_at(image, place) for place in places]
            page = found[0][1]
            axes, shape = ("C" if len(places) > 1 else "") + page.axes, ((len(places),) if len(places) > 1 else ()) + page.shape
            if "Z" in page.axes or len({one.shape for _, one, _, _ in found if one is not None}) > 1:
                raise InputError(f"{path}: planes of its OME description differ in size or are volumes: save them as plain pages")
            stack = Stack(
                *(axes, shape, page.ndim, lambda n, found=found: read_page(*found[n]), page, image.channels),
                regions_of(path, page.keyframe, found.__getitem__),
            )
            for frame in _frames_of(path, stack, stored):
                at = [Step(NAMED[a], i, n) for (a, n), i in zip(axes_of_image, places[0], strict=True) if a in NAMED and n > 1]
                steps = (*of_scene, *at)
                yield replace(frame, page=None if single else number, pixel_size=size, warnings=told + frame.warnings, steps=steps)
                number += 1


def _ome_places(image: OmeImage, there: dict[str | None, Any]) -> tuple[list[list[tuple[int, ...]]], int]:
    """Steps of the planes of each frame that is there with all its channels, and how many planes are not."""
    c = image.axes.index("C")
    of_step: dict[tuple[int, ...], list[tuple[int, ...]]] = {}
    for place in sorted(place for place, (name, _) in image.places.items() if name in there):
        of_step.setdefault(place[:c] + place[c + 1 :], []).append(place)
    whole = [places for _, places in sorted(of_step.items()) if len(places) == image.shape[c]]
    return whole, image.planes - sum(map(len, of_step.values()))


# Sizes of pixels.


def _edges(tif: tifffile.TiffFile) -> tuple[float | None, float | None, tuple[str, ...]]:
    """Width and height of a pixel in µm, of a TIFF that is no OME; None where it does not tell."""
    if tif.is_lsm and tif.lsm_metadata:
        width, height = (in_microns(tif.lsm_metadata.get(f"VoxelSize{axis}"), "m") for axis in "XY")
        return width, height, ()
    tags = tif.pages.first.tags
    per_unit = [_per_unit(tags.get(name)) for name in ("XResolution", "YResolution")]
    about = tif.imagej_metadata or {}
    if "unit" in about:
        units = [str(about["unit"]), str(about.get("yunit", about["unit"]))]
        edges = [in_microns(1 / n, unit) if n else None for n, unit in zip(per_unit, units, strict=True)]
        return edges[0], edges[1], ()
    tag = tags.get("ResolutionUnit")
    unit = {CM: "cm", INCH: "in"}.get(int(tag.value) if tag is not None and isinstance(tag.value, int) else 0, "")
    width, height = (in_microns(1 / n, unit) if n else None for n in per_unit)
    return (width, height, ()) if width and height and max(width, height) <= LARGEST_EDGE else (None, None, ())


def _per_unit(tag: Any) -> float | None:
    """Pixels in a unit of length, from a resolution; None where it is none."""
    value = tag.value if tag is not None else None
    if not isinstance(value, tuple) or len(value) != 2 or not all(isinstance(n, int) and n > 0 for n in value):
        return None
    return float(value[0] / value[1])
