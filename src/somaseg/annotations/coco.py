"""COCO JSON: polygons, compressed and uncompressed RLE, LIVECell's files as they are."""

import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from faster_coco_eval.core import mask as coco_mask
from numpy.typing import NDArray

from somaseg.annotations.image_folder import ImageFolder, sibling_images
from somaseg.annotations.samples import Problem, ProblemKind, Sample
from somaseg.errors import InputError
from somaseg.images.read import frame_name, image_stem
from somaseg.instances import Instances
from somaseg.masks.crops import Size
from somaseg.masks.rle import Crops, crops_from_runs, runs_from_texts, text_of_coco_rle

# LIVECell names its files <cell line>_Phase_<well>_<field>_<time>_<crop>; crops and times of a field belong together.
LIVECELL_NAME = re.compile(r"(?P<field>.+_Phase_[A-Z]\d+_\d+)_\d+d\d+h\d+m_\d+")
OWN_FIELDS = {"id", "file_name", "width", "height", "cell_type", "source", "pixel_size", "group"}
IMAGE_FIELDS: dict[str, Callable[[Any], bool]] = {
    "id": lambda value: isinstance(value, (int, str)),
    "file_name": lambda value: isinstance(value, str) and bool(value),
    "width": lambda value: isinstance(value, int) and value > 0,
    "height": lambda value: isinstance(value, int) and value > 0,
}
CHUNK_CELLS = 1000  # enough to make the cost of calls small, few enough for the processor's cache
EMPTY = b""  # stands for a segmentation that was found unreadable
Finding = tuple[int, ProblemKind, str, bool]


def read_coco(path: Path, images: Path | None = None) -> tuple[list[Sample], list[Problem]]:
    """Samples of a COCO file and what is wrong with single annotations.

    The group of an image is its `group` or `field_group`, else the field in a LIVECell file name. `score` of an
    annotation is kept (1 without it), one with `ignore` set is an ignored region of the image and no cell. Annotations may be a list
    or, as in some of LIVECell's files, a dict by id.

    Raises:
        InputError: when the file as a whole is not COCO.
    """
    data = load_coco(path)
    classes = tuple(str(c["name"]) for c in data["categories"])
    label_of = {c["id"]: number for number, c in enumerate(data["categories"])}
    rows_of: dict[Any, list[int]] = {image["id"]: [] for image in data["images"]}
    problems: list[Problem] = []
    annotations = data["annotations"]
    for row, annotation in enumerate(annotations):
        try:
            rows_of[annotation["image_id"]].append(row)
        except (KeyError, TypeError):
            message = f"{path}: annotations[{row}], image_id: names no image of the file: correct it or delete the annotation"
            problems.append(Problem("unknown image", message, fatal=True))
    folder = ImageFolder(images or sibling_images(path.parent, ("images", "train")))
    names = unique_names(data["images"])
    samples = []
    for size, chunk in _chunks(data["images"], [len(rows) for rows in rows_of.values()]):
        # The cells of an image come first, in their order, then what is ignored.
        rows = [row for i in chunk for row in sorted(rows_of[data["images"][i]["id"]], key=lambda row: is_ignored(annotations[row]))]
        cells = [annotations[row] for row in rows]
        bounds = np.cumsum([0, *(len(rows_of[data["images"][i]["id"]]) for i in chunk)]).tolist()
        (boxes, masks), findings = decode_segmentations([a.get("segmentation") for a in cells], size)
        labels = np.array([label_of.get(a.get("category_id"), -1) for a in cells], np.int64)
        for i in np.flatnonzero(labels < 0).tolist():
            findings.append((i, "unknown class", f"category_id: {cells[i].get('category_id')!r} is not in categories", True))
        scores = np.array([a.get("score", 1.0) for a in cells], np.float32)
        for i, kind, text, fatal in findings:
            place = bisect_right(bounds, i) - 1
            message = f"{path}: annotations[{rows[i]}], {text}"
            problems.append(Problem(kind, message, names[chunk[place]], None if is_ignored(cells[i]) else i - bounds[place], fatal))
        labels = labels.clip(min=0)
        for i, a, b in zip(chunk, bounds[:-1], bounds[1:], strict=True):
            found = Instances(size, boxes[a:b], masks[a:b], labels[a:b], scores[a:b], classes)
            n_cells = sum(not is_ignored(cell) for cell in cells[a:b])
            image = data["images"][i]
            file = _image_path(path, image["file_name"], folder, images)
            samples.append(_sample(image, names[i], file, found[:n_cells], found[n_cells:]))
    return samples, problems


def is_ignored(annotation: dict[str, Any]) -> bool:
    """Whether an annotation is a region that may be a cell or not."""
    return bool(annotation.get("ignore"))


def _chunks(images: Sequence[dict[str, Any]], n_cells: Sequence[int]) -> Iterator[tuple[Size, list[int]]]:
    """Numbers of successive images of one size with some thousand cells, which are decoded together."""
    chunk: list[int] = []
    size, cells = (0, 0), 0
    for i, (image, n) in enumerate(zip(images, n_cells, strict=True)):
        own = (image["height"], image["width"])
        if chunk and (own != size or cells + n > CHUNK_CELLS):
            yield size, chunk
            chunk, cells = [], 0
        size, cells = own, cells + n
        chunk.append(i)
    if chunk:
        yield size, chunk


def _image_path(path: Path, file_name: str, folder: ImageFolder, images: Path | None) -> Path:
    """The image file; a name that leads out of the annotation's folder is followed unless the folder of images was given."""
    if images is None and file_name.startswith(("../", "/")):
        return path.parent / file_name
    return folder.find(file_name)


