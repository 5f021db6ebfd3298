"""Folds grouped by field of view and stratified by cell type."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import orjson
from rich.markup import escape
from rich.table import Table

from somaseg.annotations.samples import Sample
from somaseg.errors import InputError
from somaseg.files import write_whole
from somaseg.texts.json_text import read_json


def make_folds(
    samples: Sequence[Sample], folds: int, seed: int = 0, setting: str = "--folds", source: str = "the annotations"
) -> dict[str, int]:
    """Give every image a fold, so that no group is in two folds and each fold has its share of each cell type.

    Groups go, the largest first, to the fold that has the fewest images of their cell types, then the fewest images.
    A sample without a group is a group of its own. The result does not depend on the order of the samples.

    Args:
        samples: the images.
        folds: how many.
        seed: another seed gives another split.
        setting: what asked for so many folds, for messages.
        source: where the images come from, for messages.

    Returns:
        Fold, 0 to folds - 1, by the sample's name.

    Raises:
        InputError: when there are fewer groups than folds, or fewer than two folds.
    """
    if folds < 2:
        raise InputError(f"{setting}: is {folds}: give 2 or more, since one fold is held out")
    groups: dict[str, list[Sample]] = defaultdict(list)
    for sample in samples:
        groups[_group(sample)].append(sample)
    if len(groups) < folds:
        advice = f"give {len(groups)} or fewer, or images of more fields of view" if len(groups) > 1 else "give images of 2 or more"
        raise InputError(
            f"{setting}: is {folds}, but the images of {source} are of {len(groups)} field{'s' * (len(groups) != 1)} of view: {advice}"
        )

    def order(name: str) -> tuple[int, str]:
        return -len(groups[name]), hashlib.sha256(f"{seed} {name}".encode()).hexdigest()

    images, by_type = [0] * folds, [Counter[str | None]() for _ in range(folds)]
    chosen: dict[str, int] = {}
    for name in sorted(groups, key=order):
        types = Counter(s.cell_type for s in groups[name])
        fold = min(range(folds), key=lambda k: (sum(by_type[k][t] * n for t, n in types.items()), images[k], k))
        images[fold] += len(groups[name])
        by_type[fold].update(types)
        chosen.update({s.name: fold for s in groups[name]})
    return chosen


def _group(sample: Sample) -> str:
    return f"group {sample.group}" if sample.group is not None else f"image {sample.name}"


def check_folds(samples: Sequence[Sample], folds: Mapping[str, int], setting: str = "--check") -> None:
    """Refuse folds that miss an image or that leak; `setting` is what gave them, for messages.

    Raises:
        InputError: naming the image without a fold, or the group that is in two folds.
    """
    first_of: dict[str, Sample] = {}
    for sample in samples:
        if sample.name not in folds:
            raise InputError(f"{setting}: the folds do not name the image {sample.name}: make them from the same annotations")
        first = first_of.setdefault(_group(sample), sample)
        if folds[first.name] != folds[sample.name]:
            raise InputError(
                f"{setting}: the folds leak: {first.name} (fold {folds[first.name]}) and {sample.name} (fold {folds[sample.name]}) are "
                f"both of {_group(sample)}, so that a model would be tested on a field it was trained on: make new folds"
            )


def write_folds(folds: Mapping[str, int], path: Path) -> None:
    """JSON `{"folds": {"image name": fold, ...}}`, sorted by name."""
    write_whole(path, orjson.dumps({"folds": dict(sorted(folds.items()))}, option=orjson.OPT_INDENT_2))


def read_folds(path: Path) -> dict[str, int]:
    """Folds as `write_folds` writes them.

    Raises:
        InputError: when the file is missing or holds something else.
    """
    data = read_json(path)
    folds = data.get("folds") if isinstance(data, dict) else None
    if not isinstance(folds, dict):
        raise InputError(f'{path}: folds: is missing, expected {{"folds": {{"image name": 0, ...}}}}')
    for name, fold in folds.items():
        if not isinstance(fold, int) or isinstance(fold, bool) or fold < 0:
            raise InputError(f"{path}: folds, {name[:80]}: found {fold!r:.80}, expected a fold number from 0")
    return folds


def fold_table(samples: Sequence[Sample], folds: Mapping[str, int]) -> Table:
    """Images, groups, cells, and images by cell type in each fold."""
    types = sorted({sample.type_name for sample in samples})
    table = Table("fold", title="Folds", title_justify="left")
    for column in ("images", "groups", "cells", *map(escape, types)):
        table.add_column(column, justify="right")
    for fold in sorted({folds[sample.name] for sample in samples}):
        inside = [sample for sample in samples if folds[sample.name] == fold]
        by_type = Counter(sample.type_name for sample in inside)
        numbers = [len(inside), len({_group(s) for s in inside}), sum(len(s.instances) for s in inside), *(by_type[t] for t in types)]
        table.add_row(str(fold), *map(str, numbers))
    return table
