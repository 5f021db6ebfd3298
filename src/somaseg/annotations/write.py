"""Write samples as COCO JSON, as the competition's `train.csv`, or as label TIFFs; masks come back exact to the pixel."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson

from somaseg.annotations.kaggle import METADATA, REQUIRED
from somaseg.annotations.samples import Sample
from somaseg.errors import InputError
from somaseg.export.coco import categories, coco_cells
from somaseg.export.labels import label_tiff
from somaseg.export.submission import kaggle_rle
from somaseg.files import write_whole
from somaseg.instances import Instances
from somaseg.texts.tables import csv_table


def write_coco(samples: Sequence[Sample], path: Path, further: Mapping[str, Any] | None = None) -> None:
    """COCO JSON with compressed RLE; overlaps and the order of the cells are kept.

    `file_name` leads from the folder of `path` to the image. The samples' metadata, cell type, group, source and pixel size
    become fields of the image; scores are written where they are not all 1. Ignored regions follow the cells, with `iscrowd` and
    `ignore` 1, so that COCO's tools leave them out as well.

    Args:
        samples: the images and cells.
        path: the file.
        further: fields of the file beside images, categories and annotations.
    """
    classes = list(dict.fromkeys(name for sample in samples for part in (sample.instances, sample.ignored) for name in part.classes))
    numbers = {name: number for number, name in enumerate(classes, start=1)}
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for image_id, sample in enumerate(samples, start=1):
        images.append(_coco_image(sample, image_id, path.parent))
        for part, marks in ((sample.instances, {}), (sample.ignored, {"iscrowd": 1, "ignore": 1})):
            scores = part.scores.tolist() if (part.scores != 1).any() else ()
            for number, (label, cell) in enumerate(zip(part.labels.tolist(), coco_cells(part), strict=True)):
                own = {"id": len(annotations) + 1, "image_id": image_id, "category_id": numbers[part.classes[label]]}
                annotations.append({**own, **cell, **({"score": scores[number]} if scores else {}), **marks})
    data = {"images": images, "categories": categories(classes), "annotations": annotations, **(further or {})}
    write_whole(path, orjson.dumps(data, default=str))


def _coco_image(sample: Sample, image_id: int, folder: Path) -> dict[str, Any]:
    height, width = sample.instances.size
    image: dict[str, Any] = {
        "id": image_id,
        "file_name": Path(os.path.relpath(sample.image, folder)).as_posix(),
        "width": width,
        "height": height,
        **sample.metadata,
        "cell_type": sample.cell_type,
        "pixel_size": sample.pixel_size,
        "source": "pseudo" if sample.source == "pseudo" else None,
    }
    if sample.group != _known_group(sample):
        image["group"] = sample.group
    return {key: value for key, value in image.items() if value is not None}


def _known_group(sample: Sample) -> str | None:
    """The group that the metadata tells already."""
    group = sample.metadata.get("group", sample.metadata.get("field_group"))
    return None if group is None else str(group)


def write_kaggle(samples: Sequence[Sample], path: Path) -> None:
    """`train.csv` with the competition's columns, then those that only these samples have; RLE as the competition writes it."""
    grouped = any(sample.group != _known_group(sample) for sample in samples)
    own = dict.fromkeys(key for sample in samples for key in sample.metadata if key not in METADATA)
    columns = [*REQUIRED, *METADATA, *own, *(["group"] if grouped and "group" not in own else [])]
    rows: list[tuple[Any, ...]] = []
    for sample in samples:
        height, width = sample.instances.size
        fields = {"id": sample.name, "width": width, "height": height, **sample.metadata}
        if grouped:
            fields["group"] = sample.group
        classes = sample.instances.classes
        cells = [(rle, classes[label]) for rle, label in zip(kaggle_rles(sample.instances), sample.instances.labels.tolist(), strict=True)]
        for rle, name in cells or [("", sample.cell_type)]:
            rows.append(tuple({**fields, "annotation": rle, "cell_type": name}.get(column) for column in columns))
    write_whole(path, csv_table(columns, [[None if value is None else str(value) for value in row] for row in rows]))


def kaggle_rles(instances: Instances) -> list[str]:
    """The competition's RLE of each cell, see `kaggle_rle`."""
    return [kaggle_rle(crop, box, instances.size) for crop, box in zip(instances.masks, instances.boxes.tolist(), strict=True)]


def write_label_tiffs(samples: Sequence[Sample], folder: Path) -> dict[str, int]:
    """One `labels/<name>.tif` an image: cell i has the value i + 1, uint16, or uint32 above 65,535 cells.

    The name, the image, the classes of the cells, group and cell type stand in the TIFF's description, where `read_annotations` finds
    them; folders in a name are joined by `_` in that of the file.

    Returns:
        Pixels that the label view lost where cells overlap, by name; images that lost none are left out.
    """
    names = [sample.name.replace("/", "_") for sample in samples]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise InputError(f"{folder}: two images are called {twice}: rename one, or write COCO JSON")
    lost: dict[str, int] = {}
    for name, sample in zip(names, samples, strict=True):
        image = Path(os.path.relpath(sample.image, folder / "labels")).as_posix()
        exported = label_tiff(sample.instances, name=sample.name, image=image, group=sample.group, cell_type=sample.cell_type)
        saved = exported.save(folder / "labels" / f"{name}.tif")
        if saved.pixels_lost:
            lost[sample.name] = saved.pixels_lost
    return lost
