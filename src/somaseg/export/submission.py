"""Cells as Kaggle's `submission.csv`."""

from collections.abc import Iterable, Sequence

import numpy as np

from somaseg.errors import InputError
from somaseg.instances import Instances
from somaseg.masks import crops as mk
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
        frame, _ = cells.to_label_image()
        windows = enumerate(cells.boxes.tolist(), start=1)
        codes = [kaggle_rle(frame[y0:y1, x0:x1] == i, (x0, y0, x1, y1), cells.size) for i, (x0, y0, x1, y1) in windows]
        first = csv_row([writable(name)])
        lines += [f"{first},{code}" for code in codes if code] or [f"{first},"]
    return ("\n".join(lines) + "\n").encode()


def kaggle_rle(crop: mk.Mask, box: Sequence[int], size: mk.Size) -> str:
    """The competition's RLE of a cell: "start length start length ...", from 1, along the rows; empty for a cell without pixels."""
    starts, lengths = mk.runs_from_crop(crop, box, size, "C")
    return " ".join(map(str, np.stack([starts + 1, lengths], axis=1).ravel().tolist()))
