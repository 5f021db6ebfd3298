"""Outlined cells as ImageJ and QuPath save them, before their image's size and classes are known."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from somaseg.annotations.coco_document import UNKNOWN
from somaseg.annotations.samples import Problem, ProblemKind
from somaseg.classes import plain
from somaseg.errors import InputError
from somaseg.instances import Instances
from somaseg.limits import MaskBudget
from somaseg.masks.crops import EMPTY_BOX, Boxes, Mask, Size
from somaseg.masks.pixel_edges import crop_from_rings

Rings = Sequence[NDArray[np.float64]]
Crop = tuple[tuple[int, int, int, int], Mask]
FARTHEST = 1e7  # px; no image has pixels there, and products of such numbers are still exact enough
DEFAULT_CLASS = "cell"
SEVERAL = 2  # objects in a drawing without a class that make it a region
NOTHING: Crop = (EMPTY_BOX, np.zeros((0, 0), bool))


@dataclass(frozen=True)
class Outlined:
    """One object of a file.

    Attributes:
        place: where it stands, for messages.
        polygons: one a piece, each of rings (n, 2) of x, y of pixel corners; a pixel is in a piece that lies inside an odd number of its
            rings, and in the object when it is in one of its pieces.
        class_name: None where it has none.
        score: 0 to 1.
        ignored: whether it is a region that may be a cell or not.
        unclassed_drawing: whether a person drew it and gave it no class: a cell, or a region round the cells that were looked at.
        unreadable: why it is no cell; None where it is one.
        raw: what of it is kept aside where it is unreadable.
    """

    place: str
    polygons: Sequence[Rings] = ()
    class_name: str | None = None
    score: float = 1.0
    ignored: bool = False
    unclassed_drawing: bool = False
    unreadable: str | None = None
    raw: Any = None


class Cells(NamedTuple):
    """Cells and ignored regions of an image, and what is wrong with them."""

    instances: Instances
    ignored: Instances
    problems: list[Problem]


def cells_of(path: Path, name: str, objects: Sequence[Outlined], size: Size, classes: Sequence[str] = ()) -> Cells:
    """The cells that objects are in an image of `size`.

    Args:
        path: the file.
        name: of the image.
        objects: in the order of the file; cells keep it.
        size: (height, width).
        classes: those that are known beforehand; others follow in the order in which they come.

    Raises:
        InputError: when the masks take more memory than a file of this size may.
    """
    budget = MaskBudget(path)
    problems: list[Problem] = []
    crops = [NOTHING if found.unreadable is not None else _crop(found.polygons, size, budget) for found in objects]
    for i, inside in reversed(_regions(objects, crops)):
        text = f"holds {inside} other objects and has no class, so that it is taken for the region that they are in: it is left out"
        problems.append(Problem("region", f"{path}: {objects[i].place} {text}; if it is a cell, give it a class", name))
        objects, crops = [*objects[:i], *objects[i + 1 :]], [*crops[:i], *crops[i + 1 :]]
    numbers = iter(range(len(objects)))
    index = [None if o.ignored else next(numbers) for o in objects]

    def note(i: int, kind: ProblemKind, text: str, fatal: bool) -> None:
        raw = objects[i].raw if kind == "unreadable mask" else None
        problems.append(Problem(kind, f"{path}: {objects[i].place}{text}", name, index[i], fatal, raw))

    for i, found in enumerate(objects):
        if found.unreadable is not None:
            note(i, "unreadable mask", f": {found.unreadable}", True)
        elif (outside := _outside(found.polygons, size)) is not None:
            note(i, "outside image", f", outline: {outside}", False)
    names, labels, unclassed = _classes(objects, classes)
    for i in unclassed:
        known = ", ".join(names[:5])
        note(i, "unknown class", f", class: has none, and others of the file have {known}: give it one of these", True)
    if unclassed:
        labels[unclassed], names = len(names), (*names, UNKNOWN)
    scores = [found.score for found in objects]
    cells = Instances.build(size, crops, names, labels, scores)
    ignored = np.array([found.ignored for found in objects], bool)
    return Cells(cells[~ignored], cells[ignored], problems)


def _regions(objects: Sequence[Outlined], crops: Sequence[Crop]) -> list[tuple[int, int]]:
    """Drawings without a class that hold several other objects whole, by their number, and how many they hold."""
    boxes: Boxes = np.array([box for box, _ in crops]).reshape(-1, 4)
    regions = []
    for i, found in enumerate(objects):
        if not found.unclassed_drawing:
            continue
        (x0, y0, x1, y1), crop = crops[i]
        within = (boxes[:, :2] >= (x0, y0)).all(axis=1) & (boxes[:, 2:] <= (x1, y1)).all(axis=1) & (boxes[:, 2] > boxes[:, 0])
        inside = 0
        for j in np.flatnonzero(within).tolist():
            (a, b, c, d), other = crops[j]
            inside += j != i and not (other & ~crop[b - y0 : d - y0, a - x0 : c - x0]).any()
        if inside >= SEVERAL:
            regions.append((i, inside))
    return regions


def finite_ring(points: Any) -> NDArray[np.float64]:
    """Points as a ring (n, 2) of numbers that an image can have.

    Raises:
        ValueError: telling what they are instead.
    """
    try:
        ring = np.asarray(points, np.float64)
    except (TypeError, ValueError, OverflowError):
        raise ValueError("a ring that is no list of x, y") from None
    if ring.ndim != 2 or len(ring) < 3 or ring.shape[1] < 2:
        raise ValueError(f"a ring of shape {ring.shape}, expected x, y of three or more points")
    ring = ring[:, :2]
    if not np.isfinite(ring).all() or np.abs(ring).max() > FARTHEST:
        raise ValueError(f"a ring with a number that is not finite, or beyond {FARTHEST:.0f} pixels")
    return ring


def _outside(polygons: Sequence[Rings], size: Size) -> str | None:
    """How far rings reach beyond the image by more than a pixel, which is the rounding of tools; None where they do not."""
    points = np.concatenate([ring for polygon in polygons for ring in polygon])
    (left, top), (right, bottom) = points.min(axis=0), points.max(axis=0)
    if min(left, top) >= -1 and right <= size[1] + 1 and bottom <= size[0] + 1:
        return None
    return f"x {left:g} to {right:g}, y {top:g} to {bottom:g} reach beyond {size[1]} x {size[0]} pixels"


def _crop(polygons: Sequence[Rings], size: Size, budget: MaskBudget) -> Crop:
    """The union of polygons."""
    crops = [crop_from_rings(rings, size, budget.spend, budget.walk) for rings in polygons]
    crops = [(box, crop) for box, crop in crops if crop.size] or [NOTHING]
    if len(crops) == 1:
        return crops[0]
    boxes: Boxes = np.array([box for box, _ in crops])
    (x0, y0), (x1, y1) = boxes[:, :2].min(axis=0).tolist(), boxes[:, 2:].max(axis=0).tolist()
    budget.spend((x1 - x0) * (y1 - y0))
    whole = np.zeros((y1 - y0, x1 - x0), bool)
    for (a, b, c, d), crop in crops:
        whole[b - y0 : d - y0, a - x0 : c - x0] |= crop
    return (x0, y0, x1, y1), whole


def _classes(objects: Sequence[Outlined], known: Sequence[str]) -> tuple[tuple[str, ...], NDArray[np.int64], list[int]]:
    """Class names, the class of each object, and which cells have none though the others are of several.

    Where all others are of one class, so is a cell without one: a program gives none to what a person draws. Where none has a class,
    all are of the first that is known.
    """
    names = list(dict.fromkeys(known))
    given = [None if found.class_name is None else _known_name(found.class_name, names) for found in objects]
    used = {name for name, found in zip(given, objects, strict=True) if name is not None and not found.ignored}
    if not names:
        names.append(DEFAULT_CLASS)
    default = next(iter(used)) if len(used) == 1 else names[0]
    unclassed = [i for i, name in enumerate(given) if name is None and not objects[i].ignored] if len(used) > 1 else []
    labels = np.array([names.index(default if name is None else name) for name in given], np.int64)
    return tuple(names), labels, unclassed


def _known_name(name: str, names: list[str]) -> str:
    """A class by the very name, else by the only one that differs in case and signs alone; a new one is added to the names."""
    alike = [known for known in names if plain(known) == plain(name) != ""]
    if name not in names and len(alike) == 1:
        return alike[0]
    if name not in names:
        names.append(name)
    return name


def number_from_0_to_1(value: Any, place: str) -> float:
    """A score; 1 where there is none.

    Raises:
        InputError: when it is something else.
    """
    if value is None:
        return 1.0
    try:
        score = float(value)
    except (TypeError, ValueError, OverflowError):
        score = -1.0
    if not -1e-5 <= score <= 1 + 1e-5:
        raise InputError(f"{place}, score: found {value!r:.40}, expected a number from 0 to 1")
    return min(max(score, 0.0), 1.0)
