"""Depths of a stack: each a frame of its own, one of them, or all of them projected onto one."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from somaseg.errors import InputError
from somaseg.images.frame import Frame, Step
from somaseg.images.regions.lazy import Box, LazyImage

ALL = "all"
Pixel = NDArray[Any]
Projection = tuple[Callable[[Pixel], Pixel], Callable[[Pixel, Pixel], Pixel], Callable[[Pixel, int], Pixel]]


def check_depth(depth: str) -> None:
    """Raise InputError unless it is all, max, mean or a number from 0."""
    if depth not in (ALL, *PROJECTIONS) and not (depth.isascii() and depth.isdecimal()):
        raise InputError(f"--z: found {depth!r}, expected all, max, mean, or the number of a depth from 0")


def at_depth(frames: Iterable[Frame], depth: str) -> Iterator[Frame]:
    """Frames without depth: of each stack the depth of a number, or the maximum or mean of all; `all` leaves them as they are.

    Time points, positions and images without depth stay apart. Pages of which the file does not say what they are count as depths,
    with a warning, where it tells of no other. Frames are numbered anew; one that is left alone has no number.

    Raises:
        InputError: when a stack has no such depth.
    """
    check_depth(depth)
    if depth == ALL:
        yield from frames
        return
    for number, frame in enumerate(_projected(frames, depth)):
        yield replace(frame, page=number if frame.steps else None)


@dataclass
class _Stack:
    """What was met of a stack.

    Attributes:
        frame: what the projection will be, but for its pixels.
        seen: how many depths.
        total: their sum or maximum, of images in memory.
        images: those that are read by region.
    """

    frame: Frame
    seen: int = 0
    total: NDArray[Any] | None = None
    images: list[LazyImage] = field(default_factory=list)


def _projected(frames: Iterable[Frame], depth: str) -> Iterator[Frame]:
    stacks: dict[tuple[Step, ...], _Stack] = {}
    for frame in frames:
        step = _depth_of(frame)
        if step is None:
            yield frame
            continue
        rest = tuple(one for one in frame.steps if one is not step)
        told = () if step.axis else ("its pages have no names: they are taken for depths, as --z asks",)
        flat = replace(frame, steps=rest, warnings=frame.warnings + told)
        if depth not in PROJECTIONS:
            if int(depth) >= step.steps:
                raise InputError(f"{frame.path}: has {step.steps} depths, found --z {depth}: numbers count from 0")
            if step.number == int(depth):
                yield flat
            continue
        stack = stacks.setdefault(rest, _Stack(flat))
        _add(stack, frame, depth)
        if stack.seen == step.steps:
            yield _finished(stacks.pop(rest), depth)
    for stack in stacks.values():
        frame = _finished(stack, depth)
        yield replace(frame, warnings=(*frame.warnings, f"only {stack.seen} of its depths are there: the projection is of these"))


def _depth_of(frame: Frame) -> Step | None:
    """Which of the steps of a frame counts depths: z, or else the only one without a name."""
    named = [step for step in frame.steps if step.axis == "z"]
    nameless = [step for step in frame.steps if not step.axis]
    return named[0] if named else nameless[0] if len(nameless) == 1 else None


def _add(stack: _Stack, frame: Frame, depth: str) -> None:
    if frame.array.shape != stack.frame.array.shape:
        raise InputError(f"{frame.path}: its depths differ in size: {stack.frame.array.shape} and {frame.array.shape}: choose one with --z")
    stack.seen += 1
    if isinstance(frame.array, LazyImage):
        stack.images.append(frame.array)
    else:
        first, further, _ = PROJECTIONS[depth]
        array = np.asarray(frame.array)
        stack.total = first(array) if stack.total is None else further(stack.total, array)


def _finished(stack: _Stack, depth: str) -> Frame:
    if stack.images:
        return replace(stack.frame, array=_of_regions(stack.images, depth))
    assert stack.total is not None
    return replace(stack.frame, array=PROJECTIONS[depth][2](stack.total, stack.seen))


def _of_regions(images: Sequence[LazyImage], depth: str) -> LazyImage:
    """The projection of images that are read by region, read by region."""
    first, further, last = PROJECTIONS[depth]

    def read(box: Box) -> NDArray[Any]:
        x0, y0, x1, y1 = box
        total: NDArray[Any] | None = None
        for image in images:
            region = image[y0:y1, x0:x1]
            total = first(region) if total is None else further(total, region)
        assert total is not None
        return last(total, len(images))

    dtype = last(first(np.zeros(1, images[0].dtype)), 1).dtype
    projected = LazyImage(images[0].shape, dtype, read, check=images[0].check)
    if len(images[0].shape) == 3:
        projected.split_by(lambda number: _of_regions([image.channel(number) for image in images], depth))
    return projected


def _mean(total: NDArray[Any], count: int) -> NDArray[Any]:
    return (total / count).astype(np.float32)


# What is made of the first depth, of a total and a further one, and of the total of so many.
PROJECTIONS: dict[str, Projection] = {
    "max": (lambda array: array, np.maximum, lambda total, count: total),
    "mean": (lambda array: array.astype(np.float64), np.add, _mean),
}
