"""Decode the run-length codes of all cells of an image at once; one cell at a time, 35,000 cells take seconds."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from somaseg.masks import Boxes, Mask, Order, Size

Ints = NDArray[np.int64]
Crops = tuple[Boxes, tuple[Mask, ...]]


def runs_from_texts(texts: Sequence[bytes], total: int) -> tuple[Ints, Ints, Ints, dict[int, str]]:
    """Decode COCO's compressed counts of many masks into runs over the columns of their frames.

    The counts are pixels of background, foreground, background and so on. Each is written in base-32 digits, lowest first,
    six bits a character from "0"; the sixth bit says that more digits follow. From the fourth count on, the difference to
    the last count but one is stored.

    Args:
        texts: N codes.
        total: height * width of the frame.

    Returns:
        First pixel, length and mask number of each run, and what is wrong with the codes that cannot be decoded, by mask
        number; those give no runs.
    """
    reasons = _bad_texts(texts)
    values, n_values = _values([b"0" if i in reasons else text for i, text in enumerate(texts)] if reasons else texts)
    # A code that ends in foreground gets a last background of 0, so that each is a first background and pairs
    # of a run and the background behind it.
    short = n_values % 2 == 0
    if short.any():
        values = np.insert(values, np.cumsum(n_values)[short], 0)
        n_values = n_values + short
    first = np.cumsum(n_values) - n_values
    lead = values[first]
    pairs = np.delete(values, first).reshape(-1, 2)
    n_runs = n_values // 2
    lengths = _running_sum(pairs[:, 0], n_runs)
    gaps = _running_sum(pairs[:, 1], n_runs)
    gaps[(np.cumsum(n_runs) - 1)[short]] = 0
    owner = np.repeat(np.arange(len(texts)), n_runs)
    reach = _running_sum(lengths + gaps, n_runs) + lead[owner]
    ends = lead.copy()
    ends[n_runs > 0] = reach[(np.cumsum(n_runs) - 1)[n_runs > 0]]
    wrong = ends != total
    wrong[owner[(lengths < 0) | (gaps < 0)]] = True
    wrong |= lead < 0
    for i in np.flatnonzero(wrong).tolist():
        reasons.setdefault(i, f"does not decode to counts from 0 that sum to {total} pixels, the image's height x width")
    starts = reach - gaps - lengths
    keep = (lengths > 0) & ~wrong[owner]
    return (starts, lengths, owner, reasons) if keep.all() else (starts[keep], lengths[keep], owner[keep], reasons)


def _bad_texts(texts: Sequence[bytes]) -> dict[int, str]:
    """Codes with strange characters or without a last digit, by number."""
    codes = np.frombuffer(b"".join(texts), np.uint8)
    ends = np.cumsum([len(text) for text in texts], dtype=np.int64)
    strange = np.flatnonzero(codes - np.uint8(48) > 63)  # unsigned, so that codes below 48 come out large
    reasons = {int(i): "holds characters that are no compressed RLE" for i in np.searchsorted(ends, strange, side="right")}
    cut_off = [i for i, text in enumerate(texts) if not text or text[-1] >= 80]
    return {**dict.fromkeys(cut_off, "is cut off"), **reasons}


def _values(texts: Sequence[bytes]) -> tuple[Ints, Ints]:
    """The stored numbers of all codes, and how many each code has."""
    digits = np.frombuffer(b"".join(texts), np.uint8) - np.uint8(48)
    last = np.flatnonzero(digits < 32)
    # The highest digit of a number carries its sign (two's complement of five bits); nearly all numbers have one digit.
    values = (((digits[last] & 31) ^ 16).view(np.int8) - np.int8(16)).astype(np.int64)
    lower = np.flatnonzero(digits >= 32)
    number = lower - np.arange(len(lower))  # as many highest digits stand before
    first = np.flatnonzero(np.diff(number, prepend=-1))
    if len(lower):
        n_lower = np.diff(first, append=len(lower))
        place = np.arange(len(lower)) - np.repeat(first, n_lower)
        low = np.add.reduceat((digits[lower] & 31).astype(np.int64) << (5 * place), first)
        number = number[first]
        values[number] = (values[number] << (5 * n_lower)) + low
    ends = np.searchsorted(last, np.cumsum([len(text) for text in texts], dtype=np.int64))
    return values, np.diff(ends, prepend=0)


def _running_sum(values: Ints, lengths: Ints) -> Ints:
    """Cumulative sum that starts anew at each of the parts with these lengths."""
    sums = np.concatenate([[0], np.cumsum(values)])
    before = sums[np.cumsum(lengths) - lengths]
    return np.asarray(sums[1:] - np.repeat(before, lengths))


def crops_from_runs(starts: Ints, lengths: Ints, owner: Ints, n: int, size: Size, order: Order) -> Crops:
    """Boxes and crops of `n` masks from the runs of all of them.

    Args:
        starts: first pixel of each run over its own frame, from 0, ascending in each mask, runs apart or touching.
        lengths: pixels of each run, at least 1.
        owner: number of the mask of each run, ascending.
        n: number of masks; one without runs gets an empty box.
        size: (height, width) of the frame.
        order: "F" when pixels are numbered down the columns (COCO), "C" along the rows (Kaggle).
    """
    line = size[0] if order == "F" else size[1]
    major = starts // line
    minor = starts - major * line
    past = minor + lengths  # beyond `line` in a run that holds the end of one line and the start of the next
    low = np.zeros((n, 2), np.int64)
    high = np.zeros((n, 2), np.int64)
    if len(starts):
        first = np.flatnonzero(np.diff(owner, prepend=-1))
        final = np.append(first[1:], len(owner)) - 1
        filled = owner[first]
        low[filled, 0] = major[first]
        high[filled, 0] = (starts[final] + lengths[final] - 1) // line + 1
        low[filled, 1] = np.minimum.reduceat(np.where(past > line, 0, minor), first)
        high[filled, 1] = np.maximum.reduceat(past, first).clip(max=line)
    extent = high - low
    area = extent[:, 0] * extent[:, 1]
    ends = np.cumsum(area)
    offset = ends - area
    # A run over the end of a line makes the box as wide as the line, so every run is one run of its crop as well.
    begin = (offset - low[:, 1] - low[:, 0] * extent[:, 1])[owner] + minor + major * extent[owner, 1]
    spans = np.empty(2 * len(starts) + 1, np.int64)
    spans[1::2] = lengths
    spans[:-1:2] = begin
    spans[2:-1:2] -= (begin + lengths)[:-1]
    spans[-1] = area.sum() - (begin[-1] + lengths[-1] if len(begin) else 0)
    inside = np.zeros(len(spans), bool)
    inside[1::2] = True
    pixels = np.repeat(inside, spans)
    cuts = zip(offset.tolist(), ends.tolist(), extent.tolist(), strict=True)
    if order == "F":
        return np.concatenate([low, high], axis=1).astype(np.int32), tuple([pixels[a:b].reshape(shape).T for a, b, shape in cuts])
    boxes = np.concatenate([low[:, ::-1], high[:, ::-1]], axis=1).astype(np.int32)
    return boxes, tuple([pixels[a:b].reshape(shape) for a, b, shape in cuts])
