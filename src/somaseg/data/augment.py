"""From annotated images to training crops: copy-paste, then one affine draw that moves image, boxes and masks alike.

Flips, quarter turns, rotation, scale and crop are one matrix, so the image is interpolated once and every cell's mask
is warped from its own crop, never as a full frame.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from somaseg import masks as mk
from somaseg.config import AugmentSettings

Image = NDArray[np.float32] | NDArray[np.float16]
MIN_AREA = 16  # pixels of the network's input; less of a cell says nothing about its outline


@dataclass(frozen=True, eq=False)
class Scene:
    """An image (H, W), normalised, with the boxes (N, 4), masks (N crops) and labels (N,) of its cells."""

    image: Image
    boxes: mk.Boxes
    masks: tuple[mk.Mask, ...]
    labels: NDArray[np.int64]


@dataclass(frozen=True)
class View:
    """Where a square crop of `side` pixels looks: output offset (row, column) from its centre -> `turn` @ offset + `centre`.

    `centre` is in pixels of the image, pixel centres lying at +.5; `turn` (2, 2) flips, rotates and scales.
    """

    turn: NDArray[np.float64]
    centre: NDArray[np.float64]
    side: int

    def window(self) -> tuple[int, int, int, int]:
        """The box of the image that the crop can see, as x0 y0 x1 y1, one pixel wider for interpolation."""
        reach = np.abs(self.turn) @ np.full(2, self.side / 2)
        low, high = np.floor(self.centre - reach - 1).astype(int), np.ceil(self.centre + reach + 1).astype(int)
        return int(low[1]), int(low[0]), int(high[1]), int(high[0])


def draw_view(scene: Scene, settings: AugmentSettings, random: np.random.Generator) -> View:
    """Draw scale, turn, rotation and place; half of the crops centre near a cell, so that sparse images give cells too."""
    low, high = settings.scale
    scale = float(np.exp(random.uniform(np.log(low), np.log(high))))
    turn = np.eye(2) / scale
    if random.random() < settings.rotate_share:
        angle = np.deg2rad(random.uniform(-settings.rotate, settings.rotate))
        turn = turn @ np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    if settings.turn:
        turn = turn @ np.linalg.matrix_power(np.array([[0.0, -1.0], [1.0, 0.0]]), int(random.integers(4)))
        turn = turn @ np.diag([1.0, float(random.choice([-1, 1]))])
    half = settings.crop / scale / 2
    size = np.array(scene.image.shape, float)
    if len(scene.boxes) and random.random() < 0.5:
        x0, y0, x1, y1 = scene.boxes[random.integers(len(scene.boxes))]
        centre = np.array([(y0 + y1) / 2, (x0 + x1) / 2]) + random.uniform(-half / 2, half / 2, size=2)
    else:
        centre = random.uniform(0, 1, size=2) * size
    # The crop stays inside the image where the image is large enough.
    inset = np.minimum(half, size / 2)
    return View(turn, np.clip(centre, inset, size - inset), settings.crop)


def crop_scene(scene: Scene, window: tuple[int, int, int, int]) -> tuple[Scene, tuple[int, int]]:
    """The cells that touch a window, and the window's image, zero outside the image; the offset (x, y) of the window."""
    x0, y0, x1, y1 = window
    height, width = scene.image.shape
    patch = np.zeros((y1 - y0, x1 - x0), np.float32)
    top, left, bottom, right = max(y0, 0), max(x0, 0), min(y1, height), min(x1, width)
    patch[top - y0 : bottom - y0, left - x0 : right - x0] = scene.image[top:bottom, left:right]
    b = scene.boxes
    touch = np.flatnonzero((b[:, 0] < x1) & (b[:, 2] > x0) & (b[:, 1] < y1) & (b[:, 3] > y0))
    boxes = b[touch] - np.array([x0, y0, x0, y0], np.int32)
    return Scene(patch, boxes, tuple(scene.masks[i] for i in touch), scene.labels[touch]), (x0, y0)


