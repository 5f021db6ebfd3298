"""How a network sees an image: turned, flipped and resized; boxes and masks come back in pixels of the image itself."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from somaseg.config import DetectSettings, ModelSettings, TtaSettings
from somaseg.images.inputs import prepare
from somaseg.images.levels import Levels
from somaseg.masks.crops import Size
from somaseg.runtimes.detector import Detector, Floats


@dataclass(frozen=True)
class Turn:
    """One of the eight symmetries of a square: mirrored left to right or not, then turned counter-clockwise.

    Attributes:
        mirrored: whether left and right are swapped first.
        quarters: quarter turns, 0 to 3.
    """

    mirrored: bool = False
    quarters: int = 0

    @property
    def inverse(self) -> "Turn":
        """The turn that undoes this one; a mirrored one undoes itself."""
        return self if self.mirrored else Turn(False, -self.quarters % 4)

    def size(self, size: Size) -> Size:
        """Height and width of an image of `size` after it."""
        return (size[1], size[0]) if self.quarters % 2 else size

    def image(self, image: NDArray[Any]) -> NDArray[Any]:
        """An image (H, W) or (H, W, C), turned."""
        return np.rot90(image[:, ::-1] if self.mirrored else image, self.quarters)

    def grids(self, grids: Floats) -> Floats:
        """Masks (R, S, S) in their boxes, turned with them."""
        return np.rot90(grids[:, :, ::-1] if self.mirrored else grids, self.quarters, (1, 2))

    def boxes(self, boxes: Floats, size: Size) -> Floats:
        """Boxes (R, 4) of an image of `size`, turned with it."""
        height, width = size
        x0, y0, x1, y1 = boxes.T
        if self.mirrored:
            x0, x1 = width - x1, width - x0
        for _ in range(self.quarters):
            x0, y0, x1, y1 = y0, width - x1, y1, width - x0
            height, width = width, height
        return np.stack([x0, y0, x1, y1], axis=1)


@dataclass(frozen=True)
class ViewFeatures:
    """Images as a view gave them to its network.

    Attributes:
        features: of the network.
        sizes: (height, width) of the images.
        factors: the network's input over the turned image, float32 (4,) for x0 y0 x1 y1, of each image.
    """

    features: Any
    sizes: list[Size]
    factors: list[Floats]


class View:
    """A detector on images (H, W) or (H, W, C), 8 or 16 bit or float, from a network on prepared images.

    Args:
        network: finds cells in arrays that `somaseg.images.inputs.prepare` made.
        settings: at which size the network is given an image, and all else; its own settings if None.
        turn: how the image is turned before.
    """

    def __init__(self, network: Detector[Floats], settings: ModelSettings | None = None, turn: Turn | None = None) -> None:
        self.network, self.settings, self.turn = network, settings or network.settings, turn or Turn()

    def features(self, images: Sequence[NDArray[Any]], levels: Levels | None = None) -> ViewFeatures:
        """Features of the images as the network sees them; `levels` are those of the image of which they are tiles."""
        inputs = [prepare(self.turn.image(image), self.settings, levels) for image in images]
        sizes = [(image.shape[0], image.shape[1]) for image in images]
        factors = []
        for given, size in zip(inputs, sizes, strict=True):
            height, width = self.turn.size(size)
            factors.append(np.array([given.shape[2] / width, given.shape[1] / height] * 2, np.float32))
        return ViewFeatures(self.network.features(inputs), sizes, factors)

    def propose(self, features: ViewFeatures, fields: float = 1.0) -> list[tuple[Floats, Floats]]:
        """For each image boxes (R, 4) and objectness logits (R,), best first; as many as for `fields` fields of view."""
        found = self.network.propose(features.features, fields)
        return list(zip(self._out(features, [boxes for boxes, _ in found]), [logits for _, logits in found], strict=True))

    def refine(self, features: ViewFeatures, boxes: Sequence[Floats]) -> list[tuple[Floats, Floats]]:
        """For each image boxes (R, 4) and class probabilities (R, K + 1), background last."""
        found = self.network.refine(features.features, self._in(features, boxes))
        return list(zip(self._out(features, [b for b, _ in found]), [p for _, p in found], strict=True))

    def segment(self, features: ViewFeatures, boxes: Sequence[Floats], labels: Sequence[NDArray[np.int64]]) -> list[Floats]:
        """For each image mask probabilities (R, 28, 28)."""
        back = self.turn.inverse
        return [back.grids(grids) for grids in self.network.segment(features.features, self._in(features, boxes), labels)]

    def _in(self, seen: ViewFeatures, boxes: Sequence[Floats]) -> list[Floats]:
        """Boxes of the images, in pixels of the network's input."""
        return [self.turn.boxes(b, size) * f for b, size, f in zip(boxes, seen.sizes, seen.factors, strict=True)]

    def _out(self, seen: ViewFeatures, boxes: Sequence[Floats]) -> list[Floats]:
        """Boxes of the network's input, in pixels of the images."""
        back, turned = self.turn.inverse, [self.turn.size(size) for size in seen.sizes]
        return [back.boxes(b / f, size) for b, size, f in zip(boxes, turned, seen.factors, strict=True)]


def make_views(network: Detector[Floats], settings: ModelSettings, tta: TtaSettings) -> list[View]:
    """The views that the settings ask for, equal ones once."""
    turns = dict.fromkeys(_turn(flip, degrees) for flip in tta.flips for degrees in tta.turns)
    sizes = dict.fromkeys(_sizes(settings.detect, tta))
    return [View(network, settings.model_copy(update={"detect": detect}), turn) for detect in sizes for turn in turns]


def shown_at(settings: ModelSettings, zoom: float) -> ModelSettings:
    """The settings of a detector that is shown images `zoom` times larger; one whose input has one size for all images stays as it is."""
    detect = settings.detect
    if zoom == 1 or detect.shortest_edge is not None:
        return settings
    return settings.model_copy(update={"detect": detect.model_copy(update={"scale": detect.scale * zoom})})


def _turn(flip: str, degrees: int) -> Turn:
    """Upside down is left to right and half a turn."""
    return Turn(flip != "none", (degrees // 90 + (2 if flip == "vertical" else 0)) % 4)


def _sizes(detect: DetectSettings, tta: TtaSettings) -> list[DetectSettings]:
    """The settings of a detector for each size at which a view sees the image."""
    if tta.shortest_edges:
        return [detect.model_copy(update={"shortest_edge": edge, "longest_edge": tta.longest_edge}) for edge in tta.shortest_edges]
    return [_scaled(detect, scale) for scale in tta.scales]


def _scaled(detect: DetectSettings, scale: float) -> DetectSettings:
    edges = {name: getattr(detect, name) for name in ("shortest_edge", "longest_edge")}
    larger = {name: None if edge is None else max(1, round(edge * scale)) for name, edge in edges.items()}
    return detect.model_copy(update={"scale": detect.scale * scale, **larger})
