"""Several detectors as one: the first one leads, and what all say of its boxes is averaged."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from somaseg.errors import InputError
from somaseg.images.levels import Levels
from somaseg.inference.detections import select
from somaseg.masks.crops import Size
from somaseg.runtimes import boxes as bx
from somaseg.runtimes.detector import Detector, Floats


@dataclass(frozen=True)
class EnsembleFeatures:
    """Images as an ensemble sees them: the features of each member, and (height, width) of each image."""

    members: list[Any]
    sizes: list[Size]


class Ensemble:
    """Detectors that average boxes, class probabilities and masks on shared proposals.

    A member may be a model or a view of one, and may see the images at a size of its own. The order counts: the first member
    refines every proposal and so finds out which are duplicates, the others judge what is left. No duplicate is then drawn or
    judged by all, and no cell is lost because members disagree where it ends, as in NMS between their detections.

    Args:
        detectors: the members, the best one first; their classes must agree. The thresholds are those of the first.
        weights: how much each counts; equal if None.
        proposers: how many of the members propose boxes, the first ones; all if None.

    Raises:
        InputError: when there is no member, their classes differ, or the weights or the proposers do not fit.
    """

    def __init__(
        self, detectors: Sequence[Detector[NDArray[Any]]], weights: Sequence[float] | None = None, proposers: int | None = None
    ) -> None:
        if not detectors:
            raise InputError("Ensemble: found no detector: give one or more")
        given = [1.0] * len(detectors) if weights is None else list(weights)
        if len(given) != len(detectors) or min(given) < 0 or sum(given) <= 0:
            raise InputError(f"Ensemble.weights: found {given} for {len(detectors)} detectors: give each a number, and one above 0")
        if proposers is not None and not 1 <= proposers <= len(detectors):
            raise InputError(f"Ensemble.proposers: found {proposers}: give a number of detectors, 1 to {len(detectors)}")
        self.settings = detectors[0].settings
        for number, detector in enumerate(detectors):
            if detector.settings.classes != self.settings.classes:
                raise InputError(
                    f"Ensemble.detectors[{number}] knows the classes {', '.join(detector.settings.classes)}, the first one "
                    f"{', '.join(self.settings.classes)}: give detectors with the same classes in the same order"
                )
        self.detectors, self.proposers = list(detectors), proposers or len(detectors)
        self.weights = [weight / sum(given) for weight in given]

    def features(self, images: Sequence[NDArray[Any]], levels: Levels | None = None) -> EnsembleFeatures:
        """The features of each member."""
        members = [detector.features(images, levels) for detector in self.detectors]
        return EnsembleFeatures(members, [(image.shape[0], image.shape[1]) for image in images])

    def propose(self, features: EnsembleFeatures, fields: float = 1.0) -> list[tuple[Floats, Floats]]:
        """For each image the boxes (R, 4) that the proposers found, and objectness logits (R,), best first.

        A member adds those that overlap no proposal of members before it by more than `rpn.nms_iou`. The best of them stay, as many
        as the member with the most proposals made.
        """
        pairs = list(zip(self.detectors, features.members, strict=True))[: self.proposers]
        proposals = [detector.propose(f, fields) for detector, f in pairs]
        return [self._joined(of_members) for of_members in zip(*proposals, strict=True)]

    def refine(self, features: EnsembleFeatures, boxes: Sequence[Floats]) -> list[tuple[Floats, Floats]]:
        """For each image mean boxes (R, 4) and class probabilities (R, K + 1), background last.

        What the first member takes for background or for a duplicate is background.
        """
        lead = self.detectors[0].refine(features.members[0], boxes)
        found = [np.unique(select(b, p, size, self.settings.detect).origins) for (b, p), size in zip(lead, features.sizes, strict=True)]
        chosen = [b[of_image] for b, of_image in zip(boxes, found, strict=True)]
        said = [[(b[of_image], p[of_image]) for (b, p), of_image in zip(lead, found, strict=True)]]
        said += [detector.refine(f, chosen) for detector, f in zip(self.detectors[1:], features.members[1:], strict=True)]
        result = []
        for (moved, probabilities), of_image, of_members in zip(lead, found, zip(*said, strict=True), strict=True):
            moved, said_of_all = moved.copy(), np.zeros_like(probabilities)
            said_of_all[:, -1] = 1
            moved[of_image] = self._mean([b for b, _ in of_members])
            said_of_all[of_image] = self._mean([p for _, p in of_members])
            result.append((moved, said_of_all))
        return result

    def segment(self, features: EnsembleFeatures, boxes: Sequence[Floats], labels: Sequence[NDArray[np.int64]]) -> list[Floats]:
        """For each image the mean mask probabilities (R, 28, 28) of the members."""
        found = [detector.segment(f, boxes, labels) for detector, f in zip(self.detectors, features.members, strict=True)]
        return [self._mean(of_members) for of_members in zip(*found, strict=True)]

    def _joined(self, of_members: Sequence[tuple[Floats, Floats]]) -> tuple[Floats, Floats]:
        boxes, logits = of_members[0]
        for more, their_logits in of_members[1:]:
            new = (bx.iou(boxes, more) <= self.settings.rpn.nms_iou).all(axis=0)
            boxes, logits = np.concatenate([boxes, more[new]]), np.concatenate([logits, their_logits[new]])
        best = np.argsort(-logits, kind="stable")[: max(len(boxes) for boxes, _ in of_members)]
        return boxes[best], logits[best]

    def _mean(self, values: Sequence[Floats]) -> Floats:
        """Weighted mean of one value a member."""
        mean: Floats = np.sum([value * np.float32(weight) for value, weight in zip(values, self.weights, strict=True)], axis=0)
        return mean
