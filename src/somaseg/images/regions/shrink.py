"""Images at another size, made strip by strip, so that no more than a strip is in memory."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from somaseg.instances import Pixels

STRIP = 2**23  # pixels of the image in a strip, about
REACH = 2  # pixels of the result on either side that a pixel of it depends on


def shrink(image: Pixels, grey: Callable[[NDArray[Any]], NDArray[np.uint8]], shape: tuple[int, int]) -> Image.Image:
    """An image at another size, bicubic; Pillow gives the same of all of it at once.

    Args:
        image: (H, W) or (H, W, C).
        grey: from a region of it to 8-bit grey values (h, w).
        shape: (width, height) of the result.
    """
    height, width = image.shape[:2]
    step = height / shape[1]
    reach = math.ceil(REACH * max(step, 1)) + 1
    rows = max(1, int(STRIP / width / step))
    picture = Image.new("L", shape)
    for first in range(0, shape[1], rows):
        last = min(first + rows, shape[1])
        top, bottom = max(0, int(first * step) - reach), min(height, math.ceil(last * step) + reach)
        strip = Image.fromarray(grey(image[top:bottom]))
        box = (0, first * step - top, width, min(last * step, height) - top)
        picture.paste(strip.resize((shape[0], last - first), Image.Resampling.BICUBIC, box), (0, first))
    return picture
