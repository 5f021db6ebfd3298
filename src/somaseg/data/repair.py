"""A repaired copy of annotations, and what was changed in it.

A cell that has pixels is never lost: what no image can hold is carried on in the copy, word for word, as `left_out`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import orjson
from scipy import ndimage

from somaseg.annotations.convert import json_or_csv
from somaseg.annotations.samples import Problem, ProblemKind, Sample
from somaseg.annotations.write import write_coco
from somaseg.data.check import EIGHT, mask_key
from somaseg.errors import shown
from somaseg.instances import Instances

Action = Literal[
    "kept aside: unreadable",
    "kept aside: unknown image",
    "kept aside: no annotation",
    "dropped: empty",
    "dropped: duplicate",
    "bad piece left out",
    "class set to unknown",
    "score set to 1",
    "cut off at the border",
    "box corrected",
    "holes filled",
    "parted into its pieces",
    "image listed once",
]
ASIDE: dict[ProblemKind, Action] = {
    "unreadable mask": "kept aside: unreadable",
    "unknown image": "kept aside: unknown image",
    "no annotation": "kept aside: no annotation",
}
KEPT: dict[ProblemKind, Action] = {
    "bad piece": "bad piece left out",
    "unknown class": "class set to unknown",
    "bad score": "score set to 1",
    "outside image": "cut off at the border",
    "box outside image": "box corrected",
}
Cell = tuple[str | None, int | None]


@dataclass(frozen=True)
class Change:
    """One repair.

    Attributes:
        action: what was done.
        image: name of the sample, None where the annotation names none.
        index: number of the cell in the image as it was read; None for an ignored region, and for an image as a whole.
        found: what was wrong: file, place and field.
    """

    action: Action
    image: str | None
    index: int | None
    found: str = ""


def repair(samples: Sequence[Sample], problems: Sequence[Problem]) -> tuple[list[Sample], list[Change]]:
    """Fill holes; drop masks that are empty or repeat an earlier one; keep aside what cannot be read or placed.

    Readers have cut masks off at the border, left bad pieces of polygons out, given cells of no known class the class "unknown", and
    those of no readable score the score 1. The one value of a binary mask is parted into its pieces. Straight cuts and everything wrong
    with image files stay as they are.

    Args:
        samples: as `inspect_annotations` gives them.
        problems: what it gives with them, and more of `check`.
    """
    changes: list[Change] = []
    by_cell: dict[Cell, list[Problem]] = {}
    for problem in problems:
        by_cell.setdefault((problem.image, problem.index), []).append(problem)
        if problem.kind in ASIDE and problem.index is None:
            changes.append(Change(ASIDE[problem.kind], problem.image, None, problem.message))
        elif problem.kind in KEPT and problem.index is None and problem.image is not None:
            changes.append(Change(KEPT[problem.kind], problem.image, None, problem.message))
        elif problem.kind == "image listed twice":
            changes.append(Change("image listed once", problem.image, None, problem.message))
    repaired = []
    for sample in samples:
        if any(problem.kind == "binary mask" for problem in by_cell.get((sample.name, None), [])):
            repaired.append(_parted(sample, changes))
        else:
            repaired.append(_repaired(sample, by_cell, changes))
    return repaired, changes


def left_out(problems: Sequence[Problem]) -> list[dict[str, Any]]:
    """The annotations that no sample can hold, as the file had them, each with the reason and the image."""
    aside = [problem for problem in problems if problem.kind in ASIDE]
    return [{"reason": problem.message, "image": problem.image, "annotation": _writable(problem.raw)} for problem in aside]


def _repaired(sample: Sample, by_cell: Mapping[Cell, Sequence[Problem]], changes: list[Change]) -> Sample:
    instances = sample.instances
    keep: list[int] = []
    masks = []
    seen: dict[tuple[bytes, bytes], int] = {}
    for i, (mask, box) in enumerate(zip(instances.masks, instances.boxes, strict=True)):
        problems = by_cell.get((sample.name, i), [])
        filled = mask if mask.all() else ndimage.binary_fill_holes(mask)
        key = mask_key(filled, box)
        unread = next((p for p in problems if p.kind == "unreadable mask"), None)
        if unread is not None:
            changes.append(Change(ASIDE[unread.kind], sample.name, i, unread.message))
        elif not mask.any():
            reason = next((p.message for p in problems if p.kind == "outside image"), f"{sample.name}: cell {i} has no pixel in the image")
            changes.append(Change("dropped: empty", sample.name, i, reason))
        elif key in seen:
            reason = f"{sample.name}: cell {i} has the very pixels of cell {seen[key]}, which stays"
            changes.append(Change("dropped: duplicate", sample.name, i, reason))
        else:
            changes += [Change(KEPT[p.kind], sample.name, i, p.message) for p in problems if p.kind in KEPT]
            if not np.array_equal(mask, filled):
                changes.append(Change("holes filled", sample.name, i, f"{sample.name}: cell {i}"))
            seen[key] = i
            keep.append(i)
            masks.append(filled)
    kept = Instances(instances.size, instances.boxes[keep], tuple(masks), instances.labels[keep], instances.scores[keep], instances.classes)
    return replace(sample, instances=kept, ignored=sample.ignored[sample.ignored.area > 0])


def _parted(sample: Sample, changes: list[Change]) -> Sample:
    """The sample with each piece of each cell as a cell."""
    cells = sample.instances
    crops, labels = [], []
    for i, (mask, (x0, y0, _, _)) in enumerate(zip(cells.masks, cells.boxes.tolist(), strict=True)):
        pieces, n = ndimage.label(mask, EIGHT)
        for piece, (rows, columns) in enumerate(ndimage.find_objects(pieces), start=1):
            box = (x0 + columns.start, y0 + rows.start, x0 + columns.stop, y0 + rows.stop)
            crops.append((box, pieces[rows, columns] == piece))
            labels.append(cells.labels[i])
        changes.append(Change("parted into its pieces", sample.name, i, f"{sample.name}: cell {i} becomes {n} cells"))
    return replace(sample, instances=Instances.build(cells.size, crops, cells.classes, np.array(labels, np.int64)))


def _writable(raw: Any) -> Any:
    """An annotation as JSON can hold it; what it cannot hold is shown as text."""
    try:
        orjson.dumps(raw)
    except TypeError:
        return shown(raw)
    return raw


def repaired_file(out: Path) -> Path:
    """The file that a repaired copy is written to: a `.json` file itself, or `annotations.json` in a folder."""
    return json_or_csv(out, "annotations.json")


def write_repaired(samples: Sequence[Sample], out: Path, changes: Sequence[Change] = (), aside: Sequence[dict[str, Any]] = ()) -> Path:
    """Write COCO JSON, see `repaired_file`, with each change under `info` and what was kept aside under `left_out`; returns the file."""
    file = repaired_file(out)
    info = {"changes": [{"action": c.action, "image": c.image, "cell": c.index, "found": c.found} for c in changes]}
    write_coco(samples, file, {"info": info, **({"left_out": list(aside)} if aside else {})})
    return file
