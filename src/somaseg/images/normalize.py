"""The stated normalisations: any image becomes one grey float32 channel, standardised or of 8-bit grey values."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from somaseg.config import InputSettings
from somaseg.errors import InputError

LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601
STRETCH = (0.3, 99.7)  # percentiles that become black and white; so a saturated speck does not darken all else
CLIP = 8.0  # deviations; a saturated speck must not reach the network as a number it never saw


def to_grey(image: NDArray[Any]) -> NDArray[np.float32]:
    """Grey values (H, W) of an image (H, W) or (H, W, C): 1 channel as it is, 2 grey + alpha, 3 RGB, 4 RGB + alpha.

    Alpha is dropped; NaN and infinite pixels become the median of the finite ones (0 where there is none).
    """
    if image.ndim == 3 and 1 <= image.shape[2] <= 4:
        grey = image[..., :3].astype(np.float32) @ LUMA if image.shape[2] >= 3 else image[..., 0].astype(np.float32)
    elif image.ndim == 2:
        grey = image.astype(np.float32)
    else:
        raise InputError(f"image has shape {image.shape}: give (height, width) or (height, width, 1 to 4 channels)")
    finite = np.isfinite(grey)
    if not finite.all():
        grey = np.where(finite, grey, np.median(grey[finite]) if finite.any() else 0.0).astype(np.float32)
    return grey


def normalize(image: NDArray[Any]) -> NDArray[np.float32]:
    """Grey values (H, W) less their mean over their standard deviation, clipped to +-8; a flat image gives zeros.

    Bit depth and exposure cancel, so 8-bit, 16-bit and float copies of one image give the same values.
    """
    grey = to_grey(image)
    if not grey.size:
        return grey
    centred = grey - np.float32(grey.mean(dtype=np.float64))
    deviation = float(centred.std(dtype=np.float64))
    return np.clip(centred / deviation, -CLIP, CLIP) if deviation > 0 else np.zeros_like(grey)


def grey8(image: NDArray[Any]) -> NDArray[np.float32]:
    """Whole grey values 0 to 255 (H, W): those of 8-bit images as they are, others stretched linearly from `STRETCH`."""
    grey = to_grey(image)
    if image.dtype != np.uint8 and grey.size:
        low, high = np.percentile(grey, STRETCH)
        grey = (grey - np.float32(low)) * np.float32(255 / (high - low) if high > low else 0)
    return np.clip(np.rint(grey), 0, 255)


def pixel_values(image: NDArray[Any], settings: InputSettings) -> NDArray[np.float32]:
    """An image (H, W) or (H, W, C) in the values that a network wants, float32 (H, W)."""
    return grey8(image) if settings.values == "grey8" else normalize(image)
