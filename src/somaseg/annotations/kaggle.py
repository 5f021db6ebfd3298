"""The competition's `train.csv`: one row a cell, RLE over the rows of the image, pixels numbered from 1."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
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
from somaseg.texts.tables import read_table

REQUIRED = ("id", "annotation", "width", "height", "cell_type")
METADATA = ("plate_time", "sample_date", "sample_id", "elapsed_timedelta")
CELL_TYPES = ("shsy5y", "astro", "cort")
RLE = r"^\d{1,15} \d{1,15}( \d{1,15} \d{1,15})*$"
NOTHING = ("nan", "none", "null")  # what tables write for an empty cell


def read_kaggle(path: Path, images: Path | None = None) -> tuple[list[Sample], list[Problem]]:
    """Samples of a `train.csv`, in the order of their first rows, and what is wrong with single rows.

    Classes are the competition's three, or the sorted cell types of the file where it has others. An image whose only
    row has no annotation has no cells. The id is the name of the image, with or without its suffix and its folders.

    Raises:
        InputError: when a column is missing, or the rows of one image disagree about it.
    """
    table = _read_table(path)
    found = sorted(set(table["cell_type"].drop_nulls()))
    classes = CELL_TYPES if set(found) <= set(CELL_TYPES) else tuple(found)
    label_of = {name: label for label, name in enumerate(classes)}
    columns = [c for c in table.columns if c not in (*REQUIRED, "line", "numbers", "image")]
    folder = ImageFolder(images or sibling_images(path.parent, ("train", "images")))
    budget = MaskBudget(path)
    samples: list[Sample] = []
    problems: list[Problem] = []
    parts = table.partition_by("image", maintain_order=True)
    names = sample_names([f"{rows['image'][0]}.x" for rows in parts], [None] * len(parts))
    for name, rows in zip(names, parts, strict=True):
        first = rows.row(0, named=True)
        spelled = rows["id"].unique(maintain_order=True).to_list()
        if len(spelled) > 1:
            message = f"{path}: id: {' and '.join(map(shown, spelled[:3]))} are one image: it counts once, equal rows of both once"
            problems.append(Problem("image listed twice", message, name))
            rows = rows.unique(["annotation", "cell_type"], keep="first", maintain_order=True)
        if len(rows) == 1 and not first["annotation"]:
            rows = rows.clear()
        size = (first["height"], first["width"])
        (boxes, masks), findings = decode_annotations(rows["annotation"].to_list(), rows["numbers"].to_numpy(), size, budget)
        lines, texts = rows["line"].to_list(), rows["annotation"].to_list()
        problems += [
            Problem(kind, f"{path}: line {lines[i]}, annotation: {text}", name, i, True, _raw(kind, name, texts[i], rows["cell_type"][i]))
            for i, kind, text in findings
        ]
        labels = np.array([label_of.get(c, 0) for c in rows["cell_type"]], np.int64)  # an empty mask may have no type
        instances = Instances(size, boxes, masks, labels, np.ones(len(rows), np.float32), classes)
        metadata = {c: first[c] for c in columns}
        group = metadata.get("group", metadata.get("field_group"))
        file = folder.find(first["id"])
        problems += file_problems(f"{path}: line {first['line']}, id", name, first["id"], file)
        samples.append(Sample(file.path, instances, name, group, first["cell_type"], metadata=metadata))
    return samples, problems


def _raw(kind: ProblemKind, image: str, annotation: str, cell_type: str | None) -> dict[str, Any] | None:
    """A row whose mask cannot be read, as a repaired copy carries it on."""
    return {"id": image, "annotation": annotation, "cell_type": cell_type} if kind == "unreadable mask" else None


def _read_table(path: Path) -> pl.DataFrame:
    """The rows with `line`, their line in the file, `image`, the id without its suffix, and `numbers`, how many numbers the RLE has.

    `numbers` is 0 where the RLE is malformed.
    """
    table = read_table(path, (*REQUIRED, *METADATA))
    missing = [c for c in REQUIRED if c not in table.columns]
    if missing:
        found = ", ".join(shown(c) for c in table.columns[1:8])
        raise InputError(f"{path}: has no column {missing[0]}: expected the columns {', '.join(REQUIRED)}, found {found}")
    table = with_numbers(table, "annotation").with_columns(_whole(pl.col("width", "height")))
    for column, bad in {
        "id": pl.col("id").is_null(),
        "cell_type": pl.col("cell_type").is_null() & (pl.col("annotation") != ""),
        "width": pl.col("width") < 1,
        "height": pl.col("height") < 1,
    }.items():
        wrong = table.filter(bad)
        if len(wrong):
            raise InputError(f"{path}: line {wrong['line'][0]}, {column}: is missing or not valid: every row needs it")
    table = with_image(table)
    if "" in table["image"]:
        raise InputError(f"{path}: line {table.filter(pl.col('image') == '')['line'][0]}, id: names no image")
    by_image = ["image", *(c for c in table.columns if c not in ("id", "annotation", "cell_type", "line", "numbers", "image"))]
    images = table.unique(by_image, keep="first", maintain_order=True)
    second = images.filter(~pl.col("image").is_first_distinct())
    if len(second):
        raise InputError(
            f"{path}: line {second['line'][0]}: differs from an earlier row of image {second['id'][0]} in one of "
            f"{', '.join(by_image[1:])}: make the rows of an image agree"
        )
    for line, width, height in images.select("line", "width", "height").iter_rows():
        check_pixels(f"{path}: line {line}", height, width)
    return table


def _whole(columns: pl.Expr) -> pl.Expr:
    """Whole numbers of text such as "704", "704.0" and "704,0"; 0 for anything else."""
    number = columns.str.replace(",", ".", literal=True).cast(pl.Float64, strict=False)
    valid = number.is_finite() & (number == number.floor()) & number.is_between(1, 2**31)
    return pl.when(valid).then(number).otherwise(0).cast(pl.Int64).name.keep()


def with_numbers(table: pl.DataFrame, column: str) -> pl.DataFrame:
    """The table with one space between the numbers of the RLEs in `column`, and `numbers`, how many there are, 0 for what is no RLE."""
    code = pl.col(column)
    table = table.with_columns(code.fill_null(""))
    strict = table.select((code.str.contains(RLE)).alias("strict"))["strict"]
    if not (strict | (table[column] == "")).all():
        tidy = code.str.replace_all(r"(\d)\.0+\b", "${1}").str.replace_all(r"[\s,;\[\]()]+", " ").str.strip_chars()
        tidy = pl.when(code.str.to_lowercase().is_in(NOTHING)).then(pl.lit("")).when(tidy.str.contains(RLE)).then(tidy).otherwise(code)
        table = table.with_columns(pl.when(strict).then(code).otherwise(tidy).alias(column))
        strict = table.select((code.str.contains(RLE)).alias("strict"))["strict"]
    numbers = pl.when(strict).then(code.str.count_matches(" ", literal=True) + 1).otherwise(0)
    return table.with_columns(numbers.alias("numbers"))


def with_image(table: pl.DataFrame) -> pl.DataFrame:
    """The table with `image`, what `image_of` makes of each `id`."""
    ids = table["id"].unique(maintain_order=True)
    images = pl.DataFrame({"id": ids, "image": [image_of(name) for name in ids]}, schema={"id": pl.String, "image": pl.String})
    return table.join(images, on="id", how="left", maintain_order="left")


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
