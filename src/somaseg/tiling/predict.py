"""Raw detections of an image of any size."""

from collections.abc import Callable
from typing import Any

from numpy.typing import NDArray

from somaseg.config import TileSettings
from somaseg.instances import Prediction
from somaseg.tiling.seams import join
from somaseg.tiling.tiles import tiles


def predict_tiled(
    predict: Callable[[NDArray[Any]], Prediction], image: NDArray[Any], settings: TileSettings, zoom: float = 1.0
) -> Prediction:
    """Raw detections of an image (H, W) or (H, W, C), tile by tile where it is large, joined across the seams.

    Each tile is an image of its own to `predict`: with its own grey values, proposals and cap on detections. `predict` shows them
    `zoom` times larger than the weights' own scale, at which tiles are measured.
    """
    parts = tiles((image.shape[0], image.shape[1]), settings, zoom)
    if len(parts) == 1:
        return predict(image)
    found = [predict(image[y0:y1, x0:x1]) for x0, y0, x1, y1 in (part.box for part in parts)]
    return join(found, parts, (image.shape[0], image.shape[1]), zoom)
