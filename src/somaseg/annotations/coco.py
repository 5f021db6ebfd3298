"""COCO JSON: polygons, compressed and uncompressed RLE, crowds, LIVECell's files as they are."""

import math
import re
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from somaseg.annotations.coco_document import UNKNOWN, CocoDocument, CocoImage, is_ignored, load_coco, pixel_size_of, text_of
from somaseg.annotations.image_folder import Found, ImageFolder, is_file, name_parts, sample_names, sibling_images
from somaseg.annotations.samples import Problem, ProblemKind, Sample
from somaseg.errors import InputError, shown
from somaseg.images.read import image_stem
from somaseg.instances import Instances
from somaseg.limits import MaskBudget
from somaseg.masks.crops import Size
from somaseg.masks.rle import Crops, crops_from_runs, runs_from_texts
from somaseg.masks.segmentations import rasterised

# LIVECell names its files <cell line>_Phase_<well>_<field>_<time>_<crop>; crops and times of a field belong together.
LIVECELL_NAME = re.compile(r"(?P<field>.+_Phase_[A-Z]\d+_\d+)_\d+d\d+h\d+m_\d+")
OWN_FIELDS = {"id", "file_name", "width", "height", "cell_type", "source", "pixel_size", "group"}
CHUNK_CELLS = 1000  # enough to make the cost of calls small, few enough for the processor's cache
EMPTY = b""  # stands for a segmentation that was found unreadable
ROUNDING = 1e-5  # by which a score of single precision may leave 0 to 1
Finding = tuple[int, ProblemKind, str, bool]


def read_coco(path: Path, images: Path | None = None) -> tuple[list[Sample], list[Problem]]:
    """Samples of a COCO file and what is wrong with single annotations.

    The group of an image is its `group` or `field_group`, else the field in a LIVECell file name. `score` of an
    annotation is kept (1 without it); one with `iscrowd` or `ignore` set is an ignored region of the image and no cell. An image that
    is listed twice is one sample with the cells of both; those that stand in both word by word are in it once.

    Raises:
        InputError: when the file as a whole is not COCO, or a score is above 1 or below 0.
    """
    document = load_coco(path)
    problems = list(document.problems)
    folder = ImageFolder(images or sibling_images(path.parent, ("images", "train")))
    files = [_image_file(path, image.file_name, folder, images) for image in document.images]
    document, files, twice = _each_once(document, files)
    names = sample_names([image.file_name for image in document.images], [image.page for image in document.images])
    problems += [Problem("image listed twice", message, names[i]) for i, message in twice]
    for name, image, file in zip(names, document.images, files, strict=True):
        problems += file_problems(image.place, name, image.file_name, file)
    classes = document.classes
    if any(document.labels[row] < 0 for rows in document.rows for row in rows):
        classes = (*classes, UNKNOWN)
    reader = _MaskReader(path, document, names, classes)
    samples = []
    for size, chunk in _chunks(document.images, [len(rows) for rows in document.rows]):
        for i, cells, ignored in reader.read(size, chunk):
            samples.append(_sample(document.images[i], names[i], files[i].path, cells, ignored))
    problems += reader.problems
    if not reader.n_cells and reader.n_crowds:
        message = f"{path}: annotations: all {reader.n_crowds} are crowds or ignored regions (iscrowd, ignore), so that there is no cell"
        problems.append(Problem("only crowds", f"{message}: where they are single cells, set iscrowd to 0"))
    return samples, problems


