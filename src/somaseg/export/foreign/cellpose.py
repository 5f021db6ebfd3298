"""Cells as Cellpose saves them: a label image, and the file that its window opens."""

import io
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from somaseg.export.image_result import Exported, ImageResult
from somaseg.export.labels import narrow_labels
from somaseg.export.overlay import COLOURS


def mask_file(result: ImageResult) -> Exported:
    """A label TIFF `_cp_masks.tif`; a pixel that several cells have goes to the first of them. It holds no classes."""
    labels, lost = narrow_labels(result.cells)
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, labels, compression="zlib", predictor=False)
    return Exported(buffer.getvalue(), lost)


def seg_file(result: ImageResult) -> Exported:
    """`_seg.npy`, a dictionary in an array file: masks and outlines as Cellpose's window wants them, no flows.

    `somaseg` holds what Cellpose knows nothing of: class names, and the class of each cell; it lasts until Cellpose saves the file.
    """
    labels, lost = narrow_labels(result.cells)
    cells = result.cells
    own = {"classes": list(cells.classes), "labels": cells.labels.tolist()}
    colours = np.rint(255 * COLOURS[np.arange(len(cells)) % len(COLOURS)]).astype(np.uint8)
    areas = cells.area[cells.area > 0]
    content: dict[str, Any] = {
        "outlines": labels * _edges(labels),
        "colors": colours,
        "masks": labels,
        "chan_choose": [0, 0],
        "ismanual": np.zeros(len(cells), bool),
        "filename": result.file_name,
        "flows": [],
        "est_diam": 2 * float(np.sqrt(np.median(areas) / np.pi)) if len(areas) else 30.0,
        "somaseg": own,
    }
    buffer = io.BytesIO()
    np.save(buffer, np.array(content, dtype=object), allow_pickle=True)
    return Exported(buffer.getvalue(), lost)


def _edges(labels: NDArray[Any]) -> NDArray[np.bool_]:
    """The pixels of cells that have another value beside them, or the border of the image."""
    padded = np.pad(labels, 1)
    beside = [padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:]]
    edges: NDArray[np.bool_] = np.any([other != labels for other in beside], axis=0) & (labels > 0)
    return edges
