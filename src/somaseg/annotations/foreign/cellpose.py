"""Cellpose's `_seg.npy`, and label images that NumPy saved; nothing in them is run."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from somaseg.errors import InputError, shown
from somaseg.limits import limit
from somaseg.pickles import read_pickle

WHAT = "masks"


def read_array_file(path: Path) -> tuple[NDArray[Any], dict[str, Any]]:
    """The label image of a file, and what it tells of its cells: their classes, where somaseg wrote it and Cellpose did not since.

    Raises:
        InputError: when it is damaged, holds no masks, or asks for anything but arrays and containers.
    """
    try:
        with path.open("rb") as file:
            version = np.lib.format.read_magic(file)
            read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, _, dtype = read(file)
            start = file.tell()
        size, most = int(np.prod(shape, dtype=object)) * dtype.itemsize, limit("SOMASEG_MAX_IMAGE_BYTES")
        if size > most:
            raise InputError(f"{path}: is an array of {size:,} bytes, the limit is {most:,}: set SOMASEG_MAX_IMAGE_BYTES to more")
        content = read_pickle(path, start, WHAT) if dtype.hasobject else np.load(path, allow_pickle=False)
    except InputError:
        raise
    except Exception as error:  # the header is Python, and NumPy's reader raises what Python's own does on a damaged one
        raise InputError(f"{path}: cannot be read as an array file ({str(error).partition(chr(10))[0]}): it may be cut off") from error
    masks = content.get("masks") if isinstance(content, dict) else content
    if not isinstance(masks, np.ndarray) or masks.dtype.kind not in "uifb":
        raise InputError(f"{path}: masks: found {shown(masks)}, expected the label image: save the file from Cellpose again")
    if masks.ndim == 3 and 1 in masks.shape:
        masks = masks.squeeze(axis=masks.shape.index(1))
    if masks.ndim != 2:
        raise InputError(f"{path}: masks: found an array of shape {masks.shape}, expected height and width: save each plane as a file")
    if masks.dtype.kind == "i" and masks.min(initial=0) == -1:  # the background of old versions, whose first cell is 0
        masks = masks.astype(np.int64) + 1
    return masks, _own(content, masks)


def _own(content: Any, masks: NDArray[Any]) -> dict[str, Any]:
    """Classes that we wrote, where they are still of these masks."""
    own = content.get("somaseg") if isinstance(content, dict) else None
    if not isinstance(own, dict) or not isinstance(own.get("labels"), list) or len(own["labels"]) < masks.max(initial=0):
        return {}
    return {key: own[key] for key in ("classes", "labels") if key in own}
