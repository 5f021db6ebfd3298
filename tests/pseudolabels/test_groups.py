"""Groups of unlabelled images beside annotated ones."""

from pathlib import Path

import imageio.v3 as iio
import numpy as np
from scipy import ndimage

from somaseg.annotations.samples import Sample
from somaseg.instances import Instances
from somaseg.pseudolabels.groups import groups_beside


def texture(seed: int, shift: tuple[int, int] = (0, 0), noise: int = 0) -> np.ndarray:
    """Blobs of texture on noise."""
    random = np.random.default_rng(seed)
    image = 4000 * ndimage.gaussian_filter((random.random((200, 240)) < 0.002).astype(float), 4) * random.normal(size=(200, 240))
    return np.roll(100 + image + np.random.default_rng(noise).normal(size=image.shape), shift, (0, 1)).clip(0, 255).astype(np.uint8)


def sample(folder: Path, name: str, image: np.ndarray, group: str | None = None) -> Sample:
    folder.mkdir(exist_ok=True)
    iio.imwrite(folder / f"{name}.png", image)
    return Sample(folder / f"{name}.png", Instances.empty(image.shape[:2], ("round", "long")), name, group)


def test_an_image_of_an_annotated_field_has_its_group(tmp_path):
    old = tmp_path / "old"
    annotated = [sample(old, "a", texture(1), "7"), sample(old, "b", texture(2), "7"), sample(old, "c", texture(3), "8")]
    annotated += [sample(old, "d", texture(4)), sample(old, "e", texture(5), "9"), sample(old, "f", texture(5, (3, 3)), "10")]
    images = {"a": texture(1, (9, -14), 5), "x": texture(2, (0, 8), 6), "y": texture(6), "z": texture(6, (8, 8), 1), "lone": texture(7)}
    images |= {"near_d": texture(4, (5, 5), 2), "near_e": texture(5, (-6, 2), 3)}
    new = [sample(tmp_path / "new", name, image) for name, image in images.items()]
    groups = groups_beside(new, annotated)
    assert groups.of == {"a": "7", "x": "7", "y": "y", "z": "y", "lone": "lone"}
    assert groups.left_out == {
        "near_d": "shows the field of the annotated image d, which has no group",
        "near_e": "shows the field of several groups: 10, 9",
    }
