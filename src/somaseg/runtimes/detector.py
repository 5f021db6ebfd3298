"""The interface that every detector has, in NumPy, whatever runs its network."""

from collections.abc import Sequence
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from somaseg.config import ModelSettings
from somaseg.images.levels import Levels

Floats = NDArray[np.float32]
Image = TypeVar("Image", contravariant=True)


class Detector(Protocol[Image]):
    """Finds cells in images.

    A network does so in arrays that `somaseg.images.inputs.prepare` made, views and ensembles in arrays as they were read. Boxes,
    given and returned, are in pixels of the images that `features` was given. Features are opaque: nothing outside the detector
    that made them looks inside them.
    """

    settings: ModelSettings

    def features(self, images: Sequence[Image], levels: Levels | None = None) -> Any:
        """Features of the images; of tiles, views want to know the `levels` of the whole image."""

    def propose(self, features: Any, fields: float = 1.0) -> list[tuple[Floats, Floats]]:
        """For each image boxes (R, 4) and objectness logits (R,), best first; as many as for `fields` fields of view."""

    def refine(self, features: Any, boxes: Sequence[Floats]) -> list[tuple[Floats, Floats]]:
        """For each image boxes (R, 4) and class probabilities (R, K + 1), background last."""

    def segment(self, features: Any, boxes: Sequence[Floats], labels: Sequence[NDArray[np.int64]]) -> list[Floats]:
        """For each image mask probabilities (R, 28, 28)."""
