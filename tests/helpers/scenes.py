"""Scenes drawn by hand or at random, and what is asked of them."""

import numpy as np

from drawing import draw
from somaseg.augmentation.scene import Scene
from somaseg.config import AugmentSettings, PasteSettings, ZoomSettings
from somaseg.masks import crops as mk

PLAIN = AugmentSettings(
    size=ZoomSettings(side=48, factor=(1, 1)),
    turns="none",
    rotate_share=0,
    paste=PasteSettings(share=0),
    contrast=0,
    brightness=0,
    noise=0,
)


def scene_of(frames, labels=None, image=None, dtype=np.float32):
    """A scene from full-frame masks; the image numbers the cells from 1 unless given."""
    size = frames[0].shape
    pairs = [mk.crop_from_mask(frame) for frame in frames]
    numbered = sum((n * frame for n, frame in enumerate(frames, start=1)), np.zeros(size))
    return Scene(
        (numbered if image is None else image).astype(dtype),
        np.array([box for box, _ in pairs], np.int32).reshape(-1, 4),
        tuple(crop for _, crop in pairs),
        np.zeros(len(frames), np.int64) if labels is None else np.array(labels, np.int64),
    )


def random_cell(random, height, width):
    """A ragged cell somewhere in a frame."""
    y, x = np.mgrid[:height, :width]
    row, column, radius = random.uniform(0, height), random.uniform(0, width), random.uniform(4, 14)
    frame = (np.hypot(y - row, x - column) < radius) & (random.random((height, width)) < 0.8)
    frame[int(row), int(column)] = True
    return frame


def frames_of(scene):
    """Full-frame masks of what a view sees."""
    return [mk.paste(mask, box, scene.image.shape) for mask, box in zip(scene.masks, scene.boxes, strict=True)]


def corners(scene):
    return [tuple(box) for box in scene.boxes.tolist()]


def picture(text):
    frame = np.zeros((6, 8), bool)
    rows = draw(text)
    frame[: rows.shape[0], : rows.shape[1]] = rows
    return frame
