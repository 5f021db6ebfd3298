"""Cells as COCO JSON, of one image and of a whole run."""

import itertools
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import orjson
from numpy.typing import NDArray

from somaseg.export.image_result import Exported, ImageResult
from somaseg.instances import Instances
from somaseg.masks import crops as mk

AT_ONCE = 5000  # cells; of more the file is written cell by cell


def categories(classes: Sequence[str]) -> list[dict[str, Any]]:
    """COCO categories, ids from 1 in the order of the classes."""
    return [{"id": number, "name": name} for number, name in enumerate(classes, start=1)]


def annotations(cells: Instances) -> Iterator[dict[str, Any]]:
    """COCO annotations of the cells of image 1, made one by one.

    Beside COCO's fields each has `score`; `label`, its value in the label image, from 1; and `centroid`, x and y in pixels
    where the first pixel's centre is (0, 0).
    """
    for i, cell in enumerate(coco_cells(cells)):
        yield {
            "id": i + 1,
            "image_id": 1,
            "category_id": int(cells.labels[i]) + 1,
            **cell,
            "score": round(float(cells.scores[i]), 6),
            "label": i + 1,
            "centroid": _centroid(cells.masks[i], cells.boxes[i]),
        }


def coco_cells(cells: Instances) -> Iterator[dict[str, Any]]:
    """What COCO says of each cell wherever it is written: `segmentation`, `area`, `bbox` (x, y, width, height) and `iscrowd`."""
    for mask, area, box in zip(cells.masks, cells.area.tolist(), cells.boxes.tolist(), strict=True):
        x0, y0, x1, y1 = box
        rle = mk.coco_rle_from_crop(mask, box, cells.size)
        yield {"segmentation": rle, "area": area, "bbox": [x0, y0, x1 - x0, y1 - y0], "iscrowd": 0}


def _centroid(crop: mk.Mask, box: NDArray[np.int32]) -> list[float]:
    rows, columns = np.nonzero(crop)
    return [round(float(columns.mean()) + int(box[0]), 2), round(float(rows.mean()) + int(box[1]), 2)] if len(rows) else [0.0, 0.0]


def coco_file(result: ImageResult) -> Exported:
    """The COCO JSON of a result; `info` tells how it was made, `measurements` has a list a column, in the order of the annotations."""
    cells = result.cells
    document = {"info": result.info, **coco_document(cells[:0], result.file_name, result.page, result.pixel_size, result.place)}
    if result.measurements is not None:
        document["measurements"] = result.measurements.as_json()
    if len(cells) > AT_ONCE:
        return Exported(lambda file: _write(file, document, map(orjson.dumps, annotations(cells))))
    return Exported(orjson.dumps({**document, "annotations": list(annotations(cells))}))


def _write(file: BinaryIO, document: Mapping[str, Any], cells: Iterable[bytes]) -> int:
    """Write a document with these annotations in place of its own, one after the other; gives 0, the pixels that are lost."""
    file.write(b"{")
    for number, (key, value) in enumerate(document.items()):
        file.write((b"," if number else b"") + orjson.dumps(key) + b":")
        if key == "annotations":
            file.write(b"[")
            file.writelines((b"," if n else b"") + cell for n, cell in enumerate(cells))
            file.write(b"]")
        else:
            file.write(orjson.dumps(value))
    file.write(b"}")
    return 0


def coco_document(
    cells: Instances, file_name: str, page: int | None = None, pixel_size: float | None = None, place: str = ""
) -> dict[str, Any]:
    """COCO of one image: images, annotations, categories; page and place in a stack and pixel size (µm) stand where they are known."""
    image = {"id": 1, "file_name": file_name, "height": cells.size[0], "width": cells.size[1], "page": page, "pixel_size": pixel_size}
    image["place"] = place or None
    return {
        "images": [{key: value for key, value in image.items() if value is not None}],
        "annotations": list(annotations(cells)),
        "categories": categories(cells.classes),
    }


def merge_coco(documents: Iterable[Mapping[str, Any]], file_names: Sequence[str], classes: Sequence[str]) -> Exported:
    """One COCO JSON of the whole run from those of single images; ids of images and annotations count on from 1.

    Args:
        documents: one an image, each with these classes; read one by one when the file is written.
        file_names: what to call each image.
        classes: class names.
    """

    def write(file: BinaryIO) -> int:
        images: list[dict[str, Any]] = []

        def cells() -> Iterator[bytes]:
            ids = itertools.count(1)
            for number, (document, file_name) in enumerate(zip(documents, file_names, strict=True), start=1):
                images.append({**document["images"][0], "id": number, "file_name": file_name})
                for annotation in document["annotations"]:
                    yield orjson.dumps({**annotation, "id": next(ids), "image_id": number})

        # The images stand before the cells and are known after them; cells in memory would take 15 MB for 35,000 as bytes.
        with tempfile.TemporaryFile(dir=Path(file.name).parent) as aside:
            aside.writelines((b"," if n else b"") + cell for n, cell in enumerate(cells()))
            aside.seek(0)
            head = orjson.dumps({"images": images, "categories": categories(classes)})
            file.write(head[:-1] + b',"annotations":[')
            shutil.copyfileobj(aside, file)
            file.write(b"]}")
        return 0

    return Exported(write)


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