class _MaskReader:
    """Decodes the cells of images of one size together, and notes what is wrong with them."""

    def __init__(self, path: Path, document: CocoDocument, names: Sequence[str], classes: tuple[str, ...]) -> None:
        self.path = path
        self.document = document
        self.names = names
        self.classes = classes
        self.problems: list[Problem] = []
        self.budget = MaskBudget(path)
        self.n_cells = self.n_crowds = 0

    def read(self, size: Size, chunk: Sequence[int]) -> Iterator[tuple[int, Instances, Instances]]:
        """Number, cells and ignored regions of the images of a chunk."""
        annotations = self.document.annotations
        # The cells of an image come first, in their order, then what is ignored.
        rows = [row for i in chunk for row in sorted(self.document.rows[i], key=lambda row: is_ignored(annotations[row]))]
        cells: list[dict[str, Any]] = [annotations[row] for row in rows]
        bounds = np.cumsum([0, *(len(self.document.rows[i]) for i in chunk)]).tolist()
        (boxes, masks), findings = decode_segmentations([a.get("segmentation") for a in cells], size, self.budget)
        labels = np.array([self.document.labels[row] for row in rows], np.int64)
        for i in np.flatnonzero(labels < 0).tolist():
            found = shown(cells[i].get("category_id"))
            findings.append((i, "unknown class", f"category_id: {found} is not in categories", True))
        labels[labels < 0] = len(self.classes) - 1
        scores = self._scores(rows, cells, findings)
        findings += [(i, "box outside image", text, False) for i, text in _bad_boxes(cells, size)]
        for i, kind, text, fatal in sorted(findings, key=lambda finding: rows[finding[0]]):
            place = bisect_right(bounds, i) - 1
            message = f"{self.path}: annotations[{rows[i]}], {text}"
            index = None if is_ignored(cells[i]) else i - bounds[place]
            raw = cells[i] if kind == "unreadable mask" else None
            self.problems.append(Problem(kind, message, self.names[chunk[place]], index, fatal, raw))
        for i, a, b in zip(chunk, bounds[:-1], bounds[1:], strict=True):
            found_cells = Instances(size, boxes[a:b], masks[a:b], labels[a:b], scores[a:b], self.classes)
            n_cells = b - a - sum(is_ignored(cell) for cell in cells[a:b])
            self.n_cells += n_cells
            self.n_crowds += b - a - n_cells
            yield i, found_cells[:n_cells], found_cells[n_cells:]

    def _scores(self, rows: Sequence[int], cells: Sequence[dict[str, Any]], findings: list[Finding]) -> NDArray[np.float32]:
        """Scores of annotations; 1 where there is none, and where what stands there is no number."""
        scores = np.ones(len(cells), np.float32)
        for i, cell in enumerate(cells):
            if "score" not in cell:
                continue
            value = cell["score"]
            number = _number(value)
            if math.isnan(number):
                findings.append((i, "bad score", f"score: found {shown(value)}, expected a number from 0 to 1", True))
            elif not -ROUNDING <= number <= 1 + ROUNDING:
                raise InputError(f"{self.path}: annotations[{rows[i]}], score: found {shown(value)}, expected 0 to 1")
            else:
                scores[i] = min(max(number, 0), 1)
        return scores


def _number(value: Any) -> float:
    """A number, which may be text; NaN for anything else."""
    if type(value) is float:
        return value
    try:
        return math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        return math.nan


def _bad_boxes(cells: Sequence[Mapping[str, Any]], size: Size) -> Iterator[tuple[int, str]]:
    """Boxes that are no box or reach beyond the image by more than a pixel, by the number of the cell; nothing is taken from them."""
    given = [i for i, cell in enumerate(cells) if cell.get("bbox") is not None]
    height, width = size
    valid: NDArray[np.bool_]
    try:
        boxes = np.array([cells[i]["bbox"] for i in given], np.float64).reshape(len(given), -1)
        valid = np.full(len(given), boxes.shape[1:] == (4,))
        if valid.any():
            x, y, w, h = boxes.T
            with np.errstate(all="ignore"):
                valid = (w >= 0) & (h >= 0) & (np.minimum(x, y) >= -1) & (x + w <= width + 1) & (y + h <= height + 1)
    except (TypeError, ValueError, OverflowError):
        valid = np.array([not list(_bad_boxes([cells[i]], size)) if len(given) > 1 else False for i in given], bool)
    for place in np.flatnonzero(~valid).tolist():
        found = shown(cells[given[place]]["bbox"])
        yield given[place], f"bbox: found {found}, expected [x, y, width, height] inside {width} x {height} pixels"


def decode_segmentations(segmentations: Sequence[Any], size: Size, budget: MaskBudget | None = None) -> tuple[Crops, list[Finding]]:
    """Boxes and crops of the segmentations of one image, in their order; an unreadable one gives an empty mask.

    Returns:
        Boxes and crops, and (index, kind, message, fatal) of what was found.
    """
    findings: list[Finding] = []
    texts: list[bytes] = []
    for i, segmentation in enumerate(segmentations):
        try:
            mask = rasterised(segmentation, size)
        except (ValueError, TypeError, KeyError, OverflowError) as error:
            reason = f"{error} is missing" if isinstance(error, KeyError) else str(error)
            findings.append((i, "unreadable mask", f"segmentation: {reason}", True))
            texts.append(EMPTY)
            continue
        texts.append(mask.text)
        if budget is not None and mask.outline:
            budget.walk(mask.outline)
        findings += [(i, "bad piece", f"segmentation, {text}: the piece is left out", False) for text in mask.bad_pieces]
        if mask.outside:
            findings.append((i, "outside image", f"segmentation: {mask.outside}", False))
    starts, lengths, owner, reasons = runs_from_texts(texts, size[0] * size[1])
    findings += [(i, "unreadable mask", f"segmentation, counts: {r}", True) for i, r in reasons.items() if texts[i] is not EMPTY]
    return crops_from_runs(starts, lengths, owner, len(texts), size, "F", None if budget is None else budget.spend), findings


