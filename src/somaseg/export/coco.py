"""Cells as COCO JSON, of one image and of a whole run."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from somaseg.export.image_result import Exported, ImageResult
from somaseg.instances import Instances
from somaseg.masks import crops as mk


def categories(classes: Sequence[str]) -> list[dict[str, Any]]:
    """COCO categories, ids from 1 in the order of the classes."""
    return [{"id": number, "name": name} for number, name in enumerate(classes, start=1)]


def annotations(cells: Instances) -> list[dict[str, Any]]:
    """COCO annotations of the cells of image 1.

    Beside COCO's fields each has `score`; `label`, its value in the label image, from 1; and `centroid`, x and y in pixels
    where the first pixel's centre is (0, 0).
    """
    return [
        {
            "id": i + 1,
            "image_id": 1,
            "category_id": int(cells.labels[i]) + 1,
            **cell,
            "score": round(float(cells.scores[i]), 6),
            "label": i + 1,
            "centroid": _centroid(cells.masks[i], cells.boxes[i]),
        }
        for i, cell in enumerate(coco_cells(cells))
    ]


def coco_cells(cells: Instances) -> Iterator[dict[str, Any]]:
    """What COCO says of each cell wherever it is written: `segmentation`, `area`, `bbox` (x, y, width, height) and `iscrowd`."""
    for rle, area, (x0, y0, x1, y1) in zip(cells.to_rle(), cells.area.tolist(), cells.boxes.tolist(), strict=True):
        yield {"segmentation": rle, "area": area, "bbox": [x0, y0, x1 - x0, y1 - y0], "iscrowd": 0}


def _centroid(crop: mk.Mask, box: NDArray[np.int32]) -> list[float]:
    rows, columns = np.nonzero(crop)
    return [round(float(columns.mean()) + int(box[0]), 2), round(float(rows.mean()) + int(box[1]), 2)] if len(rows) else [0.0, 0.0]


def coco_file(result: ImageResult) -> Exported:
    """The COCO JSON of a result; `info` tells how it was made, `measurements` has a list a column, in the order of the annotations."""
    document = coco_document(result.cells, result.file_name, result.page, result.pixel_size)
    measured = {} if result.measurements is None else {"measurements": result.measurements.as_json()}
    return Exported(orjson.dumps({"info": result.info, **document, **measured}))


def coco_document(cells: Instances, file_name: str, page: int | None = None, pixel_size: float | None = None) -> dict[str, Any]:
    """COCO of one image: images, annotations, categories; page of a stack and pixel size (µm) stand where they are known."""
    image = {"id": 1, "file_name": file_name, "height": cells.size[0], "width": cells.size[1], "page": page, "pixel_size": pixel_size}
    return {
        "images": [{key: value for key, value in image.items() if value is not None}],
        "annotations": annotations(cells),
        "categories": categories(cells.classes),
    }


def merge_coco(documents: Iterable[Mapping[str, Any]], file_names: Sequence[str], classes: Sequence[str]) -> bytes:
    """One COCO JSON of the whole run from those of single images; ids of images and annotations count on from 1.

    Args:
        documents: one an image, each with these classes; read one by one.
        file_names: what to call each image.
        classes: class names.
    """
    images: list[dict[str, Any]] = []
    cells: list[bytes] = []
    for number, (document, file_name) in enumerate(zip(documents, file_names, strict=True), start=1):
        images.append({**document["images"][0], "id": number, "file_name": file_name})
        # Encoded at once: 35,000 annotations take 15 MB as bytes and ten times that as dicts.
        cells += [orjson.dumps({**a, "id": len(cells) + i, "image_id": number}) for i, a in enumerate(document["annotations"], start=1)]
    head = orjson.dumps({"images": images, "categories": categories(classes)})
    return head[:-1] + b',"annotations":[' + b",".join(cells) + b"]}"


def cells_of(document: Mapping[str, Any]) -> Instances:
    """The cells of a COCO document of one image, as `annotations` wrote them."""
    image, found = document["images"][0], document["annotations"]
    return Instances.from_rle(
        [a["segmentation"] for a in found],
        (image["height"], image["width"]),
        [c["name"] for c in document["categories"]],
        [a["category_id"] - 1 for a in found],
        [a["score"] for a in found],
    )
