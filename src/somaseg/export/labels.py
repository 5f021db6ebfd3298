"""Cells as a label TIFF."""

import io

import numpy as np
import tifffile

from somaseg.instances import Instances


def label_tiff(cells: Instances) -> tuple[bytes, int]:
    """A compressed label TIFF with cell i as i + 1, and the number of pixels that it lost where cells overlap.

    uint16, or uint32 when there are more than 65,535 cells. Class names and the class of each cell stand in its description, so
    that `somaseg.annotations` reads them back.
    """
    labels, lost = cells.to_label_image()
    buffer = io.BytesIO()
    described = {"classes": list(cells.classes), "labels": cells.labels.tolist()}
    narrow = labels.astype(np.uint16) if len(cells) <= np.iinfo(np.uint16).max else labels
    tifffile.imwrite(buffer, narrow, compression="zlib", predictor=False, metadata=described)
    return buffer.getvalue(), lost
