"""Cells as Kaggle's `submission.csv`."""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from somaseg.errors import InputError
from somaseg.instances import Instances
from somaseg.masks import crops as mk
from somaseg.masks.pairs import meeting_boxes
from somaseg.texts.tables import csv_row, writable


def submission_csv(images: Iterable[tuple[str, Instances]]) -> bytes:
    """Kaggle's `submission.csv`: columns id and predicted, RLE over rows with pixels numbered from 1.

    No two masks of an image overlap: a pixel goes to the first cell that has it, and cells come best first. An image without a
    cell has one row with an empty `predicted`.

    Raises:
        InputError: when two images have one name.
    """
    lines = ["id,predicted"]
    seen: set[str] = set()
    for name, cells in images:
        if name in seen:
            raise InputError(f"submission.csv: two images are called {name!r}, expected unique names: rename one of them")
        seen.add(name)
        codes = [kaggle_rle(crop, box, cells.size) for crop, box in zip(_own(cells), cells.boxes.tolist(), strict=True)]
        first = csv_row([writable(name)])
        lines += [f"{first},{code}" for code in codes if code] or [f"{first},"]
    return ("\n".join(lines) + "\n").encode()


def _own(cells: Instances) -> Iterator[mk.Mask]:
    """The pixels of each cell that no cell before it has."""
    before, after = meeting_boxes(cells.boxes)
    order = np.argsort(after, kind="stable")
    meeting = np.split(before[order], np.searchsorted(after[order], np.arange(1, max(1, len(cells)))))
    for crop, (x0, y0, x1, y1), others in zip(cells.masks, cells.boxes.tolist(), meeting, strict=False):
        own = crop.copy()
        for i in others.tolist():
            if not own.any():
                break
            a0, b0, a1, b1 = (int(n) for n in cells.boxes[i])
            left, top, right, bottom = max(x0, a0), max(y0, b0), min(x1, a1), min(y1, b1)
            own[top - y0 : bottom - y0, left - x0 : right - x0] &= ~cells.masks[i][top - b0 : bottom - b0, left - a0 : right - a0]
        yield own


def kaggle_rle(crop: mk.Mask, box: Sequence[int], size: mk.Size) -> str:
    """The competition's RLE of a cell: "start length start length ...", from 1, along the rows; empty for a cell without pixels."""
    starts, lengths = mk.runs_from_crop(crop, box, size, "C")
    return " ".join(map(str, np.stack([starts + 1, lengths], axis=1).ravel().tolist()))
