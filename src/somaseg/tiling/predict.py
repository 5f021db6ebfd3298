"""Raw detections of an image of any size."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from somaseg.config import TileSettings
from somaseg.instances import Pixels, Prediction
from somaseg.tiling.seams import join
from somaseg.tiling.tiles import tiles


def predict_tiled(predict: Callable[[NDArray[Any]], Prediction], image: Pixels, settings: TileSettings) -> Prediction:
    """Raw detections of an image (H, W) or (H, W, C), tile by tile where it is large, joined across the seams.

    Of an image that is read by region no more than a tile is in memory. Each tile is an image of its own to `predict`: with its own
    grey values, proposals and cap on detections.
    """
    parts = tiles((image.shape[0], image.shape[1]), settings)
    if len(parts) == 1:
        return predict(np.asarray(image))
    found = [predict(image[y0:y1, x0:x1]) for x0, y0, x1, y1 in (part.box for part in parts)]
    return join(found, parts, (image.shape[0], image.shape[1]))
