"""Limits that are kept before memory is taken: how many bytes an image may become, and how many planes a file may promise."""

import os
from pathlib import Path

from somaseg.errors import InputError
from somaseg.limits import limit

VARIABLE = "SOMASEG_MAX_IMAGE_BYTES"
# A file that is blown up beyond both is a bomb or damaged. Pictures of cells give 2 to 50; zeros give 1,000 with deflate and 8 bits.
BOMB_BYTES, BOMB_RATIO = 100 * 10**6, 2000
MAX_PLANES = 1_000_000


def check_size(path: Path, width: int, height: int, pixel_bytes: int, depth: int = 1, by_region: bool = False) -> None:
    """Refuse an image that would take more memory than `SOMASEG_MAX_IMAGE_BYTES` allows, 4 GiB where it is not set.

    Where it is not set, a file that becomes more than 2,000 times as large in memory, and more than 100 MB, is refused too. An image
    that is read region by region takes no such memory; of it only this is asked, since none of cells is packed so tightly.

    Args:
        path: the image file, or the folder of an image.
        width: of a plane in pixels.
        height: of a plane in pixels.
        pixel_bytes: bytes of a pixel with all its channels.
        depth: planes that are decoded at once.
        by_region: whether it is read region by region.

    Raises:
        InputError: naming the file, its size and the variable that lifts the limit; also where the variable is no number.
    """
    needed = width * height * pixel_bytes * depth
    most, is_default = limit(VARIABLE), VARIABLE not in os.environ
    size = path.stat().st_size if path.is_file() else sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    if (needed > most and not by_region) or (is_default and needed > max(BOMB_BYTES, BOMB_RATIO * size)):
        planes = f"{depth:,} planes of " if depth > 1 else ""
        why = (
            f"more than the limit of {most:,}"
            if needed > most and not by_region
            else f"{needed // max(size, 1):,} times the {size:,} of the file"
        )
        raise InputError(
            f"{path}: has {planes}{width} x {height} pixels, which take {needed:,} bytes of memory, {why}: cut it into tiles, "
            f"or set the environment variable {VARIABLE}={needed} if it is to be read all the same"
        )


def check_planes(path: Path, promised: int, what: str) -> None:
    """Refuse a description that promises more planes than any file has, before they are listed.

    Raises:
        InputError: naming the file and the number.
    """
    if promised > MAX_PLANES:
        raise InputError(f"{path}: its {what} promises {promised:,} planes, more than the limit of {MAX_PLANES:,}: the file may be damaged")
