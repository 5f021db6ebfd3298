"""Which image a crop shows, and how much the crop counts."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from somaseg.annotations.samples import UNKNOWN_TYPE, Sample
from somaseg.config import PseudoTrainSettings, TrainSettings
from somaseg.errors import InputError


@dataclass(frozen=True, eq=False)
class Source:
    """Numbers of images by cell type, and how likely each type is drawn (T,); chances that are all 0 draw nothing."""

    of_type: dict[str, list[int]]
    chances: NDArray[np.float64]

    def draw(self, random: np.random.Generator) -> tuple[str, int]:
        """A cell type and one of its images."""
        cell_type = list(self.of_type)[random.choice(len(self.chances), p=self.chances)]
        return cell_type, int(random.choice(self.of_type[cell_type]))


class Draws:
    """Draws of images: those that a person annotated, and pseudo-labelled ones while they count.

    Attributes:
        annotated, pseudo: what is drawn from. Without pseudo-labelled images, and until these count, nothing is drawn otherwise than if
            there never were any.

    Raises:
        InputError: when no person annotated any of the samples, or `type_weights` names no cell type of them.
    """

    def __init__(self, samples: Sequence[Sample], classes: Sequence[str], settings: TrainSettings) -> None:
        self.settings = settings
        self.annotated = _pool(samples, "manual", settings)
        self.pseudo = _pool(samples, "pseudo", settings)
        if not self.annotated.of_type:
            raise InputError("--data: no image that a person annotated is left to learn from: give more of them, or another train.fold")
        given, known = settings.type_weights, {**self.annotated.of_type, **self.pseudo.of_type}
        if not set(given) <= {*classes, *known} or not self.annotated.chances.any():
            raise InputError(
                f"train.type_weights: found {given}, the cell types are {', '.join(known)}: name these, one of annotated images above 0"
            )

    def draw(self, step: int, random: np.random.Generator) -> tuple[str, int, float]:
        """Cell type and number of the image that a crop of step `step` shows, and how much the crop counts."""
        weight = pseudo_weight(self.settings.pseudo, step, self.settings.steps)
        if weight and self.pseudo.chances.any() and random.random() < self.settings.pseudo.share:
            return *self.pseudo.draw(random), weight
        return *self.annotated.draw(random), 1.0


def pseudo_weight(settings: PseudoTrainSettings, step: int, steps: int) -> float:
    """How much a crop of a pseudo-labelled image counts in step `step`, from 0, of a run of `steps`."""
    start, full = settings.start * steps, settings.full * steps
    if step >= full:
        return settings.weight
    if step <= start:
        return 0.0
    return settings.weight * (step - start) / (full - start)


def _pool(samples: Sequence[Sample], source: str, settings: TrainSettings) -> Source:
    """The images of a source, by cell type in the order of names, unknown ones first."""
    own = [(i, sample) for i, sample in enumerate(samples) if sample.source == source]
    names = sorted({sample.type_name for _, sample in own}, key=lambda name: (name != UNKNOWN_TYPE, name))
    of_type = {t: [i for i, sample in own if sample.type_name == t] for t in names}
    by_image = settings.draw == "images"
    weights = np.array([settings.type_weights.get(t, 1.0) * (len(members) if by_image else 1) for t, members in of_type.items()])
    return Source(of_type, weights / weights.sum() if weights.any() else weights)
