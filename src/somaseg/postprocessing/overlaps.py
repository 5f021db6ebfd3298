"""Who gets the pixels that masks share."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from somaseg.masks import crops as mk


def trim(crops: Sequence[mk.Mask], boxes: mk.Boxes, size: mk.Size, max_covered: float) -> tuple[NDArray[np.int64], list[mk.Mask]]:
    """Give every pixel to the first of the masks, in falling order of score, that claim it.

    A mask of which more than the share `max_covered` is taken already is dropped and takes nothing.

    Returns:
        The indices that stay, rising, and their masks without the pixels of others, in crops of the old shapes; a mask that lost
        nothing is the very same array.
    """
    used = np.zeros(size, bool)
    kept, trimmed = [], []
    for i, (crop, (x0, y0, x1, y1)) in enumerate(zip(crops, boxes.tolist(), strict=True)):
        view = used[y0:y1, x0:x1]
        taken = crop & view
        lost = np.count_nonzero(taken)
        if not lost or lost <= max_covered * np.count_nonzero(crop):
            view |= crop
            kept.append(i)
            trimmed.append(crop ^ taken if lost else crop)
    return np.array(kept, np.int64), trimmed


def share_out(crops: Sequence[mk.Mask], boxes: mk.Boxes, size: mk.Size, probabilities: Sequence[NDArray[np.float32]]) -> list[mk.Mask]:
    """Give every pixel to that of the masks that claim it which has the largest probability there, of equal ones to the first.

    Args:
        crops: N masks.
        boxes: their boxes (N, 4).
        size: (height, width) of the image.
        probabilities: N arrays of the crops' shapes.

    Returns:
        The masks without the pixels of others, in crops of the old shapes; a mask that lost nothing is the very same array.
    """
    highest = np.full(size, -1, np.float32)
    owner = np.full(size, -1, np.int32)
    places = [np.s_[y0:y1, x0:x1] for x0, y0, x1, y1 in boxes.tolist()]
    for i, (crop, place, probability) in enumerate(zip(crops, places, probabilities, strict=True)):
        wins = crop & (probability > highest[place])
        owner[place][wins] = i
        highest[place][wins] = probability[wins]
    shared = []
    for i, (crop, place) in enumerate(zip(crops, places, strict=True)):
        own = crop & (owner[place] == i)
        shared.append(crop if np.count_nonzero(own) == np.count_nonzero(crop) else own)
    return shared
