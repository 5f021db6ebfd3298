"""`Sample`: one annotated image; `Problem`: what a reader found wrong with it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from somaseg.classes import plain
from somaseg.errors import InputError
from somaseg.instances import Instances

UNKNOWN_TYPE = "unknown"
"""The cell type of an image that has neither a cell type nor cells, in tables, scores and settings."""

ProblemKind = Literal[
    "unreadable mask",
    "unknown class",
    "unknown image",
    "no annotation",
    "bad piece",
    "bad score",
    "image listed twice",
    "ambiguous image",
    "binary mask",
    "only crowds",
    "outside image",
    "box outside image",
    "empty mask",
    "duplicate mask",
    "hole",
    "region",
    "straight cut",
    "missing image",
    "unreadable image",
    "size differs",
]


@dataclass(frozen=True, eq=False)
class Sample:
    """One image with its annotated cells; the image file need not be there.

    Attributes:
        image: the image file.
        instances: its cells in the order of the annotation, empty masks included.
        name: what the image is called in folds and tables; unique among the samples of one annotation.
        group: split key (the field of view); images of one group never go into two folds. None where unknown.
        cell_type: the culture's cell type; where not given, the most frequent class of the cells, None without cells.
        source: "manual" for people's outlines, "pseudo" for a model's.
        pixel_size: edge of a pixel in µm, or None.
        metadata: further fields of the image as the annotation has them; writers put them back.
        ignored: what may be a cell or not, single regions or crowds, of the same size and classes; neither cell nor background.
        image_id: id of the image in its COCO file, as text; None elsewhere. Lists of results name images by it.
    """

    image: Path
    instances: Instances
    name: str
    group: str | None = None
    cell_type: str | None = None
    source: Literal["manual", "pseudo"] = "manual"
    pixel_size: float | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    ignored: Instances = None  # type: ignore[assignment]  # only until __post_init__, which knows the size
    image_id: str | None = None

    def __post_init__(self) -> None:
        if self.cell_type is None and len(self.instances):
            mode = int(np.bincount(self.instances.labels).argmax())
            object.__setattr__(self, "cell_type", self.instances.classes[mode])
        if self.ignored is None:
            object.__setattr__(self, "ignored", Instances.empty(self.instances.size, self.instances.classes))

    @property
    def type_name(self) -> str:
        """The cell type, or `UNKNOWN_TYPE`."""
        return self.cell_type or UNKNOWN_TYPE


@dataclass(frozen=True)
class Problem:
    """Something wrong with one annotated cell or image.

    Attributes:
        kind: what is wrong.
        message: file, place and field, what was found, what was expected.
        image: name of the sample, None where the annotation belongs to no known image.
        index: number of the cell in the sample's instances, None where the image as a whole is meant.
        fatal: whether the annotation has no meaning as it stands, so that `read_annotations` refuses it. Such a cell stays in
            the samples of `inspect_annotations` as an empty mask, or cut off where it reaches beyond the image.
        raw: the annotation as the file has it where no sample can hold it, so that a repaired copy carries it on.
    """

    kind: ProblemKind
    message: str
    image: str | None = None
    index: int | None = None
    fatal: bool = False
    raw: Any = None


def classes_present(sample: Sample) -> list[str]:
    """The classes that the sample has cells or ignored regions of; those of the cells first."""
    return [part.classes[label] for part in (sample.instances, sample.ignored) for label in np.unique(part.labels)]


def with_classes(sample: Sample, classes: Sequence[str]) -> Sample:
    """The sample with its labels numbered after `classes`, matched by name (see `class_names.plain`), and its cell type named so.

    Raises:
        InputError: when the sample has a cell of a class that is not among them.
    """
    known = {plain(name): number for number, name in enumerate(classes)}
    unknown = {name for name in classes_present(sample) if plain(name) not in known}
    if unknown:
        raise InputError(
            f"{sample.image}: has cells of class {', '.join(sorted(unknown))}, model.classes are {', '.join(classes)}: "
            "name all classes of the annotations in model.classes"
        )
    parts = sample.instances, sample.ignored
    numbers = ([known.get(plain(name), 0) for name in part.classes] for part in parts)
    labels = (np.array(number, np.int64)[part.labels] for number, part in zip(numbers, parts, strict=True))
    cells, ignored = (replace(part, classes=tuple(classes), labels=label) for part, label in zip(parts, labels, strict=True))
    cell_type = sample.cell_type
    if cell_type is not None and plain(cell_type) in known:
        cell_type = classes[known[plain(cell_type)]]
    return replace(sample, instances=cells, cell_type=cell_type, ignored=ignored)
