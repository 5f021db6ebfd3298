"""ImageJ's ROIs: a `.roi` of one, or the zip that the ROI manager saves."""

import contextlib
import json
import logging
import re
import struct
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import roifile
from numpy.typing import NDArray

from somaseg.annotations.foreign.kinds import ROI, is_entry
from somaseg.annotations.foreign.outlined import Outlined, finite_ring, number_from_0_to_1
from somaseg.errors import InputError
from somaseg.limits import limit

NAME = re.compile(r"\d+-(?=\D)(?P<name>.+)")  # as we write it; ImageJ's own names are numbers and hyphens alone
COUNT = re.compile(r"-\d+$")
DAMAGED = (ValueError, TypeError, IndexError, RuntimeError, NotImplementedError, struct.error, UnicodeDecodeError)
TYPE = roifile.ROI_TYPE
OUTLINES = (TYPE.POLYGON, TYPE.FREEHAND, TYPE.TRACED)
POINTS = {0.0: 1, 1.0: 1, 2.0: 2, 3.0: 3, 4.0: 0}  # of a segment of a path by its kind: move, line, square curve, cubic curve, end
PARTS = np.arange(1, 9)[:, None] / 8  # a curve becomes eight lines
LARGEST_OVAL = 65_536  # px of its height: each row is a ring


def read_rois(path: Path) -> list[Outlined]:
    """The ROIs of a file, in its order.

    The class of a ROI is its property `class`, else what stands behind number and hyphen in its name (`0012-astro`), else that of
    other ROIs of its group, else `group 3`. Points, lines and text have no area: they are unreadable.

    Raises:
        InputError: when the file is cut off, damaged or too large.
    """
    named = [(name, _decoded(path, name, data)) for name, data in _entries(path)]
    classes = _without_counts([_class_of(name, roi) for name, roi in named])
    of_group: dict[int, str] = {}
    for (_, roi), known in zip(named, classes, strict=True):
        if roi is not None and known is not None and roi.group:
            of_group.setdefault(roi.group, known)
    found = []
    for (name, roi), known in zip(named, classes, strict=True):
        if known is None and roi is not None and roi.group:
            known = of_group.get(roi.group, f"group {roi.group}")
        found.append(_outlined(path, name, roi, known))
    return found


def _entries(path: Path) -> list[tuple[str, bytes]]:
    """Names and contents of the ROIs of a file; what is packed is looked at before it is unpacked.

    Raises:
        InputError: see `read_rois`.
    """
    try:
        with path.open("rb") as file:
            if file.read(len(ROI)) == ROI:
                return [(path.stem, path.read_bytes())]
        with zipfile.ZipFile(path) as archive:
            entries = [entry for entry in archive.infolist() if is_entry(entry.filename)]
            size, most = sum(entry.file_size for entry in entries), limit("SOMASEG_MAX_BYTES")
            if size > most:
                raise InputError(f"{path}: holds {size:,} bytes of ROIs, the limit is {most:,}: set the variable SOMASEG_MAX_BYTES to more")
            return [(entry.filename.rpartition("/")[2][: -len(".roi")], archive.read(entry)) for entry in entries]
    except InputError:
        raise
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error}): check the path and its permissions") from error
    except (zipfile.BadZipFile, zlib.error, EOFError, ValueError, NotImplementedError, RuntimeError) as error:
        raise InputError(f"{path}: cannot be read as a zip of ROIs ({error}): it may be cut off, save it from ImageJ again") from error


def _decoded(path: Path, name: str, data: bytes) -> roifile.ImagejRoi | None:
    """A ROI; None where it is damaged."""
    logger = logging.getLogger("roifile")
    was, logger.disabled = logger.disabled, True  # what it warns of, `_outlined` tells
    try:
        return roifile.ImagejRoi.frombytes(data)
    except DAMAGED:
        return None
    finally:
        logger.disabled = was


def _class_of(entry: str, roi: roifile.ImagejRoi | None) -> str | None:
    """The class that properties or name of a ROI tell."""
    if roi is None:
        return None
    text = _property(roi, "class")
    if text and text.startswith('"'):
        with contextlib.suppress(ValueError):
            text = str(json.loads(text))
    named = NAME.fullmatch(roi.name or entry)
    return text or (named["name"] if named else None)


def _without_counts(classes: list[str | None]) -> list[str | None]:
    """Classes without the number that ImageJ puts behind a name that is there already: `astro-1` is `astro`, where others are."""
    there = set(classes)
    return [base if name is not None and (base := COUNT.sub("", name)) in there else name for name in classes]


