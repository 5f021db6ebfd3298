"""Annotated images of another magnification than that of the weights that learn from them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from somaseg.classes import plain
from somaseg.config import Config, EdgeSettings, TrainedSize
from somaseg.instances import Instances
from somaseg.magnification.sizes import median_diameters, middle

ALIKE = 1.35  # times off that training itself varies sizes: nothing is changed within


@dataclass(frozen=True)
class Beside:
    """How large annotated cells are beside those that weights know.

    Attributes:
        found: of the annotated images.
        known: of the weights.
        enlarged: how many times larger the annotated cells are; 1 where that cannot be told.
    """

    found: TrainedSize
    known: TrainedSize
    enlarged: float

    @property
    def differs(self) -> bool:
        """Whether they differ by more than training varies sizes anyway."""
        return max(self.enlarged, 1 / self.enlarged) > ALIKE

    @property
    def zoom(self) -> float:
        """How many times larger than at the weights' own scale to show them; 1 where they are about as large."""
        return 1 / self.enlarged if self.differs else 1.0

    @property
    def text(self) -> str:
        """The same for people; empty where there is nothing to tell."""
        if not (self.known.cell_diameter and self.found.cell_diameter) and not (self.known.pixel_size and self.found.pixel_size):
            return ""
        cells = f"annotated cells ({_sizes(self.found)}) are {self.enlarged:.2g} times as large as those that the weights know "
        return cells + f"({_sizes(self.known)})"


def measured(images: Sequence[Instances], pixel_sizes: Sequence[float | None]) -> TrainedSize:
    """The sizes in annotated images; a pixel size only where all of them have about the same."""
    edges = [edge for edge in pixel_sizes if edge]
    agree = len(edges) == len(pixel_sizes) > 0 and max(edges) <= 1.05 * min(edges)
    return TrainedSize(pixel_size=float(np.median(edges)) if agree else None, cell_diameter=median_diameters(images))


def beside(found: TrainedSize, known: TrainedSize) -> Beside:
    """Compare annotated images with what weights know: by pixel size, else by the classes that both have.

    Without any such class the cells are as large as they are as long as the weights know cells of that size, of whatever class.
    """
    if found.pixel_size and known.pixel_size:
        return Beside(found, known, known.pixel_size / found.pixel_size)
    if not (found.cell_diameter and known.cell_diameter):
        return Beside(found, known, 1.0)
    own = {plain(name): size for name, size in known.cell_diameter.items()}
    ratios = [size / own[plain(name)] for name, size in found.cell_diameter.items() if plain(name) in own]
    if ratios:
        return Beside(found, known, float(np.exp(np.mean(np.log(ratios)))))
    size, sizes = middle(found.cell_diameter), known.cell_diameter.values()
    return Beside(found, known, size / min(max(size, min(sizes)), max(sizes)))


def at_own_scale(config: Config, compared: Beside) -> Config:
    """Settings of a training whose weights' own scale is that of the annotated images.

    The network goes on seeing cells as large as the base weights know them: the images are enlarged by so much less, or more, in
    training and after it, and thresholds in pixels are those of the images. What the new weights know is written down. Settings that
    see every image at one size (`shortest_edge`, augmentation by edges) stay as they are.
    """
    model, crop, thresholds = config.model, config.augment.size, config.postprocess
    zoom = compared.zoom
    if model.detect.shortest_edge is not None or isinstance(crop, EdgeSettings):
        zoom = 1.0
    sizes = {name: round(size / zoom, 2) for name, size in compared.known.cell_diameter.items() if name in model.classes}
    known = TrainedSize(pixel_size=compared.found.pixel_size, cell_diameter=sizes | compared.found.cell_diameter)
    if zoom == 1 or isinstance(crop, EdgeSettings):
        return config.model_copy(update={"model": model.model_copy(update={"trained_at": known})})
    low, high = crop.factor
    crop = crop.model_copy(update={"factor": (low * zoom, high * zoom)})
    moved = {
        "offset": tuple(shift / zoom for shift in thresholds.offset),
        "min_area": {name: round(area / zoom**2, 1) for name, area in thresholds.min_area.items()},
    }
    detect = model.detect.model_copy(update={"scale": model.detect.scale * zoom})
    return config.model_copy(
        update={
            "model": model.model_copy(update={"trained_at": known, "detect": detect}),
            "augment": config.augment.model_copy(update={"size": crop}),
            "postprocess": thresholds.model_copy(update=moved),
        }
    )


def _sizes(size: TrainedSize) -> str:
    diameters = ", ".join(f"{name} {diameter:.3g} px" for name, diameter in size.cell_diameter.items())
    edge = f"pixels of {size.pixel_size:.3g} µm" if size.pixel_size else ""
    return ", ".join(text for text in (diameters, edge) if text)
