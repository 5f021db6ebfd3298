"""Holes and pieces of masks.

All crops are laid out on one sheet, because one call of `ndimage.label` costs less than one a cell.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from somaseg.masks import crops as mk


def areas(crops: Sequence[mk.Mask]) -> NDArray[np.int64]:
    """Pixels of each mask (N,)."""
    return np.array([np.count_nonzero(crop) for crop in crops], np.int64)


def fill_holes(crops: Sequence[mk.Mask]) -> list[mk.Mask]:
    """Each mask with its holes filled: background that no 4-connected way joins with the outside."""
    sheet, windows = _sheet(crops)
    background, _ = ndimage.label(~sheet)
    filled = background != background[0, 0]
    return [filled[window].copy() for window in windows]


def largest_pieces(crops: Sequence[mk.Mask]) -> list[mk.Mask]:
    """Each mask's largest 4-connected piece, of equal ones the first in row order.

    The crops keep their shapes; a mask in one piece, or empty, is the very same array.
    """
    sheet, windows = _sheet(crops)
    pieces, count = ndimage.label(sheet)
    if count <= len(crops) and all(crop.any() for crop in crops):
        return list(crops)
    sizes = np.bincount(pieces.ravel())
    sizes[0] = 0
    largest: list[mk.Mask] = []
    for crop, window in zip(crops, windows, strict=True):
        piece = pieces[window]
        first = piece.flat[crop.argmax()] if crop.size else 0
        if sizes[first] == np.count_nonzero(crop):
            largest.append(crop)
        else:
            largest.append(np.asarray(piece == piece.flat[sizes[piece].argmax()]))
    return largest


def split_pieces(crops: Sequence[mk.Mask]) -> tuple[NDArray[np.int64], list[mk.Mask]]:
    """Every 4-connected piece of every mask, in order of the masks, then of rows.

    Returns:
        The mask that each piece is of (M,), and the pieces in crops of the old shapes; a mask in one piece is the very same array.
    """
    sheet, windows = _sheet(crops)
    pieces, _ = ndimage.label(sheet)
    owners: list[int] = []
    parts: list[mk.Mask] = []
    for i, (crop, window) in enumerate(zip(crops, windows, strict=True)):
        numbers, first = np.unique(pieces[window][crop], return_index=True)
        owners += [i] * len(numbers)
        parts += [crop] if len(numbers) == 1 else [pieces[window] == number for number in numbers[np.argsort(first)]]
    return np.array(owners, np.int64), parts


def _sheet(crops: Sequence[mk.Mask]) -> tuple[mk.Mask, list[tuple[slice, slice]]]:
    """Crops laid out side by side with a pixel of background around each, and the window of each one."""
    shapes = [crop.shape for crop in crops]
    sheet_width = max([1022, *(width for _, width in shapes)]) + 2
    windows = [np.s_[0:0, 0:0]] * len(crops)
    x, y, shelf = 1, 1, 0
    for i in sorted(range(len(crops)), key=lambda i: -shapes[i][0]):
        height, width = shapes[i]
        if x + width + 1 > sheet_width:
            x, y, shelf = 1, y + shelf + 1, 0
        windows[i] = np.s_[y : y + height, x : x + width]
        x += width + 1
        shelf = max(shelf, height)
    sheet = np.zeros((y + shelf + 1, sheet_width), bool)
    for crop, window in zip(crops, windows, strict=True):
        sheet[window] = crop
    return sheet, windows
