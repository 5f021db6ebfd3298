"""`Scene`: an image in the network's values with its cells, before it becomes a training crop."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from somaseg.masks import crops as mk

IGNORED = -1  # the label of what may be a cell or not
Image = NDArray[np.float32] | NDArray[np.float16]


@dataclass(frozen=True, eq=False)
class Scene:
    """An image (H, W) with the boxes (N, 4), masks (N crops) and labels (N,) of its cells.

    What may be a cell or not has the label `IGNORED`: it moves, is cut and goes as cells do, and is none.

    `mean` and `deviation` are those of the values of the whole image: what stands outside of it, and what jitter is measured by.
    """

    image: Image
    boxes: mk.Boxes
    masks: tuple[mk.Mask, ...]
    labels: NDArray[np.int64]
    mean: float = 0.0
    deviation: float = 1.0


def crop_scene(scene: Scene, window: tuple[int, int, int, int]) -> tuple[Scene, tuple[int, int]]:
    """The cells that touch a window, and the window's image, the mean outside the image; the offset (x, y) of the window."""
    x0, y0, x1, y1 = window
    height, width = scene.image.shape
    patch = np.full((y1 - y0, x1 - x0), scene.mean, np.float32)
    top, left, bottom, right = max(y0, 0), max(x0, 0), min(y1, height), min(x1, width)
    patch[top - y0 : bottom - y0, left - x0 : right - x0] = scene.image[top:bottom, left:right]
    b = scene.boxes
    touch = np.flatnonzero((b[:, 0] < x1) & (b[:, 2] > x0) & (b[:, 1] < y1) & (b[:, 3] > y0))
    boxes = b[touch] - np.array([x0, y0, x0, y0], np.int32)
    return replace(scene, image=patch, boxes=boxes, masks=tuple(scene.masks[i] for i in touch), labels=scene.labels[touch]), (x0, y0)


def mirrored(scene: Scene) -> Scene:
    """The scene with left and right exchanged."""
    width = scene.image.shape[1]
    boxes = scene.boxes.copy()
    boxes[:, 0], boxes[:, 2] = width - scene.boxes[:, 2], width - scene.boxes[:, 0]
    return replace(scene, image=scene.image[:, ::-1], boxes=boxes, masks=tuple(mask[:, ::-1] for mask in scene.masks))
