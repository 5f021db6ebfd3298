"""The competition's `submission.csv`: one row a predicted cell, with neither size, class nor score."""

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import polars as pl

from somaseg.annotations.kaggle import RLE, decode_annotations
from somaseg.errors import InputError
from somaseg.instances import Instances
from somaseg.masks.crops import Size

COLUMNS = ["id", "predicted"]


def is_submission(path: Path) -> bool:
    """Whether a file is a CSV whose columns are those of a submission."""
    if path.suffix.lower() != ".csv" or not path.is_file():
        return False
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        return file.readline().replace('"', "").strip().split(",") == COLUMNS


def read_submission(path: Path, sizes: Mapping[str, Size]) -> tuple[dict[str, Instances], tuple[str, ...]]:
    """Predicted cells by the name of the image.

    Args:
        path: the submission; an RLE runs over the rows of its image, pixels numbered from 1; an image without cells has a
            row with an empty `predicted`.
        sizes: (height, width) of the images, which a submission does not tell.

    Returns:
        The cells of each image in `sizes` that the submission has, all of class "cell" with score 1; and the names of its
        other images.

    Raises:
        InputError: naming the line of an RLE that is none or that reaches beyond its image.
    """
    try:
        table = pl.read_csv(path, infer_schema=False).with_row_index("line", offset=2).with_columns(pl.col("predicted").fill_null(""))
    except pl.exceptions.PolarsError as error:
        raise InputError(f"{path}: is not a CSV table ({error}): the file may be damaged") from error
    predictions: dict[str, Instances] = {}
    others = []
    for (name,), rows in table.group_by("id", maintain_order=True):
        if name not in sizes:
            others.append(str(name))
            continue
        rows = rows.filter(pl.col("predicted") != "")
        texts = rows["predicted"].to_list()
        numbers = np.array([len(text.split()) if re.fullmatch(RLE, text) else 0 for text in texts], np.int64)
        (boxes, masks), findings = decode_annotations(texts, numbers, sizes[name])
        if findings:
            i, _, message = findings[0]
            raise InputError(f"{path}: line {rows['line'][i]}, predicted: {message}")
        predictions[name] = Instances.build(sizes[name], list(zip(boxes, masks, strict=True)), ("cell",))
    return predictions, tuple(others)