def _chunks(images: Sequence[CocoImage], n_cells: Sequence[int]) -> Iterator[tuple[Size, list[int]]]:
    """Numbers of successive images of one size with some thousand cells, which are decoded together."""
    chunk: list[int] = []
    size, cells = (0, 0), 0
    for i, (image, n) in enumerate(zip(images, n_cells, strict=True)):
        if chunk and (image.size != size or cells + n > CHUNK_CELLS):
            yield size, chunk
            chunk, cells = [], 0
        size, cells = image.size, cells + n
        chunk.append(i)
    if chunk:
        yield size, chunk


def _image_file(path: Path, file_name: str, folder: ImageFolder, images: Path | None) -> Found:
    """The image file; a name that leads out of the annotation's folder is followed unless the folder of images was given."""
    if images is None:
        for name in (file_name, file_name.strip().replace("\\", "/")):
            if name.startswith(("../", "/")) and is_file(path.parent / name):
                return Found(path.parent / name)
    found = folder.find(file_name)
    if images is None and file_name.startswith(("../", "/")) and not is_file(found.path):
        return replace(found, path=path.parent / file_name)
    return found


def file_problems(place: str, name: str, file_name: str, file: Found) -> list[Problem]:
    """What is to be said of the file that an annotation names: several may be meant, or another one probably was."""
    if not file.certain:
        message = f"{place}: {file_name} could be {' or '.join(file.choices[:5])}: name the image with its subfolder"
        return [Problem("ambiguous image", message, name)]
    if file.choices:
        message = f"{file.path}: is not there; probably meant: {', '.join(file.choices[:3])}: correct the name ({place})"
        return [Problem("missing image", message, name)]
    return []


def _each_once(document: CocoDocument, files: list[Found]) -> tuple[CocoDocument, list[Found], list[tuple[int, str]]]:
    """The document with each image once, the files of its images, and which images stood there again, with what to say of it.

    Raises:
        InputError: when an image stands there in two sizes.
    """
    firsts: dict[tuple[str, int | None], list[int]] = {}
    again: list[tuple[int, str]] = []
    rows: dict[int, list[int]] = {}
    for i, (image, file) in enumerate(zip(document.images, files, strict=True)):
        there = file.certain and is_file(file.path)
        key = str(file.path.resolve()) if there else "/".join(name_parts(image.file_name)).casefold()
        alike = firsts.setdefault((key, image.page), [])
        first = next((n for n in alike if _same_name(document.images[n].file_name, image.file_name)), None)
        if first is None:
            alike.append(i)
            rows[i] = list(document.rows[i])
            continue
        earlier = document.images[first]
        ids = f"with id {shown(image.fields['id'])} beside id {shown(earlier.fields['id'])}"
        message = f"{image.place}: lists {image.file_name} a second time, {ids} ({earlier.place}, {earlier.file_name})"
        if image.size != earlier.size:
            raise InputError(f"{message}, in another size: correct one of them")
        known = {_cell_key(document, row) for row in rows[first]}
        new = [row for row in document.rows[i] if _cell_key(document, row) not in known]
        both = len(document.rows[i]) - len(new)
        again.append((first, f"{message}: it counts once, with the cells of both ({both} of them stand in both)"))
        rows[first] += new
    kept = {i: number for number, i in enumerate(sorted(rows))}
    once = replace(document, images=[document.images[i] for i in kept], rows=[rows[i] for i in kept])
    return once, [files[i] for i in kept], [(kept[i], message) for i, message in again]


def _same_name(one: str, two: str) -> bool:
    """Whether one of two file names ends as the other, so that they can mean one file."""
    parts = [[part.casefold() for part in name_parts(name) if part != ".."] for name in (one, two)]
    n = min(len(part) for part in parts)
    return parts[0][-n:] == parts[1][-n:]


def _cell_key(document: CocoDocument, row: int) -> bytes:
    annotation = document.annotations[row]
    try:
        return orjson.dumps([annotation.get("segmentation"), document.labels[row], is_ignored(annotation)])
    except TypeError:
        return str(row).encode()


def _sample(image: CocoImage, name: str, path: Path, instances: Instances, ignored: Instances) -> Sample:
    fields = image.fields
    livecell = LIVECELL_NAME.fullmatch(image_stem(name_parts(image.file_name)[-1]))
    group = text_of(fields["group"]) if "group" in fields else text_of(fields.get("field_group"))
    return Sample(
        image=path,
        instances=instances,
        name=name,
        group=livecell["field"] if group is None and livecell else group,
        cell_type=text_of(fields.get("cell_type")),
        source="pseudo" if fields.get("source") == "pseudo" else "manual",
        pixel_size=pixel_size_of(image),
        metadata={k: v for k, v in fields.items() if k not in OWN_FIELDS},
        ignored=ignored,
        image_id=str(image.key),
    )
