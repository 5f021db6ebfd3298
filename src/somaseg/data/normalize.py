"""The stated normalisation: any image becomes one grey float32 channel of zero mean and unit deviation."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from somaseg.errors import InputError

LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601
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
