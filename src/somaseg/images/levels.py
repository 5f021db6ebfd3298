"""What the grey values of a network's input depend on, of an image as a whole: `Levels`, so that its regions may share them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from somaseg.errors import InputError
from somaseg.images.regions.lazy import LazyImage
from somaseg.instances import Pixels

LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601
STRETCH = (0.3, 99.7)  # percentiles that become black and white; so a saturated speck does not darken all else
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
# An image of more pixels tells its levels by evenly spread runs of rows and columns, the first and the last among them: what lies
# along the edges stays along the edges, and what lies side by side stays so.
WHOLE_PIXELS, RUNS, RUN = 2**24, 16, 128


@dataclass(frozen=True, eq=False)
class Grey:
    """Grey values of an image, and which of them show it.

    Attributes:
        values: float32 (H, W), all finite; what shows nothing has the median of the rest.
        shown: boolean (H, W), False where the image is transparent or no number, or has the one value that stands for no data; None
            where all of it is shown.
        fill: the value that stands for no data, None where there is none.
        rest: the value of what shows nothing.
    """

    values: NDArray[np.float32]
    shown: NDArray[np.bool_] | None
    fill: float | None = None
    rest: float = 0.0

    @property
    def data(self) -> NDArray[np.float32]:
        """The values that show the image; all of them where none does."""
        return self.values[self.shown] if self.shown is not None and self.shown.any() else self.values


@dataclass(frozen=True)
class Levels:
    """What `somaseg.images.normalize.apply` needs to know of an image to give any region of it the grey values of the whole.

    Attributes:
        offset: what is taken from whole numbers of more than 24 bits before anything else; None where nothing is.
        rest: grey value of pixels that are transparent or no numbers.
        fill: grey value that stands for no data, None where there is none.
        ground: grey value of all pixels that show nothing, those with the value `fill` among them.
        mean: of the grey values that count.
        deviation: of these, 0 where the image is flat.
        low: grey value that becomes 0 of 0 to 255.
        scale: of grey values to 0 to 255.
        doubts: what makes the values doubtful, in words.
    """

    offset: float | None
    rest: float
    fill: float | None
    ground: float
    mean: float
    deviation: float
    low: float
    scale: float
    doubts: tuple[str, ...]


def levels_of(image: Pixels) -> Levels:
    """The levels of an image (H, W) or (H, W, C); of more than 16,777,216 pixels, of 4,194,304 of them, evenly spread.

    Raises:
        InputError: when it has another shape.
    """
    seen = spread(image)
    grey = grey_of(seen)
    if not grey.values.size:
        return Levels(None, 0.0, None, 0.0, 0.0, 0.0, 0.0, 0.0, ())
    filled = without_fill(grey)
    mean, deviation = moments(filled)
    low, scale = stretch(filled)
    told = doubts_of(grey, filled, "" if seen.shape == image.shape else "about ")
    return Levels(offset_of(seen), grey.rest, filled.fill, filled.rest, mean, deviation, low, scale, told)


def mean_of(channels: Sequence[Pixels]) -> Pixels:
    """The mean of images (H, W) of one size, float32, each stretched so that the percentiles `STRETCH` of it become 0 and 255."""
    levels = [levels_of(channel) for channel in channels]

    def mean(regions: Iterable[NDArray[Any]]) -> NDArray[Any]:
        total: Any = np.float32(0)
        for region, of_channel in zip(regions, levels, strict=True):
            grey, _ = plain_grey(region, of_channel.offset)
            total = total + (grey - np.float32(of_channel.low)) * np.float32(of_channel.scale)
        return np.asarray(total / np.float32(len(levels)))

    lazy = [channel for channel in channels if isinstance(channel, LazyImage)]
    if len(lazy) < len(channels):
        return mean(map(np.asarray, channels))
    return LazyImage(
        lazy[0].shape, np.float32, lambda box: mean(one[box[1] : box[3], box[0] : box[2]] for one in lazy), check=lazy[0].check
    )


def spread(image: Pixels) -> NDArray[Any]:
    """All of an image, or of a large one evenly spread runs of rows and columns, as an image of their own."""
    if not is_large(image):
        return np.asarray(image)
    rows, columns = (_runs(length) for length in image.shape[:2])
    return np.concatenate([np.concatenate([image[y0:y1, x0:x1] for x0, x1 in columns], axis=1) for y0, y1 in rows])


def is_large(image: Pixels) -> bool:
    """Whether the levels of an image are taken from a part of it."""
    return image.ndim in (2, 3) and image.shape[0] * image.shape[1] > WHOLE_PIXELS


def _runs(length: int) -> list[tuple[int, int]]:
    """Begin and end of runs along an axis."""
    if length <= RUNS * RUN:
        return [(0, length)]
    starts = [round(i * (length - RUN) / (RUNS - 1)) for i in range(RUNS)]
    return [(start, start + RUN) for start in starts]


def moments(grey: Grey) -> tuple[float, float]:
    """Mean and deviation of the values that count, all but hidden ones and single ones far outside the range of the others."""
    counted = _without_outliers(grey)
    mean = counted.mean(dtype=np.float64)
    values = grey.values - np.float32(mean) if counted.size == grey.values.size else counted - mean
    return float(mean), float(values.std(dtype=np.float64))


def stretch(grey: Grey) -> tuple[float, float]:
    """The value that becomes 0 of 0 to 255, and the scale of values to these, from the percentiles `STRETCH` of what is shown."""
    low, high = np.percentile(_sample(grey.data), STRETCH)
    return float(low), float(255 / (high - low)) if high - low >= 255 * np.finfo(np.float32).tiny else 0.0


def doubts_of(grey: Grey, filled: Grey, about: str = "") -> tuple[str, ...]:
    """What makes grey values doubtful, in words: parts without data, and one value nearly everywhere.

    Args:
        grey: the values.
        filled: the same `without_fill`.
        about: stands before the shares.
    """
    if grey.values.size < 2:
        return ()
    found = []
    if grey.shown is not None and (share := 1 - float(grey.shown.mean())) > 0:
        found.append(f"{about}{100 * share:.3g} % of its pixels are transparent or no numbers: nothing is found there")
    if filled.fill is not None:
        share = float((grey.values == np.float32(filled.fill)).mean())
        found.append(f"{about}{100 * share:.3g} % of its pixels have the value {filled.fill:g}, far from all others: taken for no data")
    else:
        values, counts = np.unique(_sample(grey.data), return_counts=True)
        if (share := counts.max() / counts.sum()) > MOSTLY:
            found.append(f"{about}{100 * share:.3g} % of its pixels have the value {values[counts.argmax()]:g}: check that it shows cells")
    return tuple(found)


def grey_of(image: NDArray[Any]) -> Grey:
    """Grey values of an image (H, W) or (H, W, 1 to 4), with alpha and numbers that are none told apart.

    Raises:
        InputError: when it has another shape.
    """
    grey, shown = plain_grey(image, offset_of(image))
    if shown is None:
        return Grey(grey, None)
    rest = np.median(_sample(grey[shown])) if shown.any() else 0.0
    return Grey(np.where(shown, grey, rest).astype(np.float32), shown, rest=float(rest))


def plain_grey(image: NDArray[Any], offset: float | None) -> tuple[NDArray[np.float32], NDArray[np.bool_] | None]:
    """Grey values as they are, less the offset, and which of them are shown; None where all are."""
    with np.errstate(over="ignore", invalid="ignore"):  # numbers that no float32 holds become infinite
        values = _narrow(_without_alpha(image), offset)
        grey = values @ LUMA if values.ndim == 3 else values
    shown = np.isfinite(grey)
    if image.ndim == 3 and image.shape[2] in (2, 4):
        shown &= image[..., -1] != 0
    return grey, None if shown.all() else shown


def offset_of(image: NDArray[Any]) -> float | None:
    """What is taken from whole numbers of more than the 24 bits that float32 holds; None where all are narrower."""
    values = _without_alpha(image)
    if values.dtype.itemsize > 2 and values.dtype.kind in "ui" and values.size and max(abs(int(values.min())), int(values.max())) >= 2**24:
        return float(values.min())
    return None


def _without_alpha(image: NDArray[Any]) -> NDArray[Any]:
    """Grey values (H, W) or colours (H, W, 3)."""
    if image.ndim not in (2, 3) or (image.ndim == 3 and not 1 <= image.shape[2] <= 4):
        raise InputError(f"image has shape {image.shape}: give (height, width) or (height, width, 1 to 4 channels)")
    return image if image.ndim == 2 else image[..., :3] if image.shape[2] >= 3 else image[..., 0]


def _narrow(values: NDArray[Any], offset: float | None) -> NDArray[np.float32]:
    """Numbers as float32; wide ones first lose the smallest of them, which no result depends on."""
    return (values if offset is None else values.astype(np.float64) - offset).astype(np.float32)


def without_fill(grey: Grey) -> Grey:
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
            ground = np.median(_sample(rest))
            return Grey(np.where(shown, grey.values, ground).astype(np.float32), shown, float(fill), float(ground))
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
