"""Whole folders of results, with tables and overlays, made without a network."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from somaseg.export.coco import coco_file
from somaseg.export.image_result import ImageResult
from somaseg.export.table import Tables
from somaseg.images.frame import Channels
from somaseg.instances import Instances
from somaseg.measure.cells import measure

SIZE = (100, 140)


def cells(classes: tuple[str, ...], *counts: int) -> Instances:
    """So many square cells of each class, ten in a row; those of the second class are larger."""
    labels = [label for label, count in enumerate(counts) for _ in range(count)]
    corners = [(14 * (i % 10), 14 * (i // 10)) for i in range(len(labels))]
    crops = [
        ((x, y, x + 4 + 4 * k, y + 4 + 4 * k), np.ones((4 + 4 * k, 4 + 4 * k), bool)) for (x, y), k in zip(corners, labels, strict=True)
    ]
    return Instances.build(SIZE, crops, classes, np.array(labels, np.int64))


def write_whole_result(
    folder: Path,
    images: Mapping[str, Instances],
    failures: Mapping[str, str] | None = None,
    warnings: Mapping[str, list[str]] | None = None,
) -> Path:
    """A result by name of the image, each with a plain picture as its overlay."""
    classes = next(iter(images.values())).classes
    tables, counts, by_image = Tables(classes), dict.fromkeys(classes, 0), {}
    (folder / "overlays").mkdir(parents=True)
    for number, (name, found) in enumerate(images.items()):
        measured = measure(found, Channels(np.full(found.size, 7), ("0",)))
        info = {"source": f"/data/{name}.png", "warnings": (warnings or {}).get(name, [])}
        tables.add(name, json.loads(coco_file(ImageResult(found, None, f"{name}.png", None, None, measured, info)).data))
        by_image[name] = {"file": f"/data/{name}.png"}
        Image.new("RGB", (600, 400), (40 * number % 256, 90, 120)).save(folder / "overlays" / f"{name}_overlay.png")
        for label in found.labels.tolist():
            counts[classes[label]] += 1
    (folder / "cells.csv").write_bytes(tables.cells_csv())
    (folder / "images.csv").write_bytes(tables.images_csv(failures or {}))
    run = {"settings": {"postprocess": {"nms_iou": 0.3}}, "weights": {"name": "default", "sha256": "ab" * 32}, "versions": {"numpy": "2"}}
    run |= {"seconds": 1.5, "left_out": {"notes.txt": "no image"}, "medians": tables.medians(), "images": len(images), "skipped": 0}
    run |= {"cells": counts, "by_image": by_image, "failures": dict(failures or {}), "warnings": dict(warnings or {})}
    (folder / "run.json").write_text(json.dumps(run), encoding="utf-8")
    return folder
