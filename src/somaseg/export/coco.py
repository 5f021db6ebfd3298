"""Write cells to files: COCO JSON, label TIFF, `cells.csv`, Kaggle's `submission.csv`; each file appears whole or not at all."""

import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import polars as pl
import tifffile
from numpy.typing import NDArray

from somaseg.errors import InputError
from somaseg.instances import Instances
from somaseg.masks import crops as mk

CELL_COLUMNS = {
    "image": pl.String,
    "id": pl.Int64,
    "label": pl.Int64,
    "class": pl.String,
    "score": pl.Float64,
    "area": pl.Int64,
    "centroid_x": pl.Float64,
    "centroid_y": pl.Float64,
    "x0": pl.Int64,
    "y0": pl.Int64,
    "x1": pl.Int64,
    "y1": pl.Int64,
    "area_um2": pl.Float64,
}


def write_atomic(path: Path, data: bytes) -> None:
    """Write a file so that a reader, or a kill at any moment, finds the old one or the new one, never a part.

    Folders on the way are made. A kill leaves at most `.NAME.part` beside it, which the next write replaces.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    part.write_bytes(data)
    part.replace(path)


def categories(classes: Sequence[str]) -> list[dict[str, Any]]:
    """COCO categories, ids from 1 in the order of the classes."""
    return [{"id": number, "name": name} for number, name in enumerate(classes, start=1)]


def annotations(cells: Instances) -> list[dict[str, Any]]:
    """COCO annotations of the cells of image 1.

    Beside COCO's fields each has `score`; `label`, its value in the label image, from 1; and `centroid`, x and y in pixels
    where the first pixel's centre is (0, 0).
    """
    centroids = [_centroid(crop, box) for crop, box in zip(cells.masks, cells.boxes, strict=True)]
    rles, areas = cells.to_rle(), cells.area.tolist()
    return [
        {
            "id": i + 1,
            "image_id": 1,
            "category_id": int(cells.labels[i]) + 1,
            "segmentation": rles[i],
            "area": areas[i],
            "bbox": [x0, y0, x1 - x0, y1 - y0],
            "iscrowd": 0,
            "score": round(float(cells.scores[i]), 6),
            "label": i + 1,
            "centroid": centroids[i],
        }
        for i, (x0, y0, x1, y1) in enumerate(cells.boxes.tolist())
    ]


def _centroid(crop: mk.Mask, box: NDArray[np.int32]) -> list[float]:
    rows, columns = np.nonzero(crop)
    return [round(float(columns.mean()) + int(box[0]), 2), round(float(rows.mean()) + int(box[1]), 2)] if len(rows) else [0.0, 0.0]


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


def cells_csv(documents: Iterable[Mapping[str, Any]], names: Sequence[str]) -> bytes:
    """A table with a row a cell, from COCO documents of single images.

    `id` is that of `instances.json`, `label` the value in the label image; areas in pixels (and `area_um2` in µm² where a pixel
    size is known), `centroid_x`, `centroid_y` in pixels where the first pixel's centre is 0, `x0 y0 x1 y1` a half-open box.
    """
    rows: list[tuple[Any, ...]] = []
    for document, name in zip(documents, names, strict=True):
        class_of = {c["id"]: c["name"] for c in document["categories"]}
        pixel_size = document["images"][0].get("pixel_size")
        for cell in document["annotations"]:
            x, y, width, height = cell["bbox"]
            area = cell["area"]
            about = (name, len(rows) + 1, cell["label"], class_of[cell["category_id"]], cell["score"], area)
            in_um2 = None if pixel_size is None else round(area * pixel_size**2, 4)
            rows.append((*about, *cell["centroid"], x, y, x + width, y + height, in_um2))
    table = pl.DataFrame(rows, schema=CELL_COLUMNS, orient="row")
    if table["area_um2"].null_count() == len(table):
        table = table.drop("area_um2")
    return table.write_csv().encode()


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


def submission_csv(images: Iterable[tuple[str, Instances]]) -> bytes:
    """Kaggle's `submission.csv`: columns id and predicted, RLE over rows with pixels numbered from 1.

    No two masks of an image overlap: a pixel goes to the first cell that has it, and cells come best first. An image without a
    cell has one row with an empty `predicted`.

    Raises:
        InputError: when two images have one name.
    """
    lines = ["id,predicted"]
    seen: set[str] = set()
    for name, cells in images:
        if name in seen:
            raise InputError(f"submission.csv: two images are called {name!r}, expected unique names: rename one of them")
        seen.add(name)
        frame, _ = cells.to_label_image()
        windows = enumerate(cells.boxes.tolist(), start=1)
        codes = [_kaggle_rle(frame[y0:y1, x0:x1] == i, (x0, y0, x1, y1), cells.size) for i, (x0, y0, x1, y1) in windows]
        lines += [f"{name},{code}" for code in codes if code] or [f"{name},"]
    return ("\n".join(lines) + "\n").encode()


def _kaggle_rle(crop: mk.Mask, box: Sequence[int], size: mk.Size) -> str:
    starts, lengths = mk.runs_from_crop(crop, box, size, "C")
    return " ".join(map(str, np.stack([starts + 1, lengths], axis=1).ravel().tolist()))
