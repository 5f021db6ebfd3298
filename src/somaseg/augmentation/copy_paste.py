"""Copy-paste: cells of a donor in another scene, cut at their outline or fading out beyond it."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from somaseg.augmentation.scene import IGNORED, Scene
from somaseg.config import PasteSettings
from somaseg.masks import crops as mk


def copy_paste(scene: Scene, donor: Scene, share: float, settings: PasteSettings, random: np.random.Generator) -> Scene:
    """Paste a share of the donor's cells at the same place (Ghiasi et al. 2021).

    Both scenes have the same size. A cell, or ignored region, that the pasted ones cover stays if more than `keep_visible` of it
    shows; the donor's ignored regions are not pasted. Feathering changes the image alone: masks are those of the annotation to the pixel.
    """
    cells = np.flatnonzero(donor.labels != IGNORED)
    chosen = random.permutation(cells)[: round(share * len(cells))]
    if not len(chosen):
        return scene
    covered = np.zeros(scene.image.shape, bool)
    height, width = scene.image.shape
    inside = [(i, _clip(donor.boxes[i], donor.masks[i], height, width)) for i in chosen]
    pasted = [(*clipped, donor.labels[i]) for i, clipped in inside if clipped is not None]
    for (x0, y0, x1, y1), crop, _ in pasted:
        covered[y0:y1, x0:x1] |= crop
    boxes, masks, labels = [], [], []
    for box, mask, label in zip(scene.boxes, scene.masks, scene.labels, strict=True):
        x0, y0, x1, y1 = np.clip(box, 0, [width, height, width, height])
        over = np.zeros(mask.shape, bool)
        over[y0 - box[1] : y1 - box[1], x0 - box[0] : x1 - box[0]] = covered[y0:y1, x0:x1]
        visible = mask & ~over
        if visible.sum() > settings.keep_visible * mask.sum():
            (left, top, right, bottom), tight = mk.crop_from_mask(visible)
            boxes.append((left + box[0], top + box[1], right + box[0], bottom + box[1]))
            masks.append(tight)
            labels.append(label)
    boxes += [box for box, _, _ in pasted]
    masks += [crop for _, crop, _ in pasted]
    labels += [label for _, _, label in pasted]
    return replace(
        scene,
        image=_blend(scene.image, donor.image, covered, settings.feather),
        boxes=np.array(boxes, np.int32).reshape(-1, 4),
        masks=tuple(masks),
        labels=np.array(labels, np.int64),
    )


def _blend(below: NDArray[np.floating], above: NDArray[np.floating], covered: mk.Mask, feather: float) -> NDArray[np.float32]:
    """`above` where it covers, fading to `below` over `feather` pixels beyond: the halo round a cell comes along."""
    if not covered.any():
        return below.astype(np.float32)
    if not feather:
        return np.where(covered, above, below).astype(np.float32)
    distance = ndimage.distance_transform_edt(~covered)
    weight = np.clip(1 - distance / (feather + 1), 0, 1).astype(np.float32)
    return (weight * above + (1 - weight) * below).astype(np.float32)


def _clip(box: NDArray[np.int32], crop: mk.Mask, height: int, width: int) -> tuple[tuple[int, int, int, int], mk.Mask] | None:
    x0, y0, x1, y1 = np.clip(box, 0, [width, height, width, height])
    (left, top, right, bottom), tight = mk.crop_from_mask(crop[y0 - box[1] : y1 - box[1], x0 - box[0] : x1 - box[0]])
    return ((left + x0, top + y0, right + x0, bottom + y0), tight) if tight.size else None
