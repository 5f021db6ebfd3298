"""The competition's `train.csv`: one row a cell, RLE over the rows of the image, pixels numbered from 1."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from somaseg.annotations.coco import file_problems
from somaseg.annotations.image_folder import ImageFolder, name_parts, sample_names, sibling_images
from somaseg.annotations.samples import Problem, ProblemKind, Sample
from somaseg.errors import InputError, shown
from somaseg.images.read import IMAGE_SUFFIXES, image_stem
from somaseg.instances import Instances
from somaseg.limits import MaskBudget, check_pixels
from somaseg.masks.crops import Size
from somaseg.masks.rle import Crops, crops_from_runs
from somaseg.texts.tables import Table, read_table

REQUIRED = ("id", "annotation", "width", "height", "cell_type")
METADATA = ("plate_time", "sample_date", "sample_id", "elapsed_timedelta")
CELL_TYPES = ("shsy5y", "astro", "cort")
SHAPE = bytes.maketrans(b"123456789", b"0" * 9)
TOO_LONG = b"0" * 16  # digits of a number that no RLE has
NOTHING = ("nan", "none", "null")  # what tables write for an empty cell


def read_kaggle(path: Path, images: Path | None = None) -> tuple[list[Sample], list[Problem]]:
    """Samples of a `train.csv`, in the order of their first rows, and what is wrong with single rows.

    Classes are the competition's three, or the sorted cell types of the file where it has others. An image whose only
    row has no annotation has no cells. The id is the name of the image, with or without its suffix and its folders.

    Raises:
        InputError: when a column is missing, or the rows of one image disagree about it.
    """
    rows = _read_rows(path)
    table = rows.table
    types = table["cell_type"]
    found = sorted({name for name in types if name is not None})
    classes = CELL_TYPES if set(found) <= set(CELL_TYPES) else tuple(found)
    label_of = {name: label for label, name in enumerate(classes)}
    columns = [c for c in table.columns if c not in REQUIRED]
    folder = ImageFolder(images or sibling_images(path.parent, ("train", "images")))
    budget = MaskBudget(path)
    samples: list[Sample] = []
    problems: list[Problem] = []
    parts = rows_of(rows.images)
    names = sample_names([f"{image}.x" for image in parts], [None] * len(parts))
    for name, own in zip(names, parts.values(), strict=True):
        first, size = own[0], rows.sizes[own[0]]
        spelled = list(dict.fromkeys(table["id"][i] for i in own))
        if len(spelled) > 1:
            message = f"{path}: id: {' and '.join(map(shown, spelled[:3]))} are one image: it counts once, equal rows of both once"
            problems.append(Problem("image listed twice", message, name))
            own = sorted({(rows.codes[i], types[i]): i for i in reversed(own)}.values())  # the first row of equal ones
        if len(own) == 1 and not rows.codes[first]:
            own = []
        codes = [rows.codes[i] for i in own]
        (boxes, masks), findings = decode_annotations(codes, np.array([rows.numbers[i] for i in own], np.int64), size, budget)
        lines = [table.lines[i] for i in own]
        problems += [
            Problem(kind, f"{path}: line {lines[i]}, annotation: {text}", name, i, True, _raw(kind, name, codes[i], types[own[i]]))
            for i, kind, text in findings
        ]
        labels = np.array([label_of.get(types[i] or "", 0) for i in own], np.int64)  # an empty mask may have no type
        instances = Instances(size, boxes, masks, labels, np.ones(len(own), np.float32), classes)
        metadata = {c: table[c][first] for c in columns}
        group = metadata.get("group", metadata.get("field_group"))
        file = folder.find(str(spelled[0]))
        problems += file_problems(f"{path}: line {table.lines[first]}, id", name, str(spelled[0]), file)
        samples.append(Sample(file.path, instances, name, group, types[first], metadata=metadata))
    return samples, problems


def _raw(kind: ProblemKind, image: str, annotation: str, cell_type: str | None) -> dict[str, Any] | None:
    """A row whose mask cannot be read, as a repaired copy carries it on."""
    return {"id": image, "annotation": annotation, "cell_type": cell_type} if kind == "unreadable mask" else None


@dataclass(frozen=True)
class _Rows:
    """The rows of a `train.csv`.

    Attributes:
        table: as it was read.
        codes: the RLE of each row, "" where there is none.
        numbers: how many numbers each RLE has, 0 where it is malformed.
        images: the path of each row's image, see `image_of`.
        sizes: (height, width) of each row's image.
    """

    table: Table
    codes: list[str]
    numbers: list[int]
    images: list[str]
    sizes: list[Size]


def _read_rows(path: Path) -> _Rows:
    table = read_table(path, (*REQUIRED, *METADATA))
    missing = [c for c in REQUIRED if c not in table]
    if missing:
        found = ", ".join(shown(c) for c in list(table.columns)[:7])
        raise InputError(f"{path}: has no column {missing[0]}: expected the columns {', '.join(REQUIRED)}, found {found}")
    codes, numbers = tidied(table["annotation"])
    widths, heights = ([_whole(text) for text in table[column]] for column in ("width", "height"))
    for column, bad in {
        "id": [text is None for text in table["id"]],
        "cell_type": [text is None and bool(code) for text, code in zip(table["cell_type"], codes, strict=True)],
        "width": [not width for width in widths],
        "height": [not height for height in heights],
    }.items():
        if True in bad:
            raise InputError(f"{path}: line {table.lines[bad.index(True)]}, {column}: is missing or not valid: every row needs it")
    images = images_of(table["id"])
    if "" in images:
        raise InputError(f"{path}: line {table.lines[images.index('')]}, id: names no image")
    rows = _Rows(table, codes, numbers, images, list(zip(heights, widths, strict=True)))
    _check_images(path, rows)
    return rows


def _check_images(path: Path, rows: _Rows) -> None:
    """Raise InputError when rows of one image disagree about it, or an image is too large."""
    table = rows.table
    own = [column for column in table.columns if column not in ("id", "annotation", "cell_type")]
    others = [table[column] for column in own if column not in ("width", "height")]
    facts: dict[str, tuple[object, ...]] = {}
    lines: dict[str, int] = {}
    for number, (image, *fact) in enumerate(zip(rows.images, rows.sizes, *others, strict=True)):
        if facts.setdefault(image, tuple(fact)) != tuple(fact):
            raise InputError(
                f"{path}: line {table.lines[number]}: differs from an earlier row of image {table['id'][number]} in one of "
                f"{', '.join(own)}: make the rows of an image agree"
            )
        lines.setdefault(image, number)
    for number in lines.values():
        check_pixels(f"{path}: line {table.lines[number]}", *rows.sizes[number])


def _whole(text: str | None) -> int:
    """The whole number of text such as "704", "704.0" and "704,0"; 0 for anything else."""
    try:
        number = float((text or "").replace(",", "."))
    except ValueError:
        return 0
    return int(number) if 1 <= number <= 2**31 and number.is_integer() and "_" not in (text or "") else 0


def tidied(cells: Sequence[str | None]) -> tuple[list[str], list[int]]:
    """The RLEs of cells with one space between their numbers, and how many numbers each has, 0 for what is no RLE."""
    codes, numbers = [], []
    for cell in cells:
        code = cell or ""
        count = _count(code)
        if code and not count:
            tidy = re.sub(r"[\s,;\[\]()]+", " ", re.sub(r"(\d)\.0+\b", r"\1", code)).strip()
            if code.lower() in NOTHING:
                code = ""
            elif _count(tidy):
                code, count = tidy, _count(tidy)
        codes.append(code)
        numbers.append(count)
    return codes, numbers


def _count(code: str) -> int:
    """How many numbers an RLE has, which come in pairs with one space between them; 0 for what is none."""
    if not code.isascii():
        return 0
    shape = b" %b " % code.encode().translate(SHAPE)
    broken = shape.translate(None, b"0 ") or b"  " in shape or TOO_LONG in shape
    spaces = shape.count(b" ")
    return spaces - 1 if spaces % 2 and not broken else 0


def rows_of(images: Sequence[str]) -> dict[str, list[int]]:
    """The rows of each image, in the order of their first rows."""
    rows: dict[str, list[int]] = {}
    for number, image in enumerate(images):
        rows.setdefault(image, []).append(number)
    return rows


def images_of(ids: Sequence[str | None]) -> list[str]:
    """What `image_of` makes of each id."""
    known = {name: image_of(name or "") for name in dict.fromkeys(ids)}
    return [known[name] for name in ids]


def image_of(name: str) -> str:
    """The path of an image that an id names, without the suffix and as every system writes it."""
    path = "/".join(part for part in name_parts(name) if part != "..")
    folder, slash, last = path.rpartition("/")
    return f"{folder}{slash}{image_stem(last)}" if last.lower().endswith(IMAGE_SUFFIXES) else path


def decode_annotations(
    annotations: Sequence[str], numbers: NDArray[Any], size: Size, budget: MaskBudget | None = None
) -> tuple[Crops, list[tuple[int, ProblemKind, str]]]:
    """Boxes and crops of the RLEs of one image.

    Args:
        annotations: "start length start length ...", from 1, along the rows.
        numbers: how many numbers each one has, 0 for an empty or malformed one.
        size: (height, width) of the image.
        budget: of the file, where there is one.

    Returns:
        Boxes and crops, and (index, kind, message) of what is wrong; a mask that cannot be read is empty, one that reaches
        beyond the image is cut off.
    """
    total = size[0] * size[1]
    findings: list[tuple[int, ProblemKind, str]] = [
        (i, "unreadable mask", f"found {text[:40]!r}, expected pairs of start and length")
        for i, (text, n) in enumerate(zip(annotations, numbers.tolist(), strict=True))
        if text and (n == 0 or n % 2)
    ]
    readable = np.where(numbers % 2, 0, numbers)
    text = " ".join(a for a, n in zip(annotations, readable.tolist(), strict=True) if n)
    pairs = np.fromstring(text, np.int64, sep=" ").reshape(-1, 2)
    starts, lengths = pairs[:, 0] - 1, pairs[:, 1]
    owner = np.repeat(np.arange(len(annotations)), readable // 2)
    ends = starts + lengths
    unreadable = (starts < 0) | (lengths < 1)
    unreadable[1:] |= (owner[1:] == owner[:-1]) & (starts[1:] < ends[:-1])
    rules: list[tuple[ProblemKind, NDArray[np.bool_], str]] = [
        ("unreadable mask", unreadable, "starts from 1 that rise past the run before, and lengths from 1"),
        ("outside image", ends > total, f"runs inside the {total} pixels of the image"),
    ]
    for kind, bad, expected in rules:
        runs = np.flatnonzero(bad)
        masks, which = np.unique(owner[runs], return_index=True)
        findings += [
            (int(i), kind, f"found the run {pairs[run, 0]} {pairs[run, 1]}, expected {expected}")
            for i, run in zip(masks, runs[which], strict=True)
        ]
    keep = ~np.isin(owner, owner[unreadable]) & (starts < total)
    starts, owner = starts[keep], owner[keep]
    lengths = np.minimum(lengths[keep], total - starts)
    return crops_from_runs(starts, lengths, owner, len(annotations), size, "C", None if budget is None else budget.spend), findings