def _property(roi: roifile.ImagejRoi, key: str) -> str | None:
    """A property as text; roifile would make numbers of names that are such."""
    lines = (line.partition(":") for line in roi.props.splitlines())
    return next((value.strip() for name, colon, value in lines if colon and name.strip() == key), None)


def _outlined(path: Path, name: str, roi: roifile.ImagejRoi | None, class_name: str | None) -> Outlined:
    place = f"ROI {name!r}"
    if roi is None:
        return Outlined(place, unreadable="is damaged: draw it again", raw={"roi": name})
    score = number_from_0_to_1(_property(roi, "score"), f"{path}: {place}")
    try:
        rings = _rings(roi)
    except DAMAGED as error:
        return Outlined(place, class_name=class_name, score=score, unreadable=str(error), raw={"roi": name})
    return Outlined(place, [rings], class_name, score)


def _rings(roi: roifile.ImagejRoi) -> list[NDArray[np.float64]]:
    """The rings of a ROI, in pixel corners.

    Raises:
        ValueError: when it has no area, or numbers that an image does not have.
    """
    if roi.shape_roi_size > 0 and roi.multi_coordinates is not None:
        return [finite_ring(points) for points in _paths(roi.multi_coordinates.tolist()) if len(points) > 2]
    if roi.subtype in (roifile.ROI_SUBTYPE.TEXT, roifile.ROI_SUBTYPE.IMAGE):
        raise ValueError("is a text or an image, which is no outline of a cell: delete it")
    if roi.roitype in (TYPE.RECT, TYPE.OVAL):
        left, top, width, height = map(float, (roi.left, roi.top, roi.right - roi.left, roi.bottom - roi.top))
        if roi.subpixelrect:
            left, top, width, height = roi.xd, roi.yd, roi.widthd, roi.heightd
        if roi.roitype == TYPE.OVAL:
            return _oval(left, top, width, height)
        return [finite_ring([[left, top], [left + width, top], [left + width, top + height], [left, top + height]])]
    if roi.options & roifile.ROI_OPTIONS.SPLINE_FIT:
        raise ValueError("is a fitted spline, of which the file holds no outline: in ImageJ, Edit > Selection > Interpolate")
    if roi.roitype not in OUTLINES or roi.integer_coordinates is None:
        raise ValueError(f"is of the kind {roi.roitype.name.lower()}, which has no area: outline the cell, or delete it")
    return [finite_ring(roi.coordinates())]


def _oval(left: float, top: float, width: float, height: float) -> list[NDArray[np.float64]]:
    """The pixels whose centres lie inside an ellipse, row by row, as ImageJ takes them; each row is a ring."""
    finite_ring([[left, top], [left + width, top + height], [left, top]])
    if min(width, height) <= 0 or height > LARGEST_OVAL:
        raise ValueError(f"is an oval of {width:g} x {height:g} pixels: draw it again")
    rows = np.arange(np.floor(top), np.ceil(top + height))
    inside = np.maximum(1 - ((rows + 0.5 - top - height / 2) / (height / 2)) ** 2, -1)
    half = width / 2 * np.sqrt(np.maximum(inside, 0))
    # A hair to the left on both sides, so that a centre on the line is inside.
    low, high = left + width / 2 - half - 1e-6, left + width / 2 + half + 1e-6
    return [
        np.array([[a, y], [b, y], [b, y + 1], [a, y + 1]])
        for a, b, y, kept in zip(low.tolist(), high.tolist(), rows.tolist(), (inside >= 0).tolist(), strict=True)
        if kept
    ]


def _paths(numbers: Sequence[float]) -> list[list[Any]]:
    """The lines of a path of ImageJ, which are closed wherever they end.

    Raises:
        ValueError: when it is cut off or has a segment of no known kind.
    """
    paths: list[list[Any]] = []
    at = 0
    while at < len(numbers):
        kind = numbers[at]
        points = POINTS.get(kind)
        if points is None or at + 2 * points >= len(numbers) or (kind != 0 and not paths):
            raise ValueError("has a path that is cut off: draw it again")
        given = np.array(numbers[at + 1 : at + 1 + 2 * points]).reshape(-1, 2)
        if kind == 0:
            paths.append([given[0]])
        elif kind != 4:
            paths[-1] += list(_curve(np.vstack([paths[-1][-1], given])) if len(given) > 1 else given)
        at += 1 + 2 * points
    return paths


def _curve(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """A Bézier curve of three or four points as lines, without its start (de Casteljau's way)."""
    stage = np.repeat(points[None], len(PARTS), axis=0)
    while stage.shape[1] > 1:
        stage = stage[:, :-1] + PARTS[:, None] * (stage[:, 1:] - stage[:, :-1])
    return stage[:, 0]
