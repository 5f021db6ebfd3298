"""Fields of view that the stage comes back to, and their annotations."""

from pathlib import Path

import imageio.v3 as iio
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from blobs import CLASSES
from somaseg.annotations.samples import Sample
from somaseg.annotations.write import write_coco
from somaseg.instances import Instances

FIELDS = range(6)


def field(seed: int, shift: tuple[int, int] = (0, 0), noise: int = 0) -> NDArray[np.uint8]:
    """A field of view with bright cells, as it looks when the stage comes back to it."""
    random = np.random.default_rng(seed)
    cells = 6000 * ndimage.gaussian_filter((random.random((200, 240)) < 0.002).astype(float), 4) * random.normal(size=(200, 240))
    return np.roll(50 + cells + np.random.default_rng([seed, noise]).normal(size=cells.shape), shift, (0, 1)).clip(0, 255).astype(np.uint8)


def annotated(folder: Path, grouped: bool) -> Path:
    """One image a field, `field0` to `field5`, annotated, with groups or without."""
    folder.mkdir()
    samples = []
    for number in FIELDS:
        image = field(number)
        iio.imwrite(folder / f"field{number}.png", image)
        found, count = ndimage.label(image > 100)
        cells = Instances.from_masks(np.stack([found == i for i in range(1, count + 1)]), CLASSES, [0] * count)
        group = f"well {number}" if grouped else None
        samples.append(Sample(folder / f"field{number}.png", cells, f"field{number}", group, cell_type="round"))
    write_coco(samples, folder / "annotations.json")
    return folder
