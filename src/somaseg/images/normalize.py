"""The stated normalisations: any image becomes one grey float32 channel, standardised or of 8-bit grey values."""

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from somaseg.config import InputSettings
from somaseg.images.levels import Levels, grey_of, is_large, levels_of, moments, plain_grey, stretch, without_fill
from somaseg.instances import Pixels

CLIP = 8.0  # deviations; a saturated speck must not reach the network as a number it never saw
ROUNDING = 4  # units in the last place by which the grey value of one colour may differ from region to region

Values = Literal["standard", "grey8"]


def to_grey(image: NDArray[Any], levels: Levels | None = None) -> NDArray[np.float32]:
    """Grey values (H, W) of an image (H, W) or (H, W, C): 1 channel as it is, 2 grey + alpha, 3 RGB, 4 RGB + alpha.

    Where alpha is 0, and where pixels are NaN or infinite, is the median of the others (0 where there is none).

    Args:
        image: a whole image, or a region of one.
        levels: of the image that it is a region of; its own if None.
    """
    return grey_of(image).values if levels is None else _filled(image, levels.offset, None, levels.rest)


def normalize(image: NDArray[Any]) -> NDArray[np.float32]:
    """Grey values (H, W) less their mean over their standard deviation, clipped to +-8; a flat image gives zeros.

    Mean and deviation are those of the picture alone: transparent pixels, stripes without data and single pixels far outside the
    range of all others do not count. Bit depth and exposure cancel, so 8-bit, 16-bit and float copies of one image give the same
    values. Of a very large image they are taken from a part, see `somaseg.images.levels.levels_of`.
    """
    if is_large(image):
        return apply(levels_of(image), image)
    grey = without_fill(grey_of(image))
    return _standard(grey.values, *moments(grey)) if grey.values.size else grey.values


def grey8(image: NDArray[Any]) -> NDArray[np.float32]:
    """Whole grey values 0 to 255 (H, W): those of 8-bit images as they are, others stretched linearly from percentiles.

    The percentiles are those of the picture alone, as in `normalize`.
    """
    if is_large(image):
        return apply(levels_of(image), image, "grey8")
    grey = grey_of(image)
    if image.dtype == np.uint8 or not grey.values.size:
        return _rounded(grey.values)
    grey = without_fill(grey)
    return _stretched(grey.values, *stretch(grey))


def apply(levels: Levels, region: NDArray[Any], values: Values = "standard") -> NDArray[np.float32]:
    """Grey values (h, w) of a region (h, w) or (h, w, C) with the levels of the image that it belongs to.

    With the levels of the very image it gives what `normalize` and `grey8` give, to the bit.

    Args:
        levels: of the image.
        region: of it, or all of it.
        values: which of the two normalisations.
    """
    if values == "grey8" and region.dtype == np.uint8:
        return _rounded(_filled(region, levels.offset, None, levels.rest))
    grey = _filled(region, levels.offset, levels.fill, levels.ground)
    return _stretched(grey, levels.low, levels.scale) if values == "grey8" else _standard(grey, levels.mean, levels.deviation)


def doubts(image: Pixels) -> list[str]:
    """What makes the values of an image (H, W) or (H, W, C) doubtful, in words: parts without data, and one value nearly everywhere."""
    return list(levels_of(image).doubts)


def pixel_values(image: NDArray[Any], settings: InputSettings, levels: Levels | None = None) -> NDArray[np.float32]:
    """An image (H, W) or (H, W, C) in the values that a network wants, float32 (H, W).

    Args:
        image: a whole image, or a region of one.
        settings: which values are wanted.
        levels: of the image that it is a region of; its own if None.
    """
    if levels is not None:
        return apply(levels, image, settings.values)
    return grey8(image) if settings.values == "grey8" else normalize(image)


def _filled(region: NDArray[Any], offset: float | None, fill: float | None, rest: float) -> NDArray[np.float32]:
    """Grey values, with `rest` where nothing is shown or the value is `fill`."""
    grey, shown = plain_grey(region, offset)
    if fill is not None:
        none = np.float32(fill)
        several = region.ndim == 3 and region.shape[2] >= 3
        there = np.abs(grey - none) > ROUNDING * np.spacing(np.abs(none)) if several else grey != none
        shown = there if shown is None else shown & there
    return grey if shown is None else np.where(shown, grey, np.float32(rest))


def _standard(values: NDArray[np.float32], mean: float, deviation: float) -> NDArray[np.float32]:
    return (
        np.clip((values - np.float32(mean)) / deviation, -CLIP, CLIP) if deviation >= np.finfo(np.float32).tiny else np.zeros_like(values)
    )


def _stretched(values: NDArray[np.float32], low: float, scale: float) -> NDArray[np.float32]:
    return _rounded((values - np.float32(low)) * np.float32(scale))


def _rounded(values: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.clip(np.rint(values), 0, 255)
