"""Folders of results written without images: square cells on a grid, as many as asked for."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from somaseg.export.coco import coco_file
from somaseg.export.image_result import ImageResult
from somaseg.images.frame import Channels
from somaseg.instances import Instances
from somaseg.measure.cells import measure

CLASSES = ("round", "long")
SIZE = (100, 100)


def squares(count: int, side: int = 4, size: tuple[int, int] = SIZE, label: int = 0) -> Instances:
    """Cells of side x side px, ten in a row, from the upper left corner."""
    corners = [(10 * (i % 10), 10 * (i // 10)) for i in range(count)]
    crops = [((x, y, x + side, y + side), np.ones((side, side), bool)) for x, y in corners]
    return Instances.build(size, crops, CLASSES, np.full(count, label))


def write_result(
    folder: Path, images: Mapping[str, Instances], pixel_size: float | None = None, failures: Mapping[str, str] | None = None
) -> Path:
    """A result of images that lie in /data, by the path below it; grey values are all 7."""
    (folder / "coco").mkdir(parents=True)
    by_image, counts = {}, dict.fromkeys(CLASSES, 0)
    for path, cells in images.items():
        name = path.replace("/", "_").rsplit(".", 1)[0]
        measured = measure(cells, Channels(np.full(cells.size, 7), ("0",)))
        info = {"source": f"/data/{path}", "warnings": []}
        result = ImageResult(cells, None, Path(path).name, None, pixel_size, measured, info)
        (folder / "coco" / f"{name}.json").write_bytes(coco_file(result).data)
        by_image[name] = {"file": f"/data/{path}"}
        for label in cells.labels.tolist():
            counts[CLASSES[label]] += 1
    run = {"cells": counts, "by_image": by_image, "failures": dict(failures or {})}
    (folder / "run.json").write_text(json.dumps(run))
    return folder
