"""What a file may ask for before anything is allocated; each limit is lifted by a variable of the environment."""

import os
from pathlib import Path

from somaseg.errors import InputError

DEFAULTS = {
    "SOMASEG_MAX_IMAGE_BYTES": 4 * 2**30,  # of one frame, or a volume stored as a whole: 20,000 x 20,000 pixels of 16-bit colour fit in
    "SOMASEG_MAX_PIXELS": 2**29,  # of an image that annotations tell of, its height times its width: 23,170 x 23,170
    "SOMASEG_MAX_MASK_PIXELS": 10**9,  # of the boxes of all masks of a file together: a byte each
    "SOMASEG_MAX_BYTES": 2**30,  # of what a packed file holds when it is unpacked
}


def limit(name: str) -> int:
    """The limit `name`, one of `DEFAULTS`, as the environment has it.

    Raises:
        InputError: when the variable is no whole number above 0.
    """
    text = os.environ.get(name)
    if text is None:
        return DEFAULTS[name]
    try:
        value = int(text.replace("_", ""))
    except ValueError:
        value = 0
    if value < 1:
        raise InputError(f"{name}: found {text!r}, expected a whole number from 1: unset it for {DEFAULTS[name]:,}")
    return value


def check_pixels(place: str, height: int, width: int) -> None:
    """Refuse an image larger than `SOMASEG_MAX_PIXELS`.

    Args:
        place: file and field, for the message.
        height: in pixels.
        width: in pixels.

    Raises:
        InputError: naming the place, the size and the variable.
    """
    most = limit("SOMASEG_MAX_PIXELS")
    if height * width > most:
        raise InputError(
            f"{place}: {width} x {height} are {height * width:,} pixels, the limit is {most:,}: if the size is right and the memory is "
            f"there, set the variable SOMASEG_MAX_PIXELS={height * width}"
        )


OUTLINE_PIXELS = 2_000_000
OUTLINE_PIXELS_A_BYTE = 10


class MaskBudget:
    """What the masks of one file may still cost: pixels of their boxes, of which a byte is kept each, and pixels of their outlines.

    For boxes it is `SOMASEG_MAX_MASK_PIXELS`, or a hundred pixels for each byte of the file where that is more: a file that large has
    that many cells, while a few bytes can claim a mask as large as an image. For outlines of polygons it is 2,000,000 pixels and 10 for
    each byte: real ones have about one for each byte, polygons that go to and fro across the image thousands.

    Args:
        path: the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.most = max(limit("SOMASEG_MAX_MASK_PIXELS"), 100 * path.stat().st_size)
        self.left = self.most
        self.outlines: float = max(OUTLINE_PIXELS, self.most // 500) + OUTLINE_PIXELS_A_BYTE * path.stat().st_size

    def spend(self, pixels: int) -> None:
        """Take pixels away.

        Raises:
            InputError: when there are not so many left.
        """
        self.left -= pixels
        if self.left < 0:
            raise InputError(
                f"{self.path}: its masks take more than {self.most:,} bytes: where the file is right and the memory is there, "
                "set the variable SOMASEG_MAX_MASK_PIXELS to more"
            )

    def walk(self, pixels: float) -> None:
        """Take pixels of outlines away.

        Raises:
            InputError: when there are not so many left.
        """
        self.outlines -= pixels
        if self.outlines < 0:
            raise InputError(
                f"{self.path}: its polygons go to and fro over more pixels than outlines of cells have: where the file is right, "
                "set the variable SOMASEG_MAX_MASK_PIXELS to more"
            )
