"""The interface that every detector has, in NumPy, whatever runs its network."""

from collections.abc import Sequence
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from somaseg.config import ModelSettings

Floats = NDArray[np.float32]
Image = TypeVar("Image", contravariant=True)


class Detector(Protocol[Image]):
    """Finds cells in images.

    A network does so in arrays that `somaseg.images.inputs.prepare` made, views and ensembles in arrays as they were read. Boxes,
    given and returned, are in pixels of the images that `features` was given. Features are opaque: nothing outside the detector
    that made them looks inside them.
    """

    settings: ModelSettings

    def features(self, images: Sequence[Image]) -> Any:
        """Features of the images."""

    def propose(self, features: Any) -> list[tuple[Floats, Floats]]:
        """For each image boxes (R, 4) and objectness logits (R,), best first."""

    def refine(self, features: Any, boxes: Sequence[Floats]) -> list[tuple[Floats, Floats]]:
        """For each image boxes (R, 4) and class probabilities (R, K + 1), background last."""

    def segment(self, features: Any, boxes: Sequence[Floats], labels: Sequence[NDArray[np.int64]]) -> list[Floats]:
        """For each image mask probabilities (R, 28, 28)."""
