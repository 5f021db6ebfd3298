"""Decode the run-length codes of all cells of an image at once; one cell at a time, 35,000 cells take seconds."""

import re
import reprlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from faster_coco_eval.core import mask as coco_mask
from numpy.typing import NDArray

from somaseg.masks.crops import Boxes, Mask, Order, Size

Ints = NDArray[np.integer[Any]]
Crops = tuple[Boxes, tuple[Mask, ...]]
COUNTS_AS_TEXT = re.compile(r"\s*\[?\s*\d+(?:[\s,]+\d+)+\s*\]?\s*")  # no compressed counts: these have neither space nor comma
MOST_DIGITS = 12  # of a count, beside its highest: 65 bits


def text_of_coco_rle(rle: Mapping[str, Any], size: Size) -> bytes:
    """The compressed counts of a COCO RLE, whose own are compressed (text, bytes, bytes as Python prints them) or not (list, text).

    Raises:
        ValueError: when its size is not `size`, or its counts are no whole numbers that fill the frame.
        KeyError: when it lacks its size or its counts.
    """
    counts = rle["counts"]
    if rle["size"] != [*size] and _whole_numbers(rle["size"]) != [*size]:
        raise ValueError(f"size {reprlib.repr(rle['size'])} differs from {[*size]}, the height and width of the image")
    if isinstance(counts, str):
        if counts[:2] in ("b'", 'b"') and counts[-1:] == counts[1]:  # as Python prints bytes
            counts = counts[2:-1].replace("\\\\", "\\")
        if " " not in counts and "," not in counts:
            return counts.encode()
        if not COUNTS_AS_TEXT.fullmatch(counts):
            return counts.strip().encode()
        counts = re.findall(r"\d+", counts)
    if isinstance(counts, bytes):
        return counts
    total = size[0] * size[1]
    numbers = _whole_numbers(counts)
    if numbers is None or min(numbers, default=0) < 0 or sum(numbers) != total:
        raise ValueError(f"counts must be whole numbers from 0 that sum to {total} pixels, the image's height x width")
    return bytes(coco_mask.frPyObjects({"size": [*size], "counts": numbers}, *size)["counts"])


def _whole_numbers(values: Any) -> list[int] | None:
    """A list of whole numbers, which may be floats or text of such; None for anything else."""
    if not isinstance(values, (list, tuple)):
        return None
    if all(type(value) is int for value in values):
        return list(values)
    try:
        numbers = [float(value) for value in values]
        return [int(number) for number in numbers] if all(number.is_integer() for number in numbers) else None
    except (TypeError, ValueError, OverflowError):
        return None


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
    codes = np.frombuffer(b"".join(texts), np.uint8)
    text_ends = np.cumsum([len(text) for text in texts], dtype=np.int64)
    reasons = _bad_texts(codes, text_ends)
    if reasons:
        texts = [b"0" if i in reasons else text for i, text in enumerate(texts)]
        codes = np.frombuffer(b"".join(texts), np.uint8)
        text_ends = np.cumsum([len(text) for text in texts], dtype=np.int64)
    # Half as wide numbers take half the time; running sums of them may overflow and still have the right differences.
    values, n_values = _values(codes, text_ends, np.dtype(np.int32 if total < 2**31 else np.int64))
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
    final = (np.cumsum(n_runs) - 1)[n_runs > 0]
    lengths = _running_sum(pairs[:, 0], n_runs)
    gaps = _running_sum(pairs[:, 1], n_runs)
    gaps[(np.cumsum(n_runs) - 1)[short]] = 0
    owner = np.repeat(np.arange(len(texts), dtype=values.dtype), n_runs)
    starts = _running_sum(lengths + gaps, n_runs, lead)
    ends = lead.copy()
    ends[n_runs > 0] = starts[final]
    starts -= gaps
    starts -= lengths
    # Running sums may wrap around and come out right, so the sums are taken as floats as well.
    sums = np.bincount(owner, lengths.astype(np.float64) + gaps, len(texts)) + lead
    wrong = (ends != total) | (lead < 0) | (sums != total)
    if min(lengths.min(initial=0), gaps.min(initial=0)) < 0:
        wrong[owner[(lengths < 0) | (gaps < 0)]] = True
    for i in np.flatnonzero(wrong).tolist():
        reasons.setdefault(i, f"does not decode to counts from 0 that sum to {total} pixels, the image's height x width")
    if reasons or lengths.min(initial=1) < 1:
        keep = (lengths > 0) & ~wrong[owner]
        starts, lengths, owner = starts[keep], lengths[keep], owner[keep]
    return starts, lengths, owner, reasons


