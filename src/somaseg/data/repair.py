"""A repaired copy of annotations, and what was changed in it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from scipy import ndimage

from somaseg.annotations.samples import Problem, ProblemKind, Sample
from somaseg.annotations.write import write_coco
from somaseg.data.check import mask_key
from somaseg.instances import Instances

Action = Literal[
    "dropped: unreadable",
    "dropped: unknown class",
    "dropped: unknown image",
    "dropped: empty",
    "dropped: duplicate",
    "cut off at the border",
    "box corrected",
    "holes filled",
]
DROPPED: dict[ProblemKind, Action] = {"unreadable mask": "dropped: unreadable", "unknown class": "dropped: unknown class"}
KEPT: dict[ProblemKind, Action] = {"outside image": "cut off at the border", "box outside image": "box corrected"}


@dataclass(frozen=True)
class Change:
    """One repair: of the cell `index` of the image as it was read; of no image where it names none."""

    action: Action
    image: str | None
    index: int | None


def repair(samples: Sequence[Sample], problems: Sequence[Problem]) -> tuple[list[Sample], list[Change]]:
    """Fill holes; drop masks that are unreadable, empty or repeat an earlier one; readers have cut masks off at the border.

    Straight cuts and everything wrong with image files stay as they are.

    Args:
        samples: as `inspect_annotations` gives them.
        problems: what it gives with them, and more of `check`.
    """
    changes = [Change("dropped: unknown image", None, None) for p in problems if p.kind == "unknown image"]
    by_cell: dict[tuple[str | None, int | None], list[ProblemKind]] = {}
    for problem in problems:
        by_cell.setdefault((problem.image, problem.index), []).append(problem.kind)
    repaired = []
    for sample in samples:
        instances = sample.instances
        keep: list[int] = []
        masks = []
        seen: set[tuple[bytes, bytes]] = set()
        for i, (mask, box) in enumerate(zip(instances.masks, instances.boxes, strict=True)):
            kinds = by_cell.get((sample.name, i), [])
            filled = ndimage.binary_fill_holes(mask) if mask.any() else mask
            key = mask_key(filled, box)
            drop: Action | None = next((DROPPED[kind] for kind in kinds if kind in DROPPED), None)
            if drop is None and not mask.any():
                drop = "dropped: empty"
            elif drop is None and key in seen:
                drop = "dropped: duplicate"
            if drop is not None:
                changes.append(Change(drop, sample.name, i))
                continue
            changes += [Change(KEPT[kind], sample.name, i) for kind in kinds if kind in KEPT]
            if not np.array_equal(mask, filled):
                changes.append(Change("holes filled", sample.name, i))
            seen.add(key)
            keep.append(i)
            masks.append(filled)
        kept = Instances(
            instances.size, instances.boxes[keep], tuple(masks), instances.labels[keep], instances.scores[keep], instances.classes
        )
        repaired.append(replace(sample, instances=kept))
    return repaired, changes


def write_repaired(samples: Sequence[Sample], out: Path) -> Path:
    """Write COCO JSON to a `.json` file, or to `annotations.json` in a folder, and return the file."""
    file = out if out.suffix.lower() == ".json" else out / "annotations.json"
    write_coco(samples, file)
    return file