def copy_paste(scene: Scene, donor: Scene, share: float, keep_visible: float, random: np.random.Generator) -> Scene:
    """Paste a share of the donor's cells at the same place, without blending (Ghiasi et al. 2021).

    Both scenes have the same size. A cell that the pasted ones cover stays if more than `keep_visible` of it shows.
    """
    chosen = random.permutation(len(donor.boxes))[: round(share * len(donor.boxes))]
    if not len(chosen):
        return scene
    image, covered = scene.image.copy(), np.zeros(scene.image.shape, bool)
    height, width = scene.image.shape
    inside = [(i, _clip(donor.boxes[i], donor.masks[i], height, width)) for i in chosen]
    pasted = [(*clipped, donor.labels[i]) for i, clipped in inside if clipped is not None]
    for (x0, y0, x1, y1), crop, _ in pasted:
        image[y0:y1, x0:x1][crop] = donor.image[y0:y1, x0:x1][crop]
        covered[y0:y1, x0:x1] |= crop
    boxes, masks, labels = [], [], []
    for box, mask, label in zip(scene.boxes, scene.masks, scene.labels, strict=True):
        x0, y0, x1, y1 = np.clip(box, 0, [width, height, width, height])
        over = np.zeros(mask.shape, bool)
        over[y0 - box[1] : y1 - box[1], x0 - box[0] : x1 - box[0]] = covered[y0:y1, x0:x1]
        visible = mask & ~over
        if visible.sum() > keep_visible * mask.sum():
            (left, top, right, bottom), tight = mk.crop_from_mask(visible)
            boxes.append((left + box[0], top + box[1], right + box[0], bottom + box[1]))
            masks.append(tight)
            labels.append(label)
    boxes += [box for box, _, _ in pasted]
    masks += [crop for _, crop, _ in pasted]
    labels += [label for _, _, label in pasted]
    return Scene(image, np.array(boxes, np.int32).reshape(-1, 4), tuple(masks), np.array(labels, np.int64))


def look(scene: Scene, offset: tuple[int, int], view: View) -> Scene:
    """Draw the crop (side, side) that a view sees of a scene whose pixel (0, 0) is pixel `offset` (x, y) of the image."""
    shift = np.array([offset[1], offset[0]], float)
    middle = np.full(2, view.side / 2)
    # Pixel i has its centre at i + .5, in the crop as in the image.
    start = view.centre - shift + view.turn @ (0.5 - middle) - 0.5
    image = ndimage.affine_transform(scene.image, view.turn, start, (view.side, view.side), order=1, output=np.float32)
    back = np.linalg.inv(view.turn)
    scale = abs(np.linalg.det(back))
    boxes, masks, labels = [], [], []
    for box, mask, label in zip(scene.boxes, scene.masks, scene.labels, strict=True):
        if not mask.any():
            continue
        corners = np.array([[box[1], box[0]], [box[1], box[2]], [box[3], box[0]], [box[3], box[2]]], float)
        seen = (corners + shift - view.centre) @ back.T + middle
        low = np.clip(np.floor(seen.min(axis=0)).astype(int), 0, view.side)
        high = np.clip(np.ceil(seen.max(axis=0)).astype(int), 0, view.side)
        if (high <= low).any():
            continue
        begin = start + view.turn @ low - np.array([box[1], box[0]])
        warped = ndimage.affine_transform(mask.astype(np.float32), view.turn, begin, tuple(high - low), order=1, mode="grid-constant")
        (x0, y0, x1, y1), crop = mk.crop_from_mask(warped >= 0.5)
        area = int(crop.sum())
        if area < MIN_AREA or area < 0.1 * scale * mask.sum():
            continue
        boxes.append((x0 + low[1], y0 + low[0], x1 + low[1], y1 + low[0]))
        masks.append(crop)
        labels.append(label)
    return Scene(image, np.array(boxes, np.int32).reshape(-1, 4), tuple(masks), np.array(labels, np.int64))


def jitter(image: Image, settings: AugmentSettings, random: np.random.Generator) -> Image:
    """Draw contrast, brightness and noise."""
    factor = np.exp(random.uniform(-1, 1) * np.log1p(settings.contrast))
    shift = random.uniform(-settings.brightness, settings.brightness)
    deviation = random.uniform(0, settings.noise)
    noise = random.standard_normal(image.shape, dtype=np.float32)
    return (image * np.float32(factor) + np.float32(shift) + noise * np.float32(deviation)).astype(np.float32)


def augment(scene: Scene, donors: Sequence[Scene], settings: AugmentSettings, random: np.random.Generator) -> Scene:
    """One training crop of a scene; `donors` are scenes of the same class to paste cells from, none to leave it out."""
    view = draw_view(scene, settings, random)
    part, offset = crop_scene(scene, view.window())
    for donor in donors:
        cells, _ = crop_scene(donor, view.window())
        share = float(random.uniform(*settings.paste_cells))
        part = copy_paste(part, cells, share, settings.keep_visible, random)
    seen = look(part, offset, view)
    return replace(seen, image=jitter(seen.image, settings, random))


def _clip(box: NDArray[np.int32], crop: mk.Mask, height: int, width: int) -> tuple[tuple[int, int, int, int], mk.Mask] | None:
    x0, y0, x1, y1 = np.clip(box, 0, [width, height, width, height])
    (left, top, right, bottom), tight = mk.crop_from_mask(crop[y0 - box[1] : y1 - box[1], x0 - box[0] : x1 - box[0]])
    return ((left + x0, top + y0, right + x0, bottom + y0), tight) if tight.size else None