def _bad_texts(codes: NDArray[np.uint8], ends: Ints) -> dict[int, str]:
    """Which of the codes, behind each other, have strange characters or no last digit, by number."""
    strange = np.flatnonzero(codes - np.uint8(48) > 63)  # unsigned, so that codes below 48 come out large
    reasons = {int(i): "holds characters that are no compressed RLE" for i in np.searchsorted(ends, strange, side="right")}
    finals = np.append(codes, np.uint8(255))[ends - 1]
    cut_off = np.flatnonzero((finals >= 80) | (np.diff(ends, prepend=0) == 0))
    last = np.flatnonzero(np.append(codes, np.uint8(48)) < 80)
    long = last[np.diff(last, prepend=-1) > MOST_DIGITS + 1].clip(max=max(len(codes) - 1, 0))
    endless = {int(i): "holds a number of too many digits" for i in np.searchsorted(ends, long, side="right")}
    return {**endless, **dict.fromkeys(cut_off.tolist(), "is cut off"), **reasons}


def _values(codes: NDArray[np.uint8], text_ends: Ints, dtype: np.dtype[Any]) -> tuple[Ints, Ints]:
    """The stored numbers of all codes, and how many each code has."""
    digits = codes - np.uint8(48)
    last = np.flatnonzero(digits < 32)
    # The highest digit of a number carries its sign (two's complement of five bits); nearly all numbers have one digit.
    values = (((digits[last] & 31) ^ 16).view(np.int8) - np.int8(16)).astype(dtype)
    lower = np.flatnonzero(digits >= 32)
    number = lower - np.arange(len(lower))  # as many highest digits stand before
    first = np.flatnonzero(np.diff(number, prepend=-1))
    if len(lower):
        n_lower = np.diff(first, append=len(lower)).astype(dtype)
        place = (np.arange(len(lower)) - np.repeat(first, n_lower)).astype(dtype)
        low = np.add.reduceat((digits[lower] & 31).astype(dtype) << (5 * place), first)
        number = number[first]
        values[number] = (values[number] << (5 * n_lower)) + low
    return values, np.diff(np.searchsorted(last, text_ends), prepend=0)


def _running_sum(values: Ints, lengths: Ints, initial: Ints | None = None) -> Ints:
    """Cumulative sum that starts anew, from `initial`, at each of the parts with these lengths."""
    sums = np.cumsum(values, dtype=values.dtype)
    before = np.append(sums, values.dtype.type(0))[np.cumsum(lengths) - lengths - 1]
    sums -= np.repeat(before if initial is None else before - initial, lengths)
    return sums


def crops_from_runs(
    starts: Ints, lengths: Ints, owner: Ints, n: int, size: Size, order: Order, spend: Callable[[int], None] | None = None
) -> Crops:
    """Boxes and crops of `n` masks from the runs of all of them.

    Args:
        starts: first pixel of each run over its own frame, from 0, ascending in each mask, runs apart or touching.
        lengths: pixels of each run, at least 1.
        owner: number of the mask of each run, ascending.
        n: number of masks; one without runs gets an empty box.
        size: (height, width) of the frame.
        order: "F" when pixels are numbered down the columns (COCO), "C" along the rows (Kaggle).
        spend: is told the pixels of all boxes before they are allocated, and raises when they are too many.
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
    if spend is not None:
        spend(int(area.sum()))
    ends = np.cumsum(area)
    offset = ends - area
    # A run over the end of a line makes the box as wide as the line, so every run is one run of its crop as well.
    begin = (offset - low[:, 1] - low[:, 0] * extent[:, 1])[owner]
    begin += minor
    begin += major * extent[:, 1].astype(major.dtype)[owner]
    spans = np.empty(2 * len(starts) + 1, np.int64)
    spans[1::2] = lengths
    spans[:-1:2] = begin
    begin += lengths
    spans[2:-1:2] -= begin[:-1]
    spans[-1] = area.sum() - begin[-1] if len(begin) else 0
    inside = np.zeros(len(spans), bool)
    inside[1::2] = True
    pixels = np.repeat(inside, spans)
    cuts = zip(offset.tolist(), ends.tolist(), extent.tolist(), strict=True)
    if order == "F":
        return np.concatenate([low, high], axis=1).astype(np.int32), tuple([pixels[a:b].reshape(shape).T for a, b, shape in cuts])
    boxes = np.concatenate([low[:, ::-1], high[:, ::-1]], axis=1).astype(np.int32)
    return boxes, tuple([pixels[a:b].reshape(shape) for a, b, shape in cuts])
