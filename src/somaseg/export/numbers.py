"""Numbers on the cells of a picture, as they stand in the table; drawn all at once from bitmaps of ten digits."""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from somaseg.instances import Instances

SMALLEST, LARGEST = 10, 17  # size of the font in pixels of the picture
OF_A_CELL = 0.42  # share of a cell's width that the font is high
HALO = 1  # px of dark round each digit
TRIES = (0, 1, -1)  # heights of the text by which it is moved where another number is
Places = NDArray[np.int64]


class Digits(NamedTuple):
    """What the ten digits make of the pixels under them: so many 256ths of these are left, and so much light comes; (10, h, w) each."""

    left: NDArray[np.uint16]
    light: NDArray[np.uint8]


@lru_cache
def digits(size: int) -> Digits:
    """The digits of a font `size` pixels high, light with dark around, each as wide as the widest."""
    font = ImageFont.load_default(size)
    width = max(int(np.ceil(font.getlength(digit))) for digit in "0123456789") + HALO
    top, bottom = font.getbbox("0123456789")[1::2]

    def drawn(digit: str, halo: int) -> NDArray[np.float32]:
        bitmap = Image.new("L", (width, int(bottom - top) + 2 * HALO))
        at = ((width - font.getlength(digit)) / 2, HALO - top)
        ImageDraw.Draw(bitmap).text(at, digit, font=font, fill=255, stroke_width=halo)
        return np.asarray(bitmap, np.float32) / np.float32(255)

    ink, dark = (np.stack([drawn(digit, stroke) for digit in "0123456789"]) for stroke in (0, HALO))
    return Digits(np.rint(256 * (1 - ink) * (1 - dark)).astype(np.uint16), np.rint(255 * ink).astype(np.uint8))


def draw_numbers(picture: NDArray[np.uint8], cells: Instances, scale: float) -> int:
    """Write the number of each cell, from 1, on it, where it hides neither cell nor another number; the best cells come first.

    Args:
        picture: (H, W, 3), changed in place.
        cells: the cells of the image, whose pixels are `scale` pixels of the picture.
        scale: see above.

    Returns:
        How many numbers are left out.
    """
    with_pixels = np.flatnonzero((cells.boxes[:, 2:] > cells.boxes[:, :2]).all(axis=1))
    if not len(with_pixels):
        return 0
    widths = np.sqrt(np.prod(cells.boxes[with_pixels, 2:] - cells.boxes[with_pixels, :2], axis=1, dtype=np.float64))
    font = digits(int(np.clip(round(OF_A_CELL * scale * float(np.median(widths))), SMALLEST, LARGEST)))
    numbers = with_pixels + 1
    count = np.floor(np.log10(numbers)).astype(np.int64) + 1
    middles = np.array([_middle(cells, i) for i in with_pixels.tolist()]) * scale
    corners, placed = _places(middles, widths * scale, count, font, picture.shape[:2])
    owner = np.repeat(np.flatnonzero(placed), count[placed])
    place = np.arange(len(owner)) - np.repeat(np.cumsum(count[placed]) - count[placed], count[placed])
    digit = numbers[owner] // 10 ** (count[owner] - 1 - place) % 10
    _, height, width = font.left.shape
    rows = corners[owner, 1, None, None] + np.arange(height)[:, None]
    columns = (corners[owner, 0] + place * width)[:, None, None] + np.arange(width)
    under = np.multiply(picture[rows, columns], font.left[digit][..., None], dtype=np.uint16) >> 8
    picture[rows, columns] = under + font.light[digit][..., None]
    return int((~placed).sum())


def _middle(cells: Instances, i: int) -> tuple[float, float]:
    """A point inside a mask: the middle pixel of its middle row."""
    crop, (x0, y0, _, _) = cells.masks[i], cells.boxes[i].tolist()
    row = len(crop) // 2
    columns = crop[row].nonzero()[0]
    column = columns[len(columns) // 2] if len(columns) else crop.shape[1] // 2
    return x0 + float(column) + 0.5, y0 + row + 0.5


def _places(
    middles: NDArray[np.float64], widths: NDArray[np.float64], count: Places, font: Digits, shape: tuple[int, ...]
) -> tuple[Places, NDArray[np.bool_]]:
    """Upper left corner of each number (N, 2), and which have a place to themselves, on a cell whose box is as large as they are."""
    height, width = font.left.shape[1], count * font.left.shape[2]
    corners = np.rint(middles - np.stack([width, np.full(len(count), height)], axis=1) / 2).astype(np.int64)
    most = np.stack([shape[1] - width, np.full(len(count), shape[0] - height)], axis=1)
    corners = np.minimum(corners, most).clip(0)
    placed = (most >= 0).all(axis=1) & (widths**2 >= width * height)
    taken = np.zeros(shape[:2], bool)
    for i, ((x, y), across, last) in enumerate(zip(corners.tolist(), width.tolist(), most[:, 1].tolist(), strict=True)):
        if not placed[i]:
            continue
        tries = ((y + step * (height - HALO)) for step in TRIES)
        free = next((top for top in tries if 0 <= top <= last and not taken[top : top + height, x : x + across].any()), None)
        if free is None:
            placed[i] = False
            continue
        taken[free + HALO : free + height - HALO, x + HALO : x + across - HALO] = True
        corners[i, 1] = free
    return corners, placed
