"""From an image to the pixels that a network is given, in NumPy, so that every runtime is fed the same."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from somaseg.config import DetectSettings, ModelSettings
from somaseg.images.levels import Levels
from somaseg.images.normalize import pixel_values
from somaseg.images.resize import resize, size_by_edge
from somaseg.masks.crops import Size


def prepare(image: NDArray[Any], settings: ModelSettings, levels: Levels | None = None) -> NDArray[np.float32]:
    """An image (H, W) or (H, W, C) as float32 (1, h, w), in the values and at the size that the network wants.

    Grey values 0 to 255 are resized in 8 bits by Pillow, as Detectron2 does it; standard ones as floats.

    Args:
        image: a whole image, or a region of one.
        settings: of the network.
        levels: of the image that it is a region of; its own if None.
    """
    values = pixel_values(image, settings.input, levels)
    height, width = size = input_size((values.shape[0], values.shape[1]), settings.detect)
    if settings.input.values == "grey8":
        grey = Image.fromarray(values.astype(np.uint8))
        if size != values.shape:
            grey = grey.resize((width, height), Image.Resampling.BILINEAR)
        return np.array(grey, np.float32)[None]
    return resize(values, size)[None]


def input_size(size: Size, settings: DetectSettings) -> Size:
    """Height and width that an image of `size` is given to the network with."""
    if settings.shortest_edge is not None:
        return size_by_edge(size, settings.shortest_edge, settings.longest_edge)
    height, width = (max(1, round(side * settings.scale)) for side in size)
    return height, width
