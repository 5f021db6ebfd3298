"""The stated normalisations: any image becomes one grey float32 channel, standardised or of 8-bit grey values."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from somaseg.config import InputSettings
from somaseg.errors import InputError

LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601
STRETCH = (0.3, 99.7)  # percentiles that become black and white; so a saturated speck does not darken all else
CLIP = 8.0  # deviations; a saturated speck must not reach the network as a number it never saw
# Beyond the outer quantiles by more than 3 times what lies between them, a pixel is a fault of the camera and tells nothing of the
# contrast. Of 419 training images of phase contrast none has such a pixel (at most 2.8 times).
QUANTILES, REACH = (0.005, 0.995), 3.0
# More of them, up to a twentieth, are faults only where they stand alone: bright cells on a dark ground do not. There, at most 32 times.
WIDE_QUANTILES, WIDE_REACH, ALONE = (0.05, 0.95), 100.0, 0.5
# One value of so many pixels, farther from all others than a quarter of their own range, stands for "no data" where it fills stripes, the
# border of a turned image, or a missing tile: nearly all of it is seen from an edge along a row or column, or it fills its own box.
FILL_SHARES, FILL_GAP, FILL_SHAPE = (0.01, 0.6), 0.25, 0.95
SMALLEST = 1024  # pixels; smaller images say too little of what stands for no data
MOSTLY = 0.5  # of the pixels; an image of which more have one value is looked at with doubt
SAMPLE = 2**22  # pixels from which quantiles are taken, evenly spread


@dataclass(frozen=True, eq=False)
class Grey:
    """Grey values of an image, and which of them show it.

    Attributes:
        values: float32 (H, W), all finite; what shows nothing has the median of the rest.
        shown: boolean (H, W), False where the image is transparent or no number, or has the one value that stands for no data; None
            where all of it is shown.
        fill: the value that stands for no data, None where there is none.
    """

    values: NDArray[np.float32]
    shown: NDArray[np.bool_] | None
    fill: float | None = None

    @property
    def data(self) -> NDArray[np.float32]:
        """The values that show the image; all of them where none does."""
        return self.values[self.shown] if self.shown is not None and self.shown.any() else self.values


def to_grey(image: NDArray[Any]) -> NDArray[np.float32]:
    """Grey values (H, W) of an image (H, W) or (H, W, C): 1 channel as it is, 2 grey + alpha, 3 RGB, 4 RGB + alpha.

    Where alpha is 0, and where pixels are NaN or infinite, is the median of the others (0 where there is none).
    """
    return _grey(image).values


def normalize(image: NDArray[Any]) -> NDArray[np.float32]:
    """Grey values (H, W) less their mean over their standard deviation, clipped to +-8; a flat image gives zeros.

    Mean and deviation are those of the picture alone: transparent pixels, stripes without data and single pixels far outside the
    range of all others do not count. Bit depth and exposure cancel, so 8-bit, 16-bit and float copies of one image give the same
    values.
    """
    grey = _without_fill(_grey(image))
    values = grey.values
    if not values.size:
        return values
    counted = _without_outliers(grey)
    centred = values - np.float32(counted.mean(dtype=np.float64))
    deviation = float((centred if counted.size == values.size else counted - counted.mean(dtype=np.float64)).std(dtype=np.float64))
    return np.clip(centred / deviation, -CLIP, CLIP) if deviation > 0 else np.zeros_like(values)


def grey8(image: NDArray[Any]) -> NDArray[np.float32]:
    """Whole grey values 0 to 255 (H, W): those of 8-bit images as they are, others stretched linearly from `STRETCH`.

    The percentiles are those of the picture alone, as in `normalize`.
    """
    grey = _grey(image)
    values = grey.values
    if image.dtype != np.uint8 and values.size:
        grey = _without_fill(grey)
        values = grey.values
        low, high = np.percentile(_sample(grey.data), STRETCH)
        values = (values - np.float32(low)) * np.float32(255 / (high - low) if high > low else 0)
    return np.clip(np.rint(values), 0, 255)


def doubts(image: NDArray[Any]) -> list[str]:
    """What makes the values of an image (H, W) or (H, W, C) doubtful, in words: parts without data, and one value nearly everywhere."""
    grey = _grey(image)
    if grey.values.size < 2:
        return []
    found = []
    if grey.shown is not None and (share := 1 - float(grey.shown.mean())) > 0:
        found.append(f"{100 * share:.3g} % of its pixels are transparent or no numbers: nothing is found there")
    if (filled := _without_fill(grey)).fill is not None:
        share = float((grey.values == np.float32(filled.fill)).mean())
        found.append(f"{100 * share:.3g} % of its pixels have the value {filled.fill:g}, far from all others: taken for no data")
    else:
        values, counts = np.unique(_sample(grey.data), return_counts=True)
        if (share := counts.max() / counts.sum()) > MOSTLY:
            found.append(f"{100 * share:.3g} % of its pixels have the value {values[counts.argmax()]:g}: check that it shows cells")
    return found


def pixel_values(image: NDArray[Any], settings: InputSettings) -> NDArray[np.float32]:
    """An image (H, W) or (H, W, C) in the values that a network wants, float32 (H, W)."""
    return grey8(image) if settings.values == "grey8" else normalize(image)


def _grey(image: NDArray[Any]) -> Grey:
    """Grey values, with alpha and numbers that are none told apart."""
    if image.ndim not in (2, 3) or (image.ndim == 3 and not 1 <= image.shape[2] <= 4):
        raise InputError(f"image has shape {image.shape}: give (height, width) or (height, width, 1 to 4 channels)")
    channels = 1 if image.ndim == 2 else image.shape[2]
    with np.errstate(over="ignore", invalid="ignore"):  # numbers that no float32 holds become infinite
        grey = _narrow(image[..., :3]) @ LUMA if channels >= 3 else _narrow(image if image.ndim == 2 else image[..., 0])
    shown = np.isfinite(grey)
    if channels in (2, 4):
        shown &= image[..., -1] != 0
    if shown.all():
        return Grey(grey, None)
    rest = np.median(_sample(grey[shown])) if shown.any() else 0.0
    return Grey(np.where(shown, grey, rest).astype(np.float32), shown)


def _narrow(values: NDArray[Any]) -> NDArray[np.float32]:
    """Numbers as float32, which holds whole ones up to 24 bits; wider ones first lose the smallest of them, which no result depends on."""
    if values.dtype.itemsize > 2 and values.dtype.kind in "ui" and values.size and max(abs(int(values.min())), int(values.max())) >= 2**24:
        values = values.astype(np.float64) - float(values.min())
    return values.astype(np.float32)


def _without_fill(grey: Grey) -> Grey:
    """The same without the pixels of the one value, the least or the greatest, that stands for no data."""
    data = grey.data
    for fill in (data.min(), data.max()) if data.size >= SMALLEST else ():
        share = float((data == fill).mean())
        if not FILL_SHARES[0] <= share <= FILL_SHARES[1] or not _is_outside(grey.values == fill):
            continue
        rest = data[data != fill]
        low, high = np.quantile(_sample(rest), QUANTILES)
        if high > low and np.abs(rest - fill).min() > FILL_GAP * (high - low):
            shown = grey.values != fill if grey.shown is None else grey.shown & (grey.values != fill)
            return Grey(np.where(shown, grey.values, np.median(_sample(rest))).astype(np.float32), shown, float(fill))
    return grey


def _is_outside(filled: NDArray[np.bool_]) -> bool:
    """Whether pixels (H, W) are seen from the edges of the image along rows and columns, or fill a box."""
    seen = np.zeros_like(filled)
    for turned, into in ((filled, seen), (filled[::-1], seen[::-1]), (filled.T, seen.T), (filled.T[::-1], seen.T[::-1])):
        into |= np.logical_and.accumulate(turned, axis=0)
    rows, columns = (np.flatnonzero(filled.any(axis=axis)) for axis in (1, 0))
    box = int(np.ptp(rows) + 1) * int(np.ptp(columns) + 1)
    count = int(filled.sum())
    return int(seen.sum()) >= FILL_SHAPE * count or count >= FILL_SHAPE * box


def _without_outliers(grey: Grey) -> NDArray[np.float32]:
    """The values that are not far outside the range of nearly all; all of them where that range is nothing."""
    data: NDArray[np.float32] = grey.data
    quantiles = np.quantile(_sample(data), (*QUANTILES, *WIDE_QUANTILES))
    least, greatest = data.min(), data.max()
    for (low, high), reach in ((quantiles[:2], REACH), (quantiles[2:], WIDE_REACH)):
        lowest, highest = low - reach * (high - low), high + reach * (high - low)
        if high > low and (least < lowest or greatest > highest):
            if reach == WIDE_REACH and not _stand_alone((grey.values < lowest) | (grey.values > highest)):
                continue
            inside: NDArray[np.float32] = data[(data >= lowest) & (data <= highest)]
            return inside
    return data


def _stand_alone(pixels: NDArray[np.bool_]) -> bool:
    """Whether most of some pixels (H, W) have none of the others above, below or beside them."""
    framed = np.pad(pixels, 1)
    beside = framed[:-2, 1:-1] | framed[2:, 1:-1] | framed[1:-1, :-2] | framed[1:-1, 2:]
    return int((pixels & ~beside).sum()) > ALONE * int(pixels.sum())


def _sample(data: NDArray[np.float32]) -> NDArray[np.float32]:
    """At most some millions of values, evenly spread."""
    return data.ravel()[:: 1 + data.size // SAMPLE]
