"""The competition's `train.csv`: one row a cell, RLE over the rows of the image, pixels numbered from 1."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from somaseg.annotations.image_folder import ImageFolder, sibling_images
from somaseg.annotations.samples import Problem, ProblemKind, Sample
from somaseg.errors import InputError
from somaseg.instances import Instances
from somaseg.masks.crops import Size
from somaseg.masks.rle import Crops, crops_from_runs

REQUIRED = ("id", "annotation", "width", "height", "cell_type")
METADATA = ("plate_time", "sample_date", "sample_id", "elapsed_timedelta")
CELL_TYPES = ("shsy5y", "astro", "cort")
RLE = r"^\d{1,15} \d{1,15}( \d{1,15} \d{1,15})*$"


def read_kaggle(path: Path, images: Path | None = None) -> tuple[list[Sample], list[Problem]]:
    """Samples of a `train.csv`, in the order of their first rows, and what is wrong with single rows.

    Classes are the competition's three, or the sorted cell types of the file where it has others. An image whose only
    row has no annotation has no cells.

    Raises:
        InputError: when a column is missing, or the rows of one image disagree about it.
    """
    table = _read_table(path)
    found = sorted(set(table["cell_type"].drop_nulls()))
    classes = CELL_TYPES if set(found) <= set(CELL_TYPES) else tuple(found)
    label_of = {name: label for label, name in enumerate(classes)}
    columns = [c for c in table.columns if c not in (*REQUIRED, "line", "numbers")]
    folder = ImageFolder(images or sibling_images(path.parent, ("train", "images")))
    samples: list[Sample] = []
    problems: list[Problem] = []
    for rows in table.partition_by("id", maintain_order=True):
        first = rows.row(0, named=True)
        name = first["id"]
        if len(rows) == 1 and not first["annotation"]:
            rows = rows.clear()
        size = (first["height"], first["width"])
        (boxes, masks), findings = decode_annotations(rows["annotation"].to_list(), rows["numbers"].to_numpy(), size)
        lines = rows["line"].to_list()
        problems += [Problem(kind, f"{path}: line {lines[i]}, annotation: {text}", name, i, True) for i, kind, text in findings]
        labels = np.array([label_of.get(c, 0) for c in rows["cell_type"]], np.int64)  # an empty mask may have no type
        instances = Instances(size, boxes, masks, labels, np.ones(len(rows), np.float32), classes)
        metadata = {c: first[c] for c in columns}
        group = metadata.get("group", metadata.get("field_group"))
        samples.append(Sample(folder.find(name), instances, name, group, first["cell_type"], metadata=metadata))
    return samples, problems


def _read_table(path: Path) -> pl.DataFrame:
    """The rows with `line`, their line in the file, and `numbers`, how many numbers the RLE has (0 where it is malformed)."""
    try:
        table = pl.read_csv(path, infer_schema=False)
    except (pl.exceptions.PolarsError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: is not a CSV table ({error}): the file may be damaged") from error
    missing = [c for c in REQUIRED if c not in table.columns]
    if missing:
        raise InputError(f"{path}: has no column {missing[0]}: expected the columns {', '.join(REQUIRED)}")
    table = table.with_row_index("line", offset=2).with_columns(
        pl.col("annotation").fill_null(""),
        pl.col("width", "height").cast(pl.Int64, strict=False).fill_null(0),
    )
    table = table.with_columns(
        pl.when(pl.col("annotation").str.contains(RLE))
        .then(pl.col("annotation").str.count_matches(" ", literal=True) + 1)
        .otherwise(0)
        .alias("numbers")
    )
    for column, bad in {
        "id": pl.col("id").is_null(),
        "cell_type": pl.col("cell_type").is_null() & (pl.col("annotation") != ""),
        "width": pl.col("width") < 1,
        "height": pl.col("height") < 1,
    }.items():
        wrong = table.filter(bad)
        if len(wrong):
            raise InputError(f"{path}: line {wrong['line'][0]}, {column}: is missing or not valid: every row needs it")
    by_image = [c for c in table.columns if c not in ("annotation", "cell_type", "line", "numbers")]
    images = table.unique(by_image, keep="first", maintain_order=True)
    second = images.filter(~pl.col("id").is_first_distinct())
    if len(second):
        raise InputError(
            f"{path}: line {second['line'][0]}: differs from an earlier row of image {second['id'][0]} in one of "
            f"{', '.join(by_image[1:])}: make the rows of an image agree"
        )
    return table


def decode_annotations(annotations: Sequence[str], numbers: NDArray[Any], size: Size) -> tuple[Crops, list[tuple[int, ProblemKind, str]]]:
    """Boxes and crops of the RLEs of one image.

    Args:
        annotations: "start length start length ...", from 1, along the rows.
        numbers: how many numbers each one has, 0 for an empty or malformed one.
        size: (height, width) of the image.

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
    return crops_from_runs(starts, lengths, owner, len(annotations), size, "C"), findings
