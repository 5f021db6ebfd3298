"""Predicted cells that name their images and nothing more: the competition's `submission.csv`, and COCO's lists of results."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from somaseg.annotations.coco import decode_segmentations
from somaseg.annotations.coco_document import id_key, is_ignored
from somaseg.annotations.image_folder import pair_names
from somaseg.annotations.kaggle import decode_annotations, image_of, images_of, rows_of, tidied
from somaseg.annotations.samples import Sample
from somaseg.errors import InputError, shown
from somaseg.instances import Instances
from somaseg.limits import MaskBudget
from somaseg.masks.crops import Size
from somaseg.texts.encoding import decode
from somaseg.texts.json_text import read_json_values
from somaseg.texts.tables import read_table, separator_of

COLUMNS = ("id", "predicted")
HEAD = 4096  # bytes that hold the header of a submission
Results = tuple[dict[str, Instances], tuple[str, ...]]


def is_submission(path: Path) -> bool:
    """Whether a file is a CSV whose columns are those of a submission."""
    if path.suffix.lower() not in (".csv", ".tsv") or not path.is_file():
        return False
    with path.open("rb") as file:
        head = file.read(HEAD)
    try:
        header = decode(head[: len(head) // 4 * 4]).lstrip().partition("\n")[0]
    except UnicodeDecodeError:
        return False
    names = tuple(name.strip().strip('"').strip().casefold() for name in header.split(separator_of(header)))
    return names == COLUMNS


def is_result_list(path: Path) -> bool:
    """Whether a file is a list of results, as Detectron2 and COCO's server have them, rather than a COCO file."""
    if path.suffix.lower() not in (".json", ".jsonl", ".ndjson") or not path.is_file():
        return False
    with path.open("rb") as file:
        head = file.read(HEAD)
    start = head.replace(b"\0", b"").removeprefix(b"\xef\xbb\xbf").removeprefix(b"\xff\xfe").removeprefix(b"\xfe\xff").lstrip()
    if start[:1] == b"[":
        return True
    values = read_json_values(path) if start[:1] == b"{" and path.suffix.lower() != ".json" else []
    return bool(values) and all(isinstance(value, dict) and "image_id" in value for value in values)


def read_submission(path: Path, sizes: Mapping[str, Size]) -> Results:
    """Predicted cells of a `submission.csv` by the name of the image, all of class "cell" with score 1.

    Args:
        path: the submission; an RLE runs over the rows of its image, pixels numbered from 1; an image without cells has a
            row with an empty `predicted`.
        sizes: (height, width) of the images, which a submission does not tell.

    Returns:
        The cells of each image in `sizes` that the submission has, and the names of its other images.

    Raises:
        InputError: naming the line of an RLE that is none or that reaches beyond its image.
    """
    table = read_table(path, COLUMNS)
    if "id" not in table or None in table["id"]:
        raise InputError(f"{path}: id: is missing in a row: every row needs the name of its image")
    budget = MaskBudget(path)
    predictions: dict[str, Instances] = {}
    others = []
    codes, numbers = tidied(table["predicted"])
    rows_by_image = rows_of(images_of(table["id"]))
    known = pair_names(list(rows_by_image), sizes)
    for name, rows in rows_by_image.items():
        if name not in known:
            others.append(name)
            continue
        rows = [i for i in rows if codes[i]]
        size = sizes[known[name]]
        (boxes, masks), findings = decode_annotations(
            [codes[i] for i in rows], np.array([numbers[i] for i in rows], np.int64), size, budget
        )
        if findings:
            i, _, message = findings[0]
            raise InputError(f"{path}: line {table.lines[rows[i]]}, predicted: {message}")
        predictions[known[name]] = Instances.build(size, list(zip(boxes, masks, strict=True)), ("cell",))
    return predictions, tuple(others)


def read_result_list(path: Path, samples: Sequence[Sample]) -> Results:
    """Predicted cells of a COCO list of results by the name of the sample, all of class "cell".

    Args:
        path: the list; `image_id` is the id of an image in the COCO file of the samples, else the name of its file.
        samples: the images that the results are of.

    Returns:
        The cells of each sample that there are results of, and the ids of other images.

    Raises:
        InputError: naming the entry whose mask or score is none.
    """
    values = read_json_values(path)
    rows = values[0] if len(values) == 1 and isinstance(values[0], list) else values
    of_name = {sample.name: sample for sample in samples}
    by_id = {sample.image_id: sample.name for sample in samples if sample.image_id is not None}
    numbers_of: dict[str, list[int]] = {}
    for number, row in enumerate(rows):
        key = id_key(row.get("image_id")) if isinstance(row, dict) else None
        if key is None:
            found = shown(row["image_id"] if isinstance(row, dict) and "image_id" in row else row)
            raise InputError(f"{path}: annotations[{number}], image_id: found {found}, expected the id of an image")
        numbers_of.setdefault(str(key), []).append(number)
    names = {key: image_of(key) or key for key in numbers_of if key not in by_id}
    known = pair_names(list(names.values()), of_name)
    sample_of = {key: by_id.get(key) or known.get(names[key]) for key in numbers_of}
    others = tuple(key for key, name in sample_of.items() if name is None)
    joined: dict[str, list[int]] = {}
    for key, name in sample_of.items():
        if name is not None:
            joined.setdefault(name, []).extend(numbers_of[key])
    budget = MaskBudget(path)
    return {name: _result_cells(path, rows, sorted(numbers), of_name[name], budget) for name, numbers in joined.items()}, others


def _result_cells(path: Path, rows: Sequence[dict[str, Any]], numbers: Sequence[int], sample: Sample, budget: MaskBudget) -> Instances:
    numbers = [number for number in numbers if not is_ignored(rows[number])]
    size = sample.instances.size
    (boxes, masks), findings = decode_segmentations([rows[number].get("segmentation") for number in numbers], size, budget)
    for i, kind, text, fatal in findings:
        if fatal:
            boxed = " (boxes alone are not scored)" if rows[numbers[i]].get("segmentation") is None else ""
            raise InputError(f"{path}: annotations[{numbers[i]}], {text}{boxed}: {kind}")
    scores = []
    for number in numbers:
        value = rows[number].get("score", 1.0)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not -1e-5 <= value <= 1 + 1e-5:
            raise InputError(f"{path}: annotations[{number}], score: found {shown(value)}, expected 0 to 1")
        scores.append(min(max(float(value), 0.0), 1.0))
    return Instances.build(size, list(zip(boxes, masks, strict=True)), ("cell",), scores=np.array(scores, np.float32))
