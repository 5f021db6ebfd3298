"""The candidates of several models for the cells of one image, in one list."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from somaseg.errors import InputError
from somaseg.postprocessing.candidates import Candidates, Pixels
from somaseg.postprocessing.soft_masks import SoftMasks


@dataclass(frozen=True, eq=False)
class Pool:
    """What M models found in one image.

    Attributes:
        cells: all N candidates, in falling order of score; of equal ones those of earlier models come first, then those that come
            first in their model. Every method of fusion breaks ties by this order.
        member: number of the model that found each (N,).
        members: M; models that found nothing count.
    """

    cells: Candidates
    member: NDArray[np.int64]
    members: int


def pool(members: Sequence[Candidates]) -> Pool:
    """Join the candidates of several models; mask probabilities are kept when all have them, so are pixels.

    Raises:
        InputError: without any model, or when they differ in the image's size, the classes or the side of the mask grid.
    """
    if not members:
        raise InputError("fusion: found no model's predictions, expected those of at least one")
    first = members[0]
    for number, other in enumerate(members[1:], start=2):
        for name in ("size", "classes"):
            if getattr(other, name) != getattr(first, name):
                raise InputError(
                    f"fusion: {name} of model {number} is {getattr(other, name)}, of model 1 {getattr(first, name)}: "
                    "fuse predictions of one image by models with the same classes in the same order"
                )
    probs = [m.mask_probs for m in members if m.mask_probs is not None]
    sides = sorted({p.shape[-1] for p in probs})
    if len(sides) > 1:
        raise InputError(f"fusion: mask grids have sides of {sides} cells: fuse models with mask grids of one side")
    pixels = [m.pixels for m in members if m.pixels is not None]
    every = Candidates(
        size=first.size,
        classes=first.classes,
        boxes=np.concatenate([m.boxes for m in members]),
        labels=np.concatenate([m.labels for m in members]),
        scores=np.concatenate([m.scores for m in members]),
        soft=SoftMasks.of(np.concatenate(probs)) if len(probs) == len(members) else None,
        pixels=_joined(pixels) if len(pixels) == len(members) else None,
        numbers=np.arange(sum(map(len, members))),
        zoom=first.zoom,
    )
    order = np.argsort(-every.scores, kind="stable")
    member = np.repeat(np.arange(len(members)), [len(m) for m in members])
    return Pool(every[order], member[order], len(members))


def _joined(parts: Sequence[Pixels]) -> Pixels:
    return Pixels(
        np.concatenate([p.boxes for p in parts]), tuple(c for p in parts for c in p.crops), np.concatenate([p.quality for p in parts])
    )
