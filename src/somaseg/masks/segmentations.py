"""COCO segmentations of any kind as compressed counts: polygons in every nesting, run-length codes as lists and text."""

import reprlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from faster_coco_eval.core import mask as coco_mask
from numpy.typing import NDArray

from somaseg.masks.crops import Size
from somaseg.masks.rle import text_of_coco_rle

Polygon = NDArray[np.float64]
MARGIN = 2  # pixels beyond the image to which far polygons are cut: nothing of the border changes
SHORT_OUTLINE = 2_000
LONGEST_OUTLINE = 1_000_000  # pixels; the rasteriser keeps five points a pixel


class Rasterised(NamedTuple):
    """A segmentation as compressed counts.

    Attributes:
        text: COCO's compressed counts over the columns of the image.
        bad_pieces: what is wrong with polygons that were left out, one text each.
        outside: how far polygons reach beyond the image by more than a pixel, which is the rounding of tools; None where none does.
        outline: at most so many pixels of outlines were walked.
    """

    text: bytes
    bad_pieces: tuple[str, ...] = ()
    outside: str | None = None
    outline: float = 0


def rasterised(segmentation: Any, size: Size) -> Rasterised:
    """The compressed counts of a segmentation: an RLE, or polygons as a list of lists, of points, or one flat list.

    Polygons are rasterised as COCO's own tools do, and their union is taken; what lies outside the image is cut off. A piece that
    is no polygon (an odd number of coordinates, fewer than three points, one that is no finite number) is left out.

    Args:
        segmentation: as it stands in the file.
        size: (height, width) of the image.

    Raises:
        ValueError: when it is neither, or no piece of it is a polygon.
        KeyError: when an RLE lacks its size or its counts.
    """
    if isinstance(segmentation, Mapping):
        return Rasterised(text_of_coco_rle(segmentation, size))
    if not isinstance(segmentation, list) or not segmentation:
        raise ValueError(f"found {reprlib.repr(segmentation)}, expected polygons or an RLE")
    pieces: list[Polygon] = []
    bad: list[str] = []
    outside, outline = None, 0.0
    for number, piece in enumerate(_pieces(segmentation)):
        try:
            polygon = _polygon(piece)
            outside = outside or _outside(polygon, size)
            pieces.append(_near(polygon, size))
            outline += _outline_length(pieces[-1])
        except ValueError as error:
            bad.append(f"piece {number}: {error}")
    if not pieces:
        raise ValueError("; ".join(bad[:3]))
    inside = [piece.tolist() for piece in pieces if len(piece)]
    if not inside:
        return Rasterised(_background(size), tuple(bad), outside, outline)
    codes = coco_mask.frPyObjects(inside, *size)
    text = (codes[0] if len(codes) == 1 else coco_mask.merge(codes))["counts"]
    return Rasterised(bytes(text), tuple(bad), outside, outline)


def _pieces(segmentation: list[Any]) -> list[Any]:
    """The polygons of a list of lists; a flat list of numbers, or a list of three or more points, is one polygon."""
    if not any(isinstance(part, (list, tuple)) for part in segmentation):
        return [segmentation]
    if len(segmentation) > 2 and all(_is_point(part) for part in segmentation):
        return [segmentation]
    return segmentation


def _is_point(part: Any) -> bool:
    return isinstance(part, (list, tuple)) and len(part) == 2 and not any(isinstance(number, (list, tuple, dict)) for number in part)


def _polygon(piece: Any) -> Polygon:
    """x, y, x, y, ... of one polygon, closed or not.

    Raises:
        ValueError: telling what it is instead.
    """
    if not isinstance(piece, (list, tuple)):
        raise ValueError(f"found {reprlib.repr(piece)}, expected a polygon")
    try:
        numbers = np.asarray(piece, np.float64)
    except (ValueError, TypeError, OverflowError) as error:
        raise ValueError(f"found {reprlib.repr(piece)} ({str(error).partition('.')[0]}), expected x, y of a polygon") from error
    if numbers.ndim == 2 and numbers.shape[1] == 2:
        numbers = numbers.ravel()
    if numbers.ndim != 1 or len(numbers) < 6 or len(numbers) % 2 or not np.isfinite(numbers).all():
        raise ValueError(f"a polygon of {numbers.size} numbers, expected finite x, y of three or more points")
    return numbers


def _outside(polygon: Polygon, size: Size) -> str | None:
    x, y = polygon[0::2], polygon[1::2]
    if x.min() < -1 or y.min() < -1 or x.max() > size[1] + 1 or y.max() > size[0] + 1:
        return f"x {x.min():g} to {x.max():g}, y {y.min():g} to {y.max():g} reach beyond {size[1]} x {size[0]} pixels"
    return None


def _near(polygon: Polygon, size: Size) -> Polygon:
    """A polygon as it can be rasterised: where it reaches further than the image is large, cut to the image and a margin.

    Raises:
        ValueError: when its outline is longer than that of anything in an image.
    """
    x, y = polygon[0::2], polygon[1::2]
    height, width = size
    if x.min() < -width or y.min() < -height or x.max() > 2 * width or y.max() > 2 * height:
        points = np.stack([x, y], axis=1).clip(-1e12, 1e12)
        for axis, edge, sign in ((0, -MARGIN, 1), (0, width + MARGIN, -1), (1, -MARGIN, 1), (1, height + MARGIN, -1)):
            points = _cut(points, axis, edge, sign)
        polygon = points.ravel() if len(points) > 2 else np.zeros(0)
    if len(polygon) * 3 * max(size) > LONGEST_OUTLINE and (length := _outline_length(polygon)) > LONGEST_OUTLINE:
        raise ValueError(f"an outline of {length:.0f} pixels, the limit is {LONGEST_OUTLINE}")
    return polygon


def _outline_length(polygon: Polygon) -> float:
    """At most so many pixels are on the outline of a polygon; counted where it may be long."""
    if not len(polygon):
        return 0
    most = len(polygon) / 2 * float(polygon.max() - polygon.min())
    if most < SHORT_OUTLINE:
        return most
    steps = np.diff(polygon.reshape(-1, 2), axis=0, append=polygon[None, :2])
    return float(np.abs(steps).max(axis=1).sum())


def _cut(points: NDArray[np.float64], axis: int, edge: float, sign: int) -> NDArray[np.float64]:
    """The part of a polygon (n, 2) on one side of a line along an axis (Sutherland and Hodgman 1974)."""
    if not len(points):
        return points
    depth = sign * (points[:, axis] - edge)
    following, next_depth = np.roll(points, -1, axis=0), np.roll(depth, -1)
    crosses = (depth < 0) != (next_depth < 0)
    share = np.where(crosses, depth / np.where(crosses, depth - next_depth, 1), 0)[:, None]
    corners = np.stack([points, points + share * (following - points)], axis=1).reshape(-1, 2)
    kept: NDArray[np.float64] = corners[np.stack([depth >= 0, crosses], axis=1).ravel()]
    return kept


def _background(size: Size) -> bytes:
    return bytes(coco_mask.frPyObjects({"size": [*size], "counts": [size[0] * size[1]]}, *size)["counts"])
