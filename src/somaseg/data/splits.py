"""Folds grouped by field of view and stratified by cell type."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Sequence

from somaseg.data.samples import Sample
from somaseg.errors import InputError


def make_folds(samples: Sequence[Sample], folds: int, seed: int = 0) -> dict[str, int]:
    """Give every image a fold, so that no group is in two folds and each fold has its share of each cell type.

    Groups go, the largest first, to the fold that has the fewest images of their cell types, then the fewest images.
    A sample without a group is a group of its own. The result does not depend on the order of the samples.

    Returns:
        Fold, 0 to folds - 1, by the sample's name.

    Raises:
        InputError: when there are fewer groups than folds.
    """
    groups: dict[str, list[Sample]] = defaultdict(list)
    for sample in samples:
        groups[f"group {sample.group}" if sample.group is not None else f"image {sample.name}"].append(sample)
    if len(groups) < folds:
        raise InputError(f"{folds} folds asked for, but there are {len(groups)} groups of images: give fewer folds or more fields of view")

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
