"""Which images belong together: groups from the annotation, from a table, or found in the images."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from somaseg.annotations.samples import Sample
from somaseg.data.fields import find_groups
from somaseg.errors import InputError
from somaseg.images.read import IMAGE_SUFFIXES, image_stem
from somaseg.texts.tables import read_table


def grouped(samples: Sequence[Sample], column: str | None = None, csv: Path | None = None, find: bool = False) -> list[Sample]:
    """The samples with the groups to split by.

    Args:
        samples: with the groups of their annotation.
        column: group by this column of `train.csv` or field of COCO's images instead, or by this column of `csv`.
        csv: table with the images' names in its first column.
        find: also join the groups of images that show the same field.

    Raises:
        InputError: when an image has no group in the table, or one without the other of `csv` and `column` is given.
    """
    if csv is not None and column is None:
        raise InputError(f"{csv}: say which of its columns holds the group (--group-column)")
    if column is not None:
        groups = groups_from_metadata(samples, column) if csv is None else groups_from_csv(csv, column)
        missing = next((sample.name for sample in samples if sample.name not in groups), None)
        if missing is not None:
            raise InputError(f"{csv}: has no row for image {missing}: give every image a group")
        samples = [replace(sample, group=groups[sample.name]) for sample in samples]
    return joined(samples, find_groups(samples)) if find else list(samples)


def with_groups(samples: Sequence[Sample]) -> list[Sample]:
    """The samples with the groups of their annotation or, where it gives none at all, with the fields found in the images."""
    return grouped(samples, find=all(sample.group is None for sample in samples))


def groups_from_metadata(samples: Sequence[Sample], column: str) -> dict[str, str]:
    """Group of each image by a column of `train.csv`, or a field of the images of a COCO file.

    Raises:
        InputError: when an image has no value there.
    """
    for sample in samples:
        if sample.metadata.get(column) is None:
            found = ", ".join(key for key, value in sample.metadata.items() if value is not None) or "none"
            raise InputError(f"--group-column {column}: image {sample.name} has no value in this column; columns with a value: {found}")
    return {sample.name: str(sample.metadata[column]) for sample in samples}


def groups_from_csv(path: Path, column: str) -> dict[str, str]:
    """Group of each image by a CSV whose first column holds the images' names, with or without a suffix.

    Raises:
        InputError: when the file is no table, the column is missing, or an image has two groups.
    """
    table = read_table(path)
    columns = list(table.columns)
    if column not in columns[1:]:
        raise InputError(f"{path}: has no column {column} (--group-column): it has {', '.join(columns)}, the first being the image")
    groups: dict[str, str] = {}
    for line, image, group in zip(table.lines, table[columns[0]], table[column], strict=True):
        if image is None or group is None:
            raise InputError(f"{path}: line {line}, {column}: is empty: give every image a group")
        name = image_stem(image) if image.lower().endswith(IMAGE_SUFFIXES) else image
        if groups.setdefault(name, group) != group:
            raise InputError(f"{path}: line {line}, {column}: found {group}, but image {name} has {groups[name]} on an earlier line")
    return groups


def joined(samples: Sequence[Sample], found: Mapping[str, str]) -> list[Sample]:
    """The samples with one group for all images that share a group of the annotation or a found one, directly or through others."""
    group_of = {sample.name: found[sample.name] for sample in samples}
    by_given: dict[str, list[str]] = {}
    for sample in samples:
        if sample.group is not None:
            by_given.setdefault(sample.group, []).append(sample.name)
    for names in by_given.values():
        together = {group_of[name] for name in names}
        first = min(together)
        group_of = {name: first if group in together else group for name, group in group_of.items()}
    return [replace(sample, group=group_of[sample.name]) for sample in samples]
