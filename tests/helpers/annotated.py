"""Annotations of one image, written from masks."""

from pathlib import Path

import numpy as np
from PIL import Image

from somaseg.annotations.samples import Sample
from somaseg.annotations.write import write_coco
from somaseg.instances import Instances

SIZE = (60, 80)


def block(y0: int, x0: int, y1: int, x1: int) -> np.ndarray:
    mask = np.zeros(SIZE, bool)
    mask[y0:y1, x0:x1] = True
    return mask


def annotated(folder: Path, *masks: np.ndarray, labels: list[int] | None = None) -> Path:
    stack = np.stack(masks) if masks else np.zeros((0, *SIZE), bool)
    (folder / "images").mkdir(parents=True, exist_ok=True)
    Image.new("L", SIZE[::-1]).save(folder / "images/a.png")
    sample = Sample(folder / "images/a.png", Instances.from_masks(stack, ("shsy5y", "astro"), labels), "a")
    write_coco([sample], folder / "annotations.json")
    return folder
