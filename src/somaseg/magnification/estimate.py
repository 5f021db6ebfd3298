"""An estimate of how large the cells of an image are beside those that the weights know, from a few looks at the image.

At each size the detector says which class the cells are and how large it sees them. At the right size they are as large as cells of that
class were in training, and most of what it finds, it is sure of. Too small, they come out smaller than that; too large, the picture
dissolves into many detections of which few are sure.
"""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from somaseg.instances import Pixels, Prediction, Predictor
from somaseg.magnification.sizes import diameters, middle

LADDER = (1 / 8, 1 / 5, 1 / 3, 1 / 2, 1.0, 2.0, 3.0, 5.0)
"""The zooms that are tried. What lies between two of them is at most 1.4 times off, about as far as sizes were varied in training."""
LOOKS = 4  # at one image, at most
SURE = 0.3  # score from which a detection is likely a cell
FEW = 5  # likely cells without which nothing can be said
# Seen over known diameter of right images is .83 to 1.18, of shrunk ones (x1/2) .48 to .76, of enlarged ones (x1.4) 1.1 and more.
SMALL, LARGE = 0.78, 1.35  # outside of these the size is wrong
SMALLISH, LARGISH = 0.88, 1.2  # outside of these the next size is looked at too
CLEARLY = 0.04  # by how much another size must come nearer to the known diameter, on a log scale, than the image as it is
SHARE = 0.38  # of the sum of scores that likely cells have; less where the image is shown too large
CLASS = 0.8  # of the sum of scores that one class has, where its known diameter can be trusted
STEP = 1.2  # power of the seen diameter that the zoom follows: detectors find boxes of a size that they know
REGION = 640  # px at the weights' own scale: a look at a large image is at its part of most contrast
PARTS = 3  # places along each side of a large image that such a part may lie at


@dataclass(frozen=True)
class Look:
    """What a detector found at one size.

    Attributes:
        zoom: the size.
        cells: likely cells.
        ratio: median diameter that they are seen at, over that which the weights know of their class; 0 without cells.
        share: of the sum of scores that they have.
        one_class: the largest share of the sum of scores that a class has.
    """

    zoom: float
    cells: int
    ratio: float
    share: float
    one_class: float

    @property
    def fits(self) -> bool:
        """Whether the cells are as large as the weights know cells of their class."""
        return self.is_likely and self.share >= SHARE

    @property
    def is_likely(self) -> bool:
        """The same but for how much of the scores is that of likely cells."""
        return self.cells >= FEW and SMALL <= self.ratio <= LARGE and self.one_class >= CLASS

    @property
    def is_near(self) -> bool:
        """Whether there is no need to look at another size."""
        return self.fits and SMALLISH <= self.ratio <= LARGISH

    @property
    def off(self) -> float:
        """How far the seen diameter is from the known one, on a log scale."""
        return abs(float(np.log(self.ratio))) if self.ratio else np.inf


@dataclass(frozen=True, eq=False)
class Estimate:
    """What looks at an image tell of its magnification.

    Attributes:
        zoom: the size at which to show it; 1 where nothing can be said.
        sure: whether the cells are as large as the weights know them at that size.
        reason: why not.
        looks: in the order they were taken.
        prediction: of the whole image at that zoom, where a look was at the whole of it.
        warnings: of that prediction.
    """

    zoom: float
    sure: bool
    reason: str
    looks: tuple[Look, ...]
    prediction: Prediction | None = None
    warnings: tuple[str, ...] = ()


@dataclass
class _Looks:
    """Looks at an image, each taken once."""

    predictor: Predictor
    image: Pixels
    known: Mapping[str, float]
    taken: dict[float, Look] = field(default_factory=dict)
    whole: dict[float, tuple[Prediction, tuple[str, ...]]] = field(default_factory=dict)

    def at(self, zoom: float) -> Look:
        if zoom not in self.taken:
            part = _part(self.image, zoom)
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always", UserWarning)
                prediction = self.predictor.predict(part, zoom)
            if part.shape == self.image.shape:
                self.whole[zoom] = (prediction, tuple(str(warning.message) for warning in caught))
            self.taken[zoom] = look(prediction, self.known)
        return self.taken[zoom]

    def estimate(self, zoom: float, sure: bool, reason: str = "") -> Estimate:
        prediction, told = self.whole.get(zoom, (None, ()))
        return Estimate(zoom, sure, reason, tuple(self.taken.values()), prediction, told)


