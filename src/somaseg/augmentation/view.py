"""Where a training crop looks: resizing, crop, flips, quarter turns and rotation as one matrix that moves image and masks alike.

The image is interpolated once, and every cell's mask is warped from its own crop, never as a full frame.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from somaseg.augmentation.scene import Image, Scene
from somaseg.config import AugmentSettings, EdgeSettings, ZoomSettings
from somaseg.images.resize import size_by_edge
from somaseg.masks import crops as mk

MIN_AREA = 16  # pixels of the network's input; less of a cell says nothing about its outline
SHRINKS = 1.35  # times from which on a view that shrinks an image needs it smoothed first, as inference does
TAPS = 3.0  # deviations that the smoothing reaches
QUARTER = np.array([[0.0, -1.0], [1.0, 0.0]])
Pair = NDArray[np.float64]


@dataclass(frozen=True)
class CropView:
    """Where a crop of `size` (height, width) looks: output offset (row, column) from its centre -> `turn` @ offset + `centre`.

    `centre` is in pixels of the image, pixel centres lying at +.5; `turn` (2, 2) flips, rotates and resizes.
    """

    turn: NDArray[np.float64]
    centre: Pair
    size: mk.Size

    def window(self) -> tuple[int, int, int, int]:
        """The box of the image that the crop can see, as x0 y0 x1 y1, one pixel wider for interpolation, and more for smoothing."""
        reach = np.abs(self.turn) @ (np.array(self.size) / 2) + round(TAPS * _smoothing(self.turn))
        low, high = np.floor(self.centre - reach - 1).astype(int), np.ceil(self.centre + reach + 1).astype(int)
        return int(low[1]), int(low[0]), int(high[1]), int(high[0])


def draw_view(scene: Scene, settings: AugmentSettings, random: np.random.Generator) -> CropView:
    """Draw size, rotation, turn and place."""
    kind = settings.size
    size, half, turn = _zoomed(kind, random) if isinstance(kind, ZoomSettings) else _resized(kind, scene.image.shape, random)
    if random.random() < settings.rotate_share:
        angle = np.deg2rad(random.uniform(-settings.rotate, settings.rotate))
        turn = turn @ np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    if settings.turns == "all":
        quarters = int(random.integers(4))
        turn = turn @ np.linalg.matrix_power(QUARTER, quarters) @ np.diag([1.0, float(random.choice([-1, 1]))])
        size = size if quarters % 2 == 0 else (size[1], size[0])
    elif settings.turns == "flips":
        turn = turn @ np.diag(random.choice([-1.0, 1.0], size=2))
    place = _near_a_cell if isinstance(kind, ZoomSettings) else _anywhere
    return CropView(turn, place(scene, half, random), size)


def _zoomed(settings: ZoomSettings, random: np.random.Generator) -> tuple[mk.Size, Pair, NDArray[np.float64]]:
    """The crop's size, half of the sides of what it shows of the image, and the matrix from its pixels to the image's."""
    low, high = settings.factor
    factor = float(np.exp(random.uniform(np.log(low), np.log(high))))
    return (settings.side, settings.side), np.full(2, settings.side / factor / 2), np.eye(2) / factor


def _resized(settings: EdgeSettings, shape: tuple[int, ...], random: np.random.Generator) -> tuple[mk.Size, Pair, NDArray[np.float64]]:
    """As `_zoomed`; the sides of the crop round as Detectron2's do."""
    cropped = max(1, int(shape[0] * settings.crop + 0.5)), max(1, int(shape[1] * settings.crop + 0.5))
    if settings.draw == "choice":
        edge = int(random.choice(settings.edges))
    else:
        edge = int(random.integers(min(settings.edges), max(settings.edges), endpoint=True))
    size = size_by_edge(cropped, edge, settings.longest)
    return size, np.array(cropped) / 2, np.diag(np.array(cropped) / np.array(size))


def _near_a_cell(scene: Scene, half: Pair, random: np.random.Generator) -> Pair:
    """A centre near a cell in half of the draws, so that sparse images give cells too; inside the image where it is large enough."""
    size = np.array(scene.image.shape, float)
    if len(scene.boxes) and random.random() < 0.5:
        x0, y0, x1, y1 = scene.boxes[random.integers(len(scene.boxes))]
        centre = np.array([(y0 + y1) / 2, (x0 + x1) / 2]) + random.uniform(-half[0] / 2, half[0] / 2, size=2)
    else:
        centre = random.uniform(0, 1, size=2) * size
    inset = np.minimum(half, size / 2)
    return np.asarray(np.clip(centre, inset, size - inset))


def _anywhere(scene: Scene, half: Pair, random: np.random.Generator) -> Pair:
    """A centre drawn evenly from those whose crop, before it is rotated, lies in the image."""
    return np.asarray(half + random.uniform(0, 1, size=2) * (np.array(scene.image.shape) - 2 * half))


def look(scene: Scene, offset: tuple[int, int], view: CropView) -> Scene:
    """Draw the crop that a view sees of a scene whose pixel (0, 0) is pixel `offset` (x, y) of the image."""
    shift = np.array([offset[1], offset[0]], float)
    size = np.array(view.size)
    middle = size / 2
    # Pixel i has its centre at i + .5, in the crop as in the image.
    start = view.centre - shift + view.turn @ (0.5 - middle) - 0.5
    image = ndimage.affine_transform(_smoothed(scene, view.turn), view.turn, start, view.size, order=1, output=np.float32, cval=scene.mean)
    back = np.linalg.inv(view.turn)
    scale = abs(np.linalg.det(back))
    boxes, masks, labels = [], [], []
    for box, mask, label in zip(scene.boxes, scene.masks, scene.labels, strict=True):
        if not mask.any():
            continue
        corners = np.array([[box[1], box[0]], [box[1], box[2]], [box[3], box[0]], [box[3], box[2]]], float)
        seen = (corners + shift - view.centre) @ back.T + middle
        low = np.clip(np.floor(seen.min(axis=0)).astype(int), 0, size)
        high = np.clip(np.ceil(seen.max(axis=0)).astype(int), 0, size)
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
    return replace(
        scene,
        image=image,
        boxes=np.array(boxes, np.int32).reshape(-1, 4),
        masks=tuple(masks),
        labels=np.array(labels, np.int64),
    )


def _smoothing(turn: NDArray[np.float64]) -> float:
    """Deviation in pixels of the Gaussian that an image is smoothed with before a view shrinks it; 0 where that is not, or little."""
    shrinks = float(np.sqrt(abs(np.linalg.det(turn))))
    return 0.4 * float(np.sqrt(shrinks**2 - 1)) if shrinks > SHRINKS else 0.0


def _smoothed(scene: Scene, turn: NDArray[np.float64]) -> Image:
    """The image, without what a view cannot show that shrinks it."""
    deviation = _smoothing(turn)
    if not deviation:
        return scene.image
    image = scene.image.astype(np.float32)
    return np.asarray(ndimage.gaussian_filter(image, deviation, mode="constant", cval=scene.mean, truncate=TAPS))
