"""From the samples of a picture to grey values or red, green and blue."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from somaseg.errors import InputError

Table = NDArray[np.uint8]


def from_ink(ink: NDArray[Any]) -> NDArray[Any]:
    """Red, green and blue (H, W, 3) of cyan, magenta, yellow and black ink (H, W, 4), whole numbers of the same type."""
    whole = int(np.iinfo(ink.dtype).max)
    light = whole - ink.astype(np.uint64)
    return ((light[..., :3] * light[..., 3:] + whole // 2) // whole).astype(ink.dtype)


def through_table(places: NDArray[Any], table: Table) -> NDArray[np.uint8]:
    """Colours (H, W, C) of places (H, W) in a table (N, C); places beyond it are the last."""
    colours: NDArray[np.uint8] = table[np.minimum(places, len(table) - 1)]
    return colours


def table_of_tiff(colour_map: NDArray[np.uint16]) -> Table:
    """Table (N, 3) in 8 bits of a colour map (3, N); TIFF says 16 bits, but some writers fill in 8."""
    wide = colour_map.astype(np.uint16)
    return (wide if wide.max(initial=0) < 256 else wide >> 8).astype(np.uint8).T


def inverted(array: NDArray[Any], bits: int) -> NDArray[Any]:
    """Values of an image whose zero is white as those of one whose zero is black."""
    kind = array.dtype.kind
    if kind == "b":
        return ~array
    if kind == "u":
        return np.asarray((2**bits - 1) - array, array.dtype)
    return ~array if kind == "i" else -array


def from_ycbcr(array: NDArray[np.uint8], luma: tuple[float, ...]) -> NDArray[np.uint8]:
    """Red, green and blue of 8-bit YCbCr (H, W, 3) with full range."""
    y, cb, cr = (array[..., n].astype(np.float64) - (0 if n == 0 else 128) for n in range(3))
    kr, kg, kb = luma
    red, blue = y + (2 - 2 * kr) * cr, y + (2 - 2 * kb) * cb
    if not kg:
        raise InputError("YCbCrCoefficients: the share of green is 0")
    green = (y - kr * red - kb * blue) / kg
    return np.rint(np.stack([red, green, blue], axis=-1)).clip(0, 255).astype(np.uint8)
