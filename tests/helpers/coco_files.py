"""COCO files with few cells, written by hand."""

from pathlib import Path
from typing import Any

import numpy as np
import orjson
from faster_coco_eval.core import mask as coco_mask

SQUARE = np.zeros((4, 5), np.uint8)
SQUARE[1:3, 2:4] = 1


def rle(mask: np.ndarray) -> dict[str, Any]:
    """Run-length code of a mask, as COCO has it."""
    code = coco_mask.encode(np.asfortranarray(mask, np.uint8))
    return {"size": [*mask.shape], "counts": code["counts"].decode()}


def coco(path: Path, segmentations: list[Any], **image: Any) -> Path:
    """A COCO file of one image `a.png` with cells of astro."""
    data = {
        "images": [{"id": 7, "file_name": "a.png", "width": 5, "height": 4, **image}],
        "categories": [{"id": 3, "name": "shsy5y"}, {"id": 9, "name": "astro"}],
        "annotations": [{"id": i, "image_id": 7, "category_id": 9, "segmentation": s} for i, s in enumerate(segmentations)],
    }
    path.write_bytes(orjson.dumps(data))
    return path


def edit(path: Path, **changes: Any) -> Path:
    """The file with some of its fields replaced."""
    path.write_bytes(orjson.dumps({**orjson.loads(path.read_bytes()), **changes}))
    return path
