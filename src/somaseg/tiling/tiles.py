"""Where the tiles of an image lie."""

from dataclasses import dataclass

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
    """Begin and end of each tile along an axis, and of its core; tiles are about as long as each other."""
    side, overlap, step = (max(1, round(given / zoom)) for given in (settings.side, settings.overlap, settings.step))
    furthest = max(1, (side - overlap) // step)  # steps that a tile may begin behind the one before it
    count = max(1, -(-(length - side) // (furthest * step)) + 1)
    # In whole steps, each tile begins as far behind the one before it as the others do, or a step more.
    last = -(-max(0, length - side) // step)
    apart = max(last, (count - 1) * ((length - overlap) // count // step))
    starts = [i * apart // max(count - 1, 1) * step for i in range(count)]
    ends = [*(start + overlap for start in starts[1:]), length]
    borders = [0, *((start + end) // 2 for start, end in zip(starts[1:], ends, strict=False)), length]
    return [((start, end), (borders[i], borders[i + 1])) for i, (start, end) in enumerate(zip(starts, ends, strict=True))]
