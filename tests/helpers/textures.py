"""Images whose texture tells which field they show."""

from pathlib import Path

import imageio.v3 as iio
import numpy as np
from scipy import ndimage

from somaseg.annotations.samples import Sample
from somaseg.instances import Instances


def texture(seed: int, shift: tuple[int, int] = (0, 0), noise: int = 0) -> np.ndarray:
    """Blobs of texture on noise."""
    random = np.random.default_rng(seed)
    image = 4000 * ndimage.gaussian_filter((random.random((200, 240)) < 0.002).astype(float), 4) * random.normal(size=(200, 240))
    return np.roll(100 + image + np.random.default_rng(noise).normal(size=image.shape), shift, (0, 1)).clip(0, 255).astype(np.uint8)


def sample(folder: Path, name: str, image: np.ndarray, group: str | None = None) -> Sample:
    folder.mkdir(exist_ok=True)
    iio.imwrite(folder / f"{name}.png", image)
    return Sample(folder / f"{name}.png", Instances.empty(image.shape[:2], ("round", "long")), name, group)
