"""Outlines of masks, and masks of outlines."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from skimage.draw import polygon as draw_polygon
from skimage.measure import find_contours

from somaseg.masks.crops import Boxes, Mask, Size, crop_from_mask


def outlines_from_crop(crop: Mask, box: Sequence[int] | Boxes) -> list[NDArray[np.float64]]:
    """Outlines of a crop, one a piece or hole: (n, 2) of x, y where pixel (0, 0) has its centre at (0, 0).

    They run half-way between the pixels inside and those outside, so never through a pixel's centre.
    """
    corner = np.asarray(box[:2], np.float64) - 1
    return [contour[:, ::-1] + corner for contour in find_contours(np.pad(crop, 1).astype(np.float64), 0.5)]


def crop_from_outlines(outlines: Sequence[NDArray[np.float64]], size: Size) -> tuple[tuple[int, int, int, int], Mask]:
    """Tight box and crop of the pixels whose centres lie inside an odd number of outlines, so that holes stay holes."""
    full = np.zeros(size, bool)
    for xy in outlines:
        rows, columns = draw_polygon(xy[:, 1], xy[:, 0], size)
        full[rows, columns] ^= True
    return crop_from_mask(full)
