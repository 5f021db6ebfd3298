"""Decode the run-length codes of all cells of an image at once; one cell at a time, 35,000 cells take seconds."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from somaseg.masks import Boxes, Mask, Order, Size

Ints = NDArray[np.int64]
Crops = tuple[Boxes, tuple[Mask, ...]]


def counts_from_texts(texts: Sequence[bytes]) -> tuple[Ints, Ints]:
    """Decode COCO's compressed counts of many masks.

    Each count is written in base-32 digits, lowest first, six bits a character from "0"; the sixth bit says that more
    digits follow, and from the fourth count on the difference to the last count but one is stored.

    Args:
        texts: N codes, each ending in a last digit (see `bad_texts`).

    Returns:
        All counts behind each other, and the N + 1 bounds between masks.
    """
    digits = np.frombuffer(b"".join(texts), np.uint8).astype(np.int64) - 48
    text_ends = np.cumsum([len(t) for t in texts], dtype=np.int64)
    if not len(digits):
        return digits, np.zeros(len(texts) + 1, np.int64)
    number_ends = np.flatnonzero(digits < 32)
    number_starts = np.concatenate([[0], number_ends[:-1] + 1])
    width = number_ends - number_starts + 1
    place = np.arange(len(digits)) - np.repeat(number_starts, width)
    values = np.add.reduceat((digits & 31) << (5 * place), number_starts)
    values -= np.where(digits[number_ends] & 16, np.int64(1) << (5 * width), 0)
    bounds = np.concatenate([[0], np.searchsorted(number_ends, text_ends)])
    first = bounds[:-1][np.diff(bounds) > 0]
    # Undo the differences: odd counts and even counts (without each mask's first) are two running sums a mask.
    local = np.arange(len(values)) - np.repeat(bounds[:-1], np.diff(bounds))
    odd = (local & 1).astype(bool)
    steps = np.where(odd, values, 0), np.where(odd, 0, values)
    steps[1][first] = 0
    counts = np.where(odd, _running_sum(steps[0], bounds), _running_sum(steps[1], bounds))
    counts[first] = values[first]
    return counts, bounds


def _running_sum(values: Ints, bounds: Ints) -> Ints:
    """Cumulative sum that starts anew at every bound."""
    sums = np.concatenate([[0], np.cumsum(values)])
    return sums[1:] - np.repeat(sums[bounds[:-1]], np.diff(bounds))


def bad_texts(texts: Sequence[bytes]) -> dict[int, str]:
    """What is wrong with codes that `counts_from_texts` cannot decode, by their number."""
    codes = np.frombuffer(b"".join(texts), np.uint8)
    ends = np.cumsum([len(t) for t in texts], dtype=np.int64)
    strange = np.flatnonzero((codes < 48) | (codes > 111))
    reasons = {int(i): "holds characters that are no compressed RLE" for i in np.searchsorted(ends, strange, side="right")}
    for i, text in enumerate(texts):
        if not text or (text[-1] >= 80 and i not in reasons):
            reasons[i] = "is cut off"
    return reasons


def bad_counts(counts: Ints, bounds: Ints, total: int) -> dict[int, str]:
    """Which masks have counts that are no mask of `total` pixels, by their number; every mask has at least one count."""
    if not len(counts):
        return {}
    sums = np.add.reduceat(counts, bounds[:-1])
    lowest = np.minimum.reduceat(counts, bounds[:-1])
    bad = np.flatnonzero((lowest < 0) | (sums != total)).tolist()
    return {i: f"holds {lowest[i]}" if lowest[i] < 0 else f"sums to {sums[i]} pixels, the image has {total}" for i in bad}


def crops_from_counts(counts: Ints, bounds: Ints, size: Size) -> Crops:
    """Boxes and crops of COCO counts that sum to height * width in every mask; an empty mask gives an empty box."""
    total = size[0] * size[1]
    local = np.arange(len(counts)) - np.repeat(bounds[:-1], np.diff(bounds))
    foreground = (local & 1).astype(bool) & (counts > 0)
    owner = np.repeat(np.arange(len(bounds) - 1), np.diff(bounds))[foreground]
    starts = (np.cumsum(counts) - counts)[foreground] - owner * total
    return crops_from_runs(starts, counts[foreground], owner, len(bounds) - 1, size, "F")


def crops_from_runs(starts: Ints, lengths: Ints, owner: Ints, n: int, size: Size, order: Order) -> Crops:
    """Boxes and crops of `n` masks from the runs of all of them.

    Args:
        starts: first pixel of each run over its own frame, from 0, ascending in each mask, runs apart or touching.
        lengths: pixels of each run, at least 1.
        owner: number of the mask of each run, ascending.
        n: number of masks.
        size: (height, width) of the frame.
        order: "F" when pixels are numbered down the columns (COCO), "C" along the rows (Kaggle).
    """
    line = size[0] if order == "F" else size[1]
    low = np.zeros((n, 2), np.int64)
    high = np.zeros((n, 2), np.int64)
    major, minor = np.divmod(starts, line)
    last_major, last_minor = np.divmod(starts + lengths - 1, line)
    wraps = last_major > major  # such a run holds the end of one line and the start of the next
    if len(starts):
        first = np.flatnonzero(np.diff(owner, prepend=-1))
        filled = owner[first]
        low[filled, 0] = np.minimum.reduceat(major, first)
        high[filled, 0] = np.maximum.reduceat(last_major, first) + 1
        low[filled, 1] = np.minimum.reduceat(np.where(wraps, 0, minor), first)
        high[filled, 1] = np.maximum.reduceat(np.where(wraps, line - 1, last_minor), first) + 1
    extent = high - low
    area = extent[:, 0] * extent[:, 1]
    ends = np.cumsum(area)
    offset = ends - area
    # A wrapping run makes the box as wide as the line, so every run is one run of its crop as well: +1 at its start,
    # -1 behind its end, and the running sum is the crops.
    begin = offset[owner] + (major - low[owner, 0]) * extent[owner, 1] + minor - low[owner, 1]
    flat = np.zeros(int(area.sum()) + 1, np.int8)
    flat[begin] += 1
    flat[begin + lengths] -= 1
    pixels = np.cumsum(flat, dtype=np.int8).view(np.bool_)
    shaped = zip(offset.tolist(), ends.tolist(), extent.tolist(), strict=True)
    if order == "F":
        return np.concatenate([low, high], axis=1).astype(np.int32), tuple(pixels[a:b].reshape(shape).T for a, b, shape in shaped)
    boxes = np.concatenate([low[:, ::-1], high[:, ::-1]], axis=1).astype(np.int32)
    return boxes, tuple(pixels[a:b].reshape(shape) for a, b, shape in shaped)
