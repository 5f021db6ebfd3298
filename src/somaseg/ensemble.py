"""Several detectors as one: they share proposals, and what they say of each is averaged."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from somaseg.errors import InputError
from somaseg.models import boxes as bx
from somaseg.models.cascade import Detector, Image


class Ensemble:
    """Detectors that average their boxes, class probabilities and masks on shared proposals.

    A member may be a model or a view of one, and may see the images at a size of its own. Nothing is suppressed between
    members: each says something of every box, so no cell is lost because they do not agree where it ends.

    Args:
        detectors: the members; their classes must agree. The thresholds are those of the first.
        weights: how much each counts; equal if None.

    Raises:
        InputError: when there is no member, their classes differ, or the weights do not fit.
    """

    def __init__(self, detectors: Sequence[Detector[Image]], weights: Sequence[float] | None = None) -> None:
        if not detectors:
            raise InputError("Ensemble: found no detector: give one or more")
        given = [1.0] * len(detectors) if weights is None else list(weights)
        if len(given) != len(detectors) or min(given) < 0 or sum(given) <= 0:
            raise InputError(f"Ensemble.weights: found {given} for {len(detectors)} detectors: give each a number above 0")
        self.settings = detectors[0].settings
        for number, detector in enumerate(detectors):
            if detector.settings.classes != self.settings.classes:
                raise InputError(
                    f"Ensemble.detectors[{number}] knows the classes {', '.join(detector.settings.classes)}, the first one "
                    f"{', '.join(self.settings.classes)}: give detectors with the same classes in the same order"
                )
        self.detectors = list(detectors)
        self.weights = [weight / sum(given) for weight in given]

    def features(self, images: Sequence[Any]) -> list[Any]:
        """The features of each member."""
        return [detector.features(images) for detector in self.detectors]

    def propose(self, features: list[Any]) -> list[tuple[Tensor, Tensor]]:
        """For each image the boxes (R, 4) that members propose, and objectness logits (R,), best first.

        A member adds those that overlap no proposal of members before it by more than `rpn.nms_iou`. The best of them stay, as many
        as the member with the most proposals made.
        """
        proposals = [detector.propose(f) for detector, f in zip(self.detectors, features, strict=True)]
        return [self._joined(of_members) for of_members in zip(*proposals, strict=True)]

    def _joined(self, of_members: Sequence[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
        boxes, logits = of_members[0]
        for more, their_logits in of_members[1:]:
            new = (bx.iou(boxes, more) <= self.settings.rpn.nms_iou).all(dim=0)
            boxes, logits = torch.cat([boxes, more[new]]), torch.cat([logits, their_logits[new]])
        best = torch.argsort(logits, descending=True, stable=True)[: max(len(boxes) for boxes, _ in of_members)]
        return boxes[best], logits[best]

    def refine(self, features: list[Any], boxes: Sequence[Tensor]) -> list[tuple[Tensor, Tensor]]:
        """For each image the mean boxes (R, 4) and class probabilities (R, K + 1) of the members."""
        found = [detector.refine(f, boxes) for detector, f in zip(self.detectors, features, strict=True)]
        return [(self._mean([b for b, _ in of_members]), self._mean([p for _, p in of_members])) for of_members in zip(*found, strict=True)]

    def segment(self, features: list[Any], boxes: Sequence[Tensor], labels: Sequence[Tensor]) -> list[Tensor]:
        """For each image the mean mask probabilities (R, 28, 28) of the members."""
        found = [detector.segment(f, boxes, labels) for detector, f in zip(self.detectors, features, strict=True)]
        return [self._mean(of_members) for of_members in zip(*found, strict=True)]

    def _mean(self, values: Sequence[Tensor]) -> Tensor:
        """Weighted mean of one value a member."""
        return torch.stack([value * weight for value, weight in zip(values, self.weights, strict=True)]).sum(dim=0)
