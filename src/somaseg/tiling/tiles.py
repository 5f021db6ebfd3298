"""Where the tiles of an image lie."""

from dataclasses import dataclass
from itertools import pairwise

from somaseg.config import TileSettings
from somaseg.masks.crops import Size

Box = tuple[int, int, int, int]


@dataclass(frozen=True)
class Tile:
    """A part of an image that the network sees at once.

    Attributes:
        box: x0 y0 x1 y1 in pixels, half-open.
        core: the part of it that belongs to no other tile; all cores together are the image.
    """

    box: Box
    core: Box


def tiles(size: Size, settings: TileSettings, zoom: float = 1.0) -> list[Tile]:
    """The tiles of an image, row by row, of about one size; a small image is one tile.

    Args:
        size: (height, width) of the image.
        settings: sizes in pixels at the weights' own scale.
        zoom: how many times larger than at that scale the network is shown the image; pixels of the image are these over `zoom`.
    """
    if max(size) <= settings.whole / zoom:
        whole = (0, 0, size[1], size[0])
        return [Tile(whole, whole)]
    rows, columns = (_spans(length, settings, zoom) for length in size)
    return [Tile((x0, y0, x1, y1), (left, top, right, bottom)) for (y0, y1), (top, bottom) in rows for (x0, x1), (left, right) in columns]


def _spans(length: int, settings: TileSettings, zoom: float) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """Begin and end of each tile along an axis, and of its core; neighbours share `overlap` pixels or a few more."""
    side, overlap = (max(least, round(given / zoom)) for given, least in ((settings.side, 2), (settings.overlap, 1)))
    count = max(1, -(-(length - overlap) // (side - overlap)))
    reach = min(length, -(-(length + (count - 1) * overlap) // count))
    starts = [round(i * (length - reach) / max(count - 1, 1)) for i in range(count)]
    borders = [0, *((start + before + reach) // 2 for before, start in pairwise(starts)), length]
    return [((start, start + reach), (borders[i], borders[i + 1])) for i, start in enumerate(starts)]
