"""Cells as a label TIFF."""

import io
from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy as np
import tifffile
from numpy.typing import NDArray

from somaseg.export.image_result import Exported, ImageResult
from somaseg.instances import Instances
from somaseg.masks import crops as mk

WHOLE_PIXELS = 2**24
TILE = (512, 512)
CLASSIC_BYTES = 2**31  # uncompressed; a TIFF with offsets of 32 bits ends at twice as many


def label_file(result: ImageResult) -> Exported:
    """The label TIFF of a result."""
    return label_tiff(result.cells)


def label_tiff(cells: Instances, **described: Any) -> Exported:
    """A compressed label TIFF with cell i as i + 1; a pixel that several cells have goes to the first of them, the others lose it.

    Of an image of more than 16,777,216 pixels it is stored and written tile by tile, as BigTIFF where it may become large, so that
    no more than some tiles are in memory.

    uint16, or uint32 when there are more than 65,535 cells. Class names and the class of each cell stand in its description, so
    that `somaseg.annotations` reads them back, and so does what else is `described`, as JSON takes it.
    """
    described |= {"classes": list(cells.classes), "labels": cells.labels.tolist()}
    dtype = label_dtype(cells)
    if cells.size[0] * cells.size[1] > WHOLE_PIXELS:
        return Exported(lambda file: _write_tiles(file, cells, dtype, described))
    labels, lost = narrow_labels(cells)
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, labels, compression="zlib", predictor=False, metadata=described)
    return Exported(buffer.getvalue(), lost)


def label_dtype(cells: Instances) -> np.dtype[Any]:
    """The type of a label image of cells: uint16, or uint32 when there are more than 65,535 of them."""
    return np.dtype(np.uint16 if len(cells) <= np.iinfo(np.uint16).max else np.uint32)


def narrow_labels(cells: Instances) -> tuple[NDArray[Any], int]:
    """The label image of cells in the type of `label_dtype`, and the pixels that later cells lost to earlier ones."""
    labels, lost = cells.to_label_image()
    return labels.astype(label_dtype(cells), copy=False), lost


def _write_tiles(file: BinaryIO, cells: Instances, dtype: np.dtype[Any], described: dict[str, Any]) -> int:
    """Write the label TIFF in tiles; gives the pixels that were lost."""
    lost = 0

    def tiles() -> Iterator[NDArray[Any]]:
        nonlocal lost
        for labels, of_tile in mk.label_tiles(cells.masks, cells.boxes, cells.size, TILE):
            lost += of_tile
            yield labels.astype(dtype)

    tifffile.imwrite(
        *(file, tiles()),
        shape=cells.size,
        dtype=dtype,
        tile=TILE,
        compression="zlib",
        predictor=False,
        metadata=described,
        bigtiff=cells.size[0] * cells.size[1] * dtype.itemsize > CLASSIC_BYTES,
        maxworkers=1,
    )
    return lost
