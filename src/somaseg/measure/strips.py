"""Crops of many cells laid out as one tall image, so that all are measured in a few passes of NumPy."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from somaseg.masks.crops import Boxes, Mask

PAD = 7  # empty pixels on every side of a crop: as far as a background is looked for
MOST_PIXELS = 1 << 21  # of a strip that holds several cells

Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Strip:
    """Crops of about one width below each other, each with `PAD` empty pixels on all sides; a row belongs to one cell.

    Attributes:
        image: bool (R, W).
        cells: which cells these are (K,), from the top.
        row_cell: for each row which of the K cells it belongs to (R,).
        shift: (K, 2), what to add to row and column of the strip for those of the image.
    """

    image: Mask
    cells: Ints
    row_cell: Ints
    shift: Ints

    def __len__(self) -> int:
        return len(self.cells)

    def where(self, image: Mask) -> tuple[Ints, Ints, Ints]:
        """Row, column and cell (0 to K - 1) of the pixels that are set in an image of this strip; cells rise."""
        pixels = np.flatnonzero(image)
        rows = pixels // image.shape[1]
        return rows, pixels - rows * image.shape[1], self.row_cell[rows]

    def sums(self, cell: Ints, values: NDArray[Any] | None = None) -> NDArray[np.float64]:
        """Sum of values by cell (K,); without values their count."""
        return np.bincount(cell, values, len(self)).astype(np.float64)


def strips(crops: Sequence[Mask], boxes: Boxes, cells: Ints) -> Iterator[Strip]:
    """Lay out the chosen cells in strips; a cell without a pixel is in none.

    Args:
        crops: N masks, each exactly its box.
        boxes: (N, 4).
        cells: indices of the chosen ones.
    """
    full = np.array([crops[i].any() for i in cells.tolist()], bool)
    x0, y0, x1, y1 = np.asarray(boxes, np.int64)[cells[full]].T
    cells = cells[full]
    order = np.argsort(x1 - x0, kind="stable")
    chosen: list[int] = []
    pixels, narrowest = 0, 0
    for i in order.tolist():
        width, height = int(x1[i] - x0[i]) + 2 * PAD, int(y1[i] - y0[i]) + 2 * PAD
        if chosen and (width > 1.4 * narrowest or pixels + width * height > MOST_PIXELS):
            yield _strip(crops, boxes, cells[chosen])
            chosen, pixels = [], 0
        narrowest = narrowest if chosen else width
        chosen.append(i)
        pixels += width * height
    if chosen:
        yield _strip(crops, boxes, cells[chosen])


def _strip(crops: Sequence[Mask], boxes: Boxes, cells: Ints) -> Strip:
    corner = np.asarray(boxes, np.int64)[cells, :2]
    heights = np.array([crops[i].shape[0] for i in cells.tolist()]) + 2 * PAD
    width = max(crops[i].shape[1] for i in cells.tolist()) + 2 * PAD
    ends = np.cumsum(heights)
    tops = ends - heights + PAD
    image = np.zeros((int(ends[-1]), width), bool)
    for i, top in zip(cells.tolist(), tops.tolist(), strict=True):
        crop = crops[i]
        image[top : top + crop.shape[0], PAD : PAD + crop.shape[1]] = crop
    shift = np.column_stack([corner[:, 1] - tops, corner[:, 0] - PAD])
    return Strip(image, cells, np.repeat(np.arange(len(cells)), heights), shift)
