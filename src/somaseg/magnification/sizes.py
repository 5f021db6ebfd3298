"""How large cells are: one definition for annotations, detections and weights."""

from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import ArrayLike, NDArray

from somaseg.instances import Instances

FEW = 5  # cells of a class from which on their median says something


def diameters(areas: ArrayLike) -> NDArray[np.float64]:
    """The diameters of circles of these areas."""
    return np.asarray(2 * np.sqrt(np.asarray(areas, np.float64) / np.pi))


def median_diameters(images: Iterable[Instances]) -> dict[str, float]:
    """The median diameter of the cells in pixels, by class; classes of fewer than `FEW` cells are left out."""
    found: dict[str, list[NDArray[np.float64]]] = {}
    for cells in images:
        filled = cells.area > 0
        for label in np.unique(cells.labels[filled]).tolist():
            found.setdefault(cells.classes[label], []).append(diameters(cells.area[filled & (cells.labels == label)]))
    joined = {name: np.concatenate(parts) for name, parts in found.items()}
    return {name: round(float(np.median(sizes)), 2) for name, sizes in joined.items() if len(sizes) >= FEW}


def middle(known: Mapping[str, float]) -> float:
    """The diameter that stands for all classes: the geometric mean of the smallest and the largest."""
    return float(np.sqrt(min(known.values()) * max(known.values())))
