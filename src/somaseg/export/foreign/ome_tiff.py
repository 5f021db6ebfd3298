"""Cells as a label image in an OME-TIFF, with the size of its pixels."""

import io
import uuid
from typing import Any

import tifffile

from somaseg.export.image_result import Exported, ImageResult
from somaseg.export.labels import narrow_labels
from somaseg.texts.tables import writable

NAMESPACE = "somaseg"
IDS = uuid.UUID("3a7d2c1e-94f0-4e55-8a6b-0c2f7d9be413")  # of the ids of our files, which come from the name of the image


def ome_tiff_file(result: ImageResult) -> Exported:
    """A compressed label image; a pixel that several cells have goes to the first of them.

    The class and the score of each cell stand in a map annotation, by `class N` and `score N` of cell N.
    """
    labels, lost = narrow_labels(result.cells)
    described: dict[str, Any] = {"axes": "YX", "Name": _plain(result.file_name)}
    described["UUID"] = str(uuid.uuid5(IDS, f"{writable(result.file_name)}/{result.page}"))  # tifffile's own is another in each file
    if result.pixel_size is not None:
        described |= {f"PhysicalSize{axis}": result.pixel_size for axis in "XY"}
        described |= {f"PhysicalSize{axis}Unit": "µm" for axis in "XY"}
    values: dict[str, Any] = {"Namespace": NAMESPACE}
    for i, (label, score) in enumerate(zip(result.cells.labels.tolist(), result.cells.scores.tolist(), strict=True), start=1):
        values |= {f"class {i}": _plain(result.cells.classes[label]), f"score {i}": f"{score:.6g}"}
    buffer = io.BytesIO()
    with tifffile.TiffWriter(buffer, ome=True) as writer:
        writer.write(labels, compression="zlib", predictor=False, metadata={**described, "MapAnnotation": values})
    return Exported(buffer.getvalue(), lost)


def _plain(text: str) -> str:
    """A text as XML can hold it: without the signs that it knows no way to write."""
    return "".join(sign if sign.isprintable() or sign in "\t\n\r" else "\ufffd" for sign in writable(text))
