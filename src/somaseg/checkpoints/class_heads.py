"""The layers that know the classes, cut and filled for other classes."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from somaseg.classes import plain
from somaseg.errors import InputError

# Rows of these layers stand for classes; the scores have one more, the background, as their last. The deviation is that of new layers.
SCORES = re.compile(r"(^|\.)cls_score\.(weight|bias)$")
MASKS = re.compile(r"(^|\.)mask_head\.predictor\.(weight|bias)$")
SCORE_DEVIATION, MASK_DEVIATION = 0.01, 0.001


@dataclass(frozen=True)
class AdaptedWeights:
    """Weights for other classes.

    Attributes:
        state: all tensors, those of the class layers replaced.
        kept: by new class, the old class whose rows it has.
        fresh: new classes whose rows are drawn anew.
        dropped: old classes whose rows are gone.
    """

    state: dict[str, Tensor]
    kept: dict[str, str]
    fresh: tuple[str, ...]
    dropped: tuple[str, ...]

    def text(self) -> str:
        """What became of the classes, in a line."""
        kept = [new if new == old else f"{new} (was {old})" for new, old in self.kept.items()]
        parts = [("kept", kept), ("drawn anew", self.fresh), ("dropped", self.dropped)]
        return "; ".join(f"{what}: {', '.join(names)}" for what, names in parts if names)


def class_count(state: Mapping[str, Tensor]) -> int | None:
    """Number of classes that the tensors score, without the background; None when no layer knows classes."""
    scores = [len(tensor) - 1 for name, tensor in state.items() if SCORES.search(name)]
    return scores[0] if scores else None


def adapt_classes(
    state: Mapping[str, Tensor],
    source_classes: Sequence[str] | None,
    classes: Sequence[str],
    mapping: Mapping[str, str] | None = None,
    seed: int = 0,
) -> AdaptedWeights:
    """Weights of a detector for other classes: rows go by the classes' names, the background keeps its row.

    Names are compared by their letters and digits, so "SH-SY5Y" is "shsy5y".

    Args:
        state: tensors by name, as the detector has them.
        source_classes: what the rows stand for; None when nobody knows, and then all are drawn anew.
        classes: what they shall stand for, in order.
        mapping: old class by new class, where their names differ.
        seed: of the rows that are drawn anew, as those of a new layer are.

    Raises:
        InputError: when the class layers have another number of rows than there are source classes, or `mapping` names no class.
    """
    names = {plain(name): i for i, name in enumerate(source_classes or ())}
    mapping = mapping or {}
    for ours, theirs in mapping.items():
        if ours not in classes or plain(theirs) not in names:
            known = list(source_classes or ())
            raise InputError(f"mapping of classes: {ours} from {theirs}: expected one of {list(classes)} from one of {known}")
    rows = [names.get(plain(mapping.get(name, name))) for name in classes]
    generator = torch.Generator().manual_seed(seed)
    result = dict(state)
    for name, tensor in state.items():
        background = int(SCORES.search(name) is not None)
        if not background and not MASKS.search(name):
            continue
        if source_classes is not None and len(tensor) != len(source_classes) + background:
            raise InputError(
                f"{name}: has rows for {len(tensor) - background} classes, "
                f"but {len(source_classes)} are named ({', '.join(source_classes)}): name the classes of the weights in their order"
            )
        filled = torch.zeros(len(classes) + background, *tensor.shape[1:], dtype=torch.float32)
        if tensor.ndim > 1:
            filled.normal_(std=SCORE_DEVIATION if background else MASK_DEVIATION, generator=generator)
        for row, old_row in enumerate(rows):
            if old_row is not None:
                filled[row] = tensor[old_row]
        if background:
            filled[-1] = tensor[-1]
        result[name] = filled.to(tensor.dtype)
    sources = list(source_classes or ())
    return AdaptedWeights(
        result,
        {name: sources[row] for name, row in zip(classes, rows, strict=True) if row is not None},
        tuple(name for name, row in zip(classes, rows, strict=True) if row is None),
        tuple(name for i, name in enumerate(sources) if i not in rows),
    )
