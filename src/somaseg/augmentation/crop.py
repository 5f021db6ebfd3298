"""From an annotated image to a training crop: copy-paste, one look through a drawn view, jitter of the grey values."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from somaseg.augmentation.copy_paste import copy_paste
from somaseg.augmentation.scene import Scene, crop_scene
from somaseg.augmentation.view import draw_view, look
from somaseg.config import AugmentSettings


def augment(scene: Scene, donors: Sequence[Scene], settings: AugmentSettings, random: np.random.Generator) -> Scene:
    """One training crop of a scene; `donors` are scenes to paste cells from, none to leave it out."""
    view = draw_view(scene, settings, random)
    part, offset = crop_scene(scene, view.window())
    for donor in donors:
        cells, _ = crop_scene(donor, view.window())
        share = float(random.uniform(*settings.paste.cells))
        part = copy_paste(part, cells, share, settings.paste, random)
    seen = look(part, offset, view)
    return replace(seen, image=jitter(seen, settings, random))


def jitter(scene: Scene, settings: AugmentSettings, random: np.random.Generator) -> NDArray[np.float32]:
    """The scene's image with contrast, brightness and noise drawn."""
    factor = np.exp(random.uniform(-1, 1) * np.log1p(settings.contrast))
    shift = random.uniform(-settings.brightness, settings.brightness) * scene.deviation + scene.mean * (1 - factor)
    deviation = random.uniform(0, settings.noise) * scene.deviation
    noise = random.standard_normal(scene.image.shape, dtype=np.float32)
    return (scene.image * np.float32(factor) + np.float32(shift) + noise * np.float32(deviation)).astype(np.float32)
