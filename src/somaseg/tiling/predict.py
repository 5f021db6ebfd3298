"""Raw detections of an image of any size."""

import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from somaseg.config import PostprocessSettings, TileSettings
from somaseg.images.levels import Levels
from somaseg.instances import KeptTiles, Pixels, Prediction
from somaseg.tiling.seams import join
from somaseg.tiling.tiles import Tile, tiles

FIELD = 520 * 704  # pixels of the field of view for which the caps on proposals and detections are meant


@dataclass(frozen=True)
class Sight:
    """How an image, or a tile of it, is looked at.

    Attributes:
        levels: of the grey values of the whole image.
        zoom: how many times larger the network is shown it than at the weights' own scale.
        fields: how many fields of view it shows, for which there are as often the caps of one.
        drawn_for: if given, masks are drawn only for cells that these thresholds may give; of tiles all are drawn, since masks are
            compared across seams, and all tiles vote.
    """

    levels: Levels
    zoom: float = 1.0
    fields: float = 1.0
    drawn_for: PostprocessSettings | None = None


See = Callable[[NDArray[Any], Sight], Prediction]
"""Raw detections of an image or a tile that is seen whole."""


def predict_tiled(see: See, image: Pixels, sight: Sight, settings: TileSettings, kept: KeptTiles | None = None) -> Prediction:
    """Raw detections of an image (H, W) or (H, W, C), tile by tile where it is large, joined across the seams.

    Of an image that is read by region no more than a tile is in memory. Each tile is seen with the levels of the whole image, and with
    caps on proposals and detections that grow with its area. What tiles warn of is told once, with their number.

    Args:
        see: gives raw detections.
        image: of any size.
        sight: how it is looked at.
        settings: of tiles.
        kept: where what tiles find is kept.
    """
    parts = tiles((image.shape[0], image.shape[1]), settings, sight.zoom)
    if len(parts) == 1:
        is_field = max(image.shape[:2]) <= settings.whole / sight.zoom
        return see(np.asarray(image), sight if is_field else _with_fields(sight, parts[0]))
    told: Counter[str] = Counter()

    def found() -> Iterator[Prediction]:
        for tile in parts:
            prediction, messages = _seen(see, image, sight, tile, kept)
            told.update(messages)
            yield prediction

    joined = join(found(), parts, (image.shape[0], image.shape[1]), sight.zoom)
    for message, count in told.items():
        warnings.warn(f"{count} of {len(parts)} tiles: {message}", UserWarning, stacklevel=2)
    return joined


def fill_tiles(see: See, image: Pixels, sight: Sight, settings: TileSettings, kept: KeptTiles, part: int, parts: int) -> int:
    """See every `parts`-th tile of a large image from number `part` on, and keep what it finds, for `predict_tiled` to join.

    Returns:
        The number of tiles of the image; of one tile none is kept.
    """
    every = tiles((image.shape[0], image.shape[1]), settings, sight.zoom)
    for tile in every[part::parts] if len(every) > 1 else ():
        _seen(see, image, sight, tile, kept)
    return len(every)


def _seen(see: See, image: Pixels, sight: Sight, tile: Tile, kept: KeptTiles | None) -> tuple[Prediction, Sequence[str]]:
    known = None if kept is None else kept.load(tile.box)
    if known is not None:
        return known
    x0, y0, x1, y1 = tile.box
    part = replace(_with_fields(sight, tile), drawn_for=None)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        prediction = see(image[y0:y1, x0:x1], part)
    messages = list(dict.fromkeys(str(warning.message) for warning in caught))
    if kept is not None:
        kept.save(tile.box, prediction, messages)
    return prediction, messages


def _with_fields(sight: Sight, tile: Tile) -> Sight:
    """The sight of a tile, which shows as many fields of view as its area is worth."""
    x0, y0, x1, y1 = tile.box
    return replace(sight, fields=max(1.0, (x1 - x0) * (y1 - y0) * sight.zoom**2 / FIELD))