def load_coco(path: Path) -> dict[str, Any]:
    """Parsed COCO JSON with `images`, `categories` and `annotations` as lists.

    Raises:
        InputError: when the file is not JSON, or a list or a required field of an image is missing.
    """
    try:
        data = orjson.loads(path.read_bytes())
    except orjson.JSONDecodeError as error:
        raise InputError(f"{path}: is not valid JSON ({error}): the file may be cut off") from error
    for key in ("images", "annotations", "categories"):
        value = data.get(key) if isinstance(data, dict) else None
        if isinstance(value, dict):
            data[key] = value = list(value.values())
        if not isinstance(value, list):
            raise InputError(
                f"{path}: {key}: found {type(value).__name__}, expected a list: give a COCO file with images, annotations, categories"
            )
    for i, category in enumerate(data["categories"]):
        if not isinstance(category, dict) or "id" not in category or "name" not in category:
            raise InputError(f"{path}: categories[{i}]: found {category!r}, expected an id and a name")
    seen: set[Any] = set()
    for i, image in enumerate(data["images"]):
        for key, valid in IMAGE_FIELDS.items():
            if not isinstance(image, dict) or not valid(image.get(key)):
                found = image.get(key) if isinstance(image, dict) else image
                raise InputError(f"{path}: images[{i}], {key}: found {found!r}: every image needs id, file_name, width and height")
        if image["id"] in seen:
            raise InputError(f"{path}: images[{i}], id: {image['id']!r} is the id of an earlier image: give each its own")
        seen.add(image["id"])
    return dict(data)


def decode_segmentations(segmentations: Sequence[Any], size: Size) -> tuple[Crops, list[Finding]]:
    """Boxes and crops of the segmentations of one image, in their order; an unreadable one gives an empty mask.

    Returns:
        Boxes and crops, and (index, kind, message, fatal) of what was found.
    """
    findings: list[Finding] = []
    texts: list[bytes] = []
    for i, segmentation in enumerate(segmentations):
        try:
            if isinstance(segmentation, dict):
                texts.append(text_of_coco_rle(segmentation, size))
            else:
                polygons = _polygons(segmentation)
                texts.append(_polygon_text(polygons, size))
                if outside := _outside(polygons, size):
                    findings.append((i, "outside image", f"segmentation: {outside}", False))
        except (ValueError, TypeError, KeyError, OverflowError) as error:
            reason = f"{error} is missing" if isinstance(error, KeyError) else str(error)
            findings.append((i, "unreadable mask", f"segmentation: {reason}", True))
            texts.append(EMPTY)
    starts, lengths, owner, reasons = runs_from_texts(texts, size[0] * size[1])
    findings += [(i, "unreadable mask", f"segmentation, counts: {r}", True) for i, r in reasons.items() if texts[i] is not EMPTY]
    return crops_from_runs(starts, lengths, owner, len(texts), size, "F"), findings


def _polygons(segmentation: Any) -> list[NDArray[np.float64]]:
    if not isinstance(segmentation, list) or not segmentation:
        raise ValueError(f"found {segmentation!r}, expected polygons or an RLE")
    polygons = [np.asarray(p, np.float64) for p in segmentation]
    for polygon in polygons:
        if polygon.ndim != 1 or len(polygon) < 6 or len(polygon) % 2 or not np.isfinite(polygon).all():
            raise ValueError(f"a polygon of {polygon.size} numbers, expected finite x, y of three or more points")
    return polygons


def _polygon_text(polygons: list[NDArray[np.float64]], size: Size) -> bytes:
    """Compressed counts of the union of polygons, rasterised as COCO's own tools do; what lies outside is cut off."""
    rles = coco_mask.frPyObjects([p.tolist() for p in polygons], *size)
    return bytes((rles[0] if len(rles) == 1 else coco_mask.merge(rles))["counts"])


def _outside(polygons: list[NDArray[np.float64]], size: Size) -> str | None:
    """How far polygons reach beyond the image; up to one pixel is the rounding of annotation tools."""
    for polygon in polygons:
        x, y = polygon[0::2], polygon[1::2]
        if x.min() < -1 or y.min() < -1 or x.max() > size[1] + 1 or y.max() > size[0] + 1:
            return f"x {x.min():g} to {x.max():g}, y {y.min():g} to {y.max():g} reach beyond {size[1]} x {size[0]} pixels"
    return None


def unique_names(images: Sequence[dict[str, Any]]) -> list[str]:
    """Unique names: the stem, with the page of a stack; the whole path where two folders hold the same stem."""
    short = [frame_name(Path(i["file_name"]), i.get("page")) for i in images]
    if len(set(short)) == len(short):
        return short
    twice = {name for name, n in Counter(short).items() if n > 1}
    return [(Path(i["file_name"]).parent / name).as_posix() if name in twice else name for i, name in zip(images, short, strict=True)]


def _sample(image: dict[str, Any], name: str, path: Path, instances: Instances, ignored: Instances) -> Sample:
    livecell = LIVECELL_NAME.fullmatch(image_stem(image["file_name"]))
    group = image.get("group", image.get("field_group", livecell and livecell["field"]))
    return Sample(
        image=path,
        instances=instances,
        name=name,
        group=None if group is None else str(group),
        cell_type=image.get("cell_type"),
        source="pseudo" if image.get("source") == "pseudo" else "manual",
        pixel_size=image.get("pixel_size"),
        metadata={k: v for k, v in image.items() if k not in OWN_FIELDS},
        ignored=ignored,
    )
