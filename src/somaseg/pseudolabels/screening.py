"""Which cells of an unlabelled image are accepted as pseudo-labels, ignored in training, or dropped (docs/method.md)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from somaseg.classes import by_class
from somaseg.config.pseudo import PseudoSettings
from somaseg.errors import InputError
from somaseg.instances import Instances

Fate = Literal["accepted", "ignored", "dropped"]
FATES: tuple[Fate, ...] = ("accepted", "ignored", "dropped")
RULES: tuple[tuple[str, Fate], ...] = (
    ("score too low", "dropped"),
    ("too small", "dropped"),
    ("too large", "ignored"),
    ("score unsure", "ignored"),
    ("mask unsure", "ignored"),
    ("models disagree", "ignored"),
)
"""Reasons with the fate that they bring; the first that holds counts."""

BY_CLASS = ("ignore_score", "accept_score", "min_area", "max_area")


@dataclass(frozen=True)
class CellFates:
    """What became of the N cells of an image.

    Attributes:
        own_fates: of each cell by itself, accepted, ignored or dropped.
        own_reasons: why a cell is not accepted; empty for accepted ones.
        left_out: why the whole image is left out; empty where it is not.
    """

    own_fates: tuple[Fate, ...]
    own_reasons: tuple[str, ...]
    left_out: str

    @property
    def fates(self) -> tuple[Fate, ...]:
        """The fate of each cell; all cells of an image that is left out are dropped."""
        dropped: Fate = "dropped"
        return (dropped,) * len(self.own_fates) if self.left_out else self.own_fates

    @property
    def reasons(self) -> tuple[str, ...]:
        """The reason of each fate."""
        return ("image left out",) * len(self.own_reasons) if self.left_out else self.own_reasons

    def where(self, fate: Fate) -> NDArray[np.int64]:
        """Which cells met this fate."""
        return np.flatnonzero([own == fate for own in self.fates])


def screen_cells(
    cells: Instances, mask_prob: NDArray[np.floating], agreement: NDArray[np.floating], settings: PseudoSettings, zoom: float = 1.0
) -> CellFates:
    """Screen the cells of one image.

    Args:
        cells: N fused cells.
        mask_prob: (N,), mean mask probability over each cell.
        agreement: (N,), see `pseudo_evidence.agreement`.
        settings: the thresholds; a cell that is just at one passes.
        zoom: how many times larger than at the weights' own scale, at which areas count, the first model was shown the image.

    Raises:
        InputError: when the settings name an unknown class, or there is not one number a cell.
    """
    for name, values in (("mask_prob", mask_prob), ("agreement", agreement)):
        if len(values) != len(cells):
            raise InputError(f"screening: {name} has {len(values)} entries for {len(cells)} cells: give one a cell")
    classes, labels, scores, area = cells.classes, cells.labels, cells.scores.astype(np.float64), cells.area * zoom**2
    ignore_score, accept_score, least, most = (by_class(getattr(settings, f), classes, f"pseudo.{f}")[labels] for f in BY_CLASS)
    holds = (
        scores < ignore_score,
        area < least,
        area > most,
        scores < accept_score,
        mask_prob < settings.accept_mask_prob,
        agreement < settings.accept_agreement,
    )
    first = np.select(holds, range(len(holds)), len(holds)).tolist()
    rules: Sequence[tuple[str, Fate]] = (*RULES, ("", "accepted"))
    fates = tuple(rules[i][1] for i in first)
    return CellFates(fates, tuple(rules[i][0] for i in first), _limits(fates.count("accepted"), fates.count("ignored"), settings))


def check_screening(settings: PseudoSettings, classes: Sequence[str]) -> None:
    """Raise InputError when the settings name a class that is not among `classes`."""
    for field in BY_CLASS:
        by_class(getattr(settings, field), classes, f"pseudo.{field}")


def _limits(accepted: int, ignored: int, settings: PseudoSettings) -> str:
    """Why an image with so many cells is left out; empty where it is not."""
    if accepted < settings.min_cells:
        return f"{accepted} cells accepted, fewer than min_cells {settings.min_cells}"
    if accepted + ignored > settings.max_cells:
        return f"{accepted + ignored} cells not dropped, more than max_cells {settings.max_cells}"
    if ignored > settings.max_ignored_share * (accepted + ignored):
        return f"{ignored} of {accepted + ignored} cells ignored, more than max_ignored_share {settings.max_ignored_share:g}"
    return ""
