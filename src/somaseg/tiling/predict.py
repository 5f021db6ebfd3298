"""Raw detections of an image of any size."""

import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from numpy.typing import NDArray

from somaseg.config import TileSettings
from somaseg.instances import KeptTiles, Prediction
from somaseg.tiling.seams import join
from somaseg.tiling.tiles import Tile, tiles

FIELD = 520 * 704  # pixels of the field of view for which the caps on proposals and detections are meant

Predict = Callable[[NDArray[Any], float], Prediction]
"""Raw detections of an image that shows so many fields of view."""


def predict_tiled(predict: Predict, image: NDArray[Any], settings: TileSettings, kept: KeptTiles | None = None) -> Prediction:
    """Raw detections of an image (H, W) or (H, W, C), tile by tile where it is large, joined across the seams.

    Each tile is an image of its own to `predict`, with caps on proposals and detections that grow with its area. What a tile warns
    of is told once, with the number of tiles.
    """
    parts = tiles((image.shape[0], image.shape[1]), settings)
    if len(parts) == 1:
        return predict(image, 1.0)
    told: Counter[str] = Counter()

    def found() -> Iterator[Prediction]:
        for tile in parts:
            prediction, messages = _see(predict, image, tile, kept)
            told.update(messages)
            yield prediction

    joined = join(found(), parts, (image.shape[0], image.shape[1]))
    for message, count in told.items():
        warnings.warn(f"{count} of {len(parts)} tiles: {message}", UserWarning, stacklevel=2)
    return joined


def fill_tiles(predict: Predict, image: NDArray[Any], settings: TileSettings, kept: KeptTiles, part: int, parts: int) -> int:
    """See every `parts`-th tile of a large image from number `part` on, and keep what it finds, for `predict_tiled` to join.

    Returns:
        The number of tiles of the image; of one tile none is kept.
    """
    every = tiles((image.shape[0], image.shape[1]), settings)
    for tile in every[part::parts] if len(every) > 1 else ():
        _see(predict, image, tile, kept)
    return len(every)


def _see(predict: Predict, image: NDArray[Any], tile: Tile, kept: KeptTiles | None) -> tuple[Prediction, Sequence[str]]:
    known = None if kept is None else kept.load(tile.box)
    if known is not None:
        return known
    x0, y0, x1, y1 = tile.box
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        prediction = predict(image[y0:y1, x0:x1], max(1.0, (x1 - x0) * (y1 - y0) / FIELD))
    messages = list(dict.fromkeys(str(warning.message) for warning in caught))
    if kept is not None:
        kept.save(tile.box, prediction, messages)
    return prediction, messages
