"""Cells as a label TIFF."""

import io
from typing import Any

import numpy as np
import tifffile

from somaseg.export.image_result import Exported, ImageResult
from somaseg.instances import Instances


def label_file(result: ImageResult) -> Exported:
    """The label TIFF of a result."""
    return label_tiff(result.cells)


def label_tiff(cells: Instances, **described: Any) -> Exported:
    """A compressed label TIFF with cell i as i + 1; a pixel that several cells have goes to the first of them, the others lose it.

    uint16, or uint32 when there are more than 65,535 cells. Class names and the class of each cell stand in its description, so
    that `somaseg.annotations` reads them back, and so does what else is `described`, as JSON takes it.
    """
    labels, lost = cells.to_label_image()
    buffer = io.BytesIO()
    described |= {"classes": list(cells.classes), "labels": cells.labels.tolist()}
    narrow = labels.astype(np.uint16) if len(cells) <= np.iinfo(np.uint16).max else labels
    tifffile.imwrite(buffer, narrow, compression="zlib", predictor=False, metadata=described)
    return Exported(buffer.getvalue(), lost)