def estimate(predictor: Predictor, image: Pixels, known: Mapping[str, float]) -> Estimate:
    """How large to show an image, by at most `LOOKS` looks at it; an image whose cells fit as it is stays so after one look.

    Args:
        predictor: gives raw detections.
        image: (H, W) or (H, W, C).
        known: median diameter of cells in pixels at the weights' own scale, by class; one class at least.
    """
    looks = _Looks(predictor, image, known)
    first = looks.at(1.0)
    if first.is_near:
        return looks.estimate(1.0, True)
    wanted = _next(first)
    while wanted is not None and wanted not in looks.taken and len(looks.taken) < LOOKS:
        wanted = _next(looks.at(wanted))
    fitting = [one for one in looks.taken.values() if one.fits]
    if not fitting and first.is_likely:
        return looks.estimate(1.0, True)
    if not fitting:
        few = all(one.cells < FEW for one in looks.taken.values())
        return looks.estimate(
            1.0, False, "there are too few cells" if few else "its cells look like none that the weights know at any size"
        )
    best = min(fitting, key=lambda one: one.off)
    stays = first.is_likely and first.share >= min(SHARE, best.share) and first.off <= best.off + CLEARLY
    return looks.estimate(1.0 if stays else best.zoom, True)


def best_of(predictor: Predictor, image: Pixels, zooms: Sequence[float], known: Mapping[str, float]) -> Estimate:
    """Which of some zooms fits the cells best; see `estimate`."""
    looks = _Looks(predictor, image, known)
    best = min((looks.at(zoom) for zoom in zooms), key=lambda one: one.off)
    return looks.estimate(best.zoom, best.fits)


def look(prediction: Prediction, known: Mapping[str, float]) -> Look:
    """What a prediction tells of the size of cells."""
    scores = prediction.scores.astype(np.float64)
    likely, total = scores > SURE, float(scores.sum())
    cells = int(likely.sum())
    if not cells:
        return Look(prediction.zoom, 0, 0.0, 0.0, 0.0)
    shares = np.bincount(prediction.labels, scores, len(prediction.classes)) / total
    size = np.array([known.get(name, middle(known)) for name in prediction.classes])
    expected = float(np.exp(shares @ np.log(size)))
    sides = (prediction.boxes[likely, 2:] - prediction.boxes[likely, :2]).astype(np.float64)
    filled = (prediction.mask_probs[likely] >= 0.5).mean(axis=(1, 2))
    seen = float(np.median(diameters(filled * sides.prod(axis=1)))) * prediction.zoom
    return Look(prediction.zoom, cells, seen / expected, float(scores[likely].sum()) / total, float(shares.max()))


def _next(found: Look) -> float | None:
    """The zoom of the ladder at which cells should be as large as known ones, after a look; None where it fits or nothing is to be seen."""
    if not found.cells or found.is_near:
        return None
    factor = 1 / 3 if found.share < SHARE or found.cells < FEW else found.ratio**-STEP
    beyond = [zoom for zoom in LADDER if (zoom - found.zoom) * (factor - 1) > 0]
    return min(beyond, key=lambda zoom: abs(np.log(zoom / (found.zoom * factor))), default=None)


def _part(image: Pixels, zoom: float) -> Pixels:
    """Of an image that is larger than a field of view at this zoom the part of most contrast; else all of it."""
    side = max(8, round(REGION / zoom))
    if max(image.shape[:2]) <= 1.25 * side:
        return image
    rows, columns = (np.unique(np.linspace(0, max(0, length - side), PARTS).astype(int)) for length in image.shape[:2])
    parts: list[NDArray[np.generic]] = [image[y : y + side, x : x + side] for y in rows.tolist() for x in columns.tolist()]
    return max(parts, key=lambda part: float(part[::4, ::4].std()))
