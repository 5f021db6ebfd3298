"""What fine-tuning found, and how it is shown: both scores on the same images, and which weights to use."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from rich.table import Table

from somaseg.evaluation.map_iou import MapIou, Score, summarise
from somaseg.evaluation.matching import Record

FEW = 5  # validation images below which an interval over them means little


class ImageGain(Record):
    """`map_iou` of one validation image with the base weights and with the new ones."""

    image: str
    cell_type: str
    base: float
    tuned: float
    gain: float


class FinetuneResult(Record):
    """Everything that `somaseg finetune` finds, as `finetune.json` has it.

    Attributes:
        weights, weights_sha256: the base weights.
        classes: of the new weights.
        class_origin: by class of the new weights, the class of the base weights that it started from.
        training, validation: names of the images.
        steps: of the training.
        base, tuned: scores of the base weights and of the new ones on the validation images.
        gain: the difference, with an interval over images (paired bootstrap within cell types).
        images: each validation image.
        notes: what a reader of the scores must know, one sentence each.
    """

    weights: str
    weights_sha256: str
    classes: tuple[str, ...]
    class_origin: dict[str, str]
    training: tuple[str, ...]
    validation: tuple[str, ...]
    steps: int
    base: MapIou
    tuned: MapIou
    gain: Score
    images: tuple[ImageGain, ...]
    notes: tuple[str, ...]

    @property
    def better(self) -> bool:
        """Whether the new weights score higher."""
        return self.gain.value > 0


def compared(
    base: NDArray[np.float64], tuned: NDArray[np.float64], names: Sequence[str], cell_types: Sequence[str]
) -> tuple[MapIou, MapIou, Score, tuple[ImageGain, ...]]:
    """Both scores, their difference, and each image, from the precision of each image at each IoU threshold, float64 (images, T)."""
    means = zip(names, cell_types, base.mean(axis=1).tolist(), tuned.mean(axis=1).tolist(), strict=True)
    images = tuple(ImageGain(image=name, cell_type=t, base=b, tuned=n, gain=n - b) for name, t, b, n in means)
    return summarise(base, cell_types), summarise(tuned, cell_types), summarise(tuned - base, cell_types).overall, images


def gain_table(result: FinetuneResult) -> Table:
    """Both scores, image by image and for all."""
    table = Table(title="map_iou on the same validation images", title_justify="left")
    table.add_column("validation image", overflow="fold")
    table.add_column("cell type")
    for column in ("base weights", "new weights", "gain"):
        table.add_column(column, justify="right", no_wrap=True)
    for row in result.images:
        table.add_row(row.image, row.cell_type, f"{row.base:.4f}", f"{row.tuned:.4f}", f"{row.gain:+.4f}")
    table.add_section()
    base, tuned, gain = result.base.overall, result.tuned.overall, result.gain
    table.add_row("all", "", f"{base.value:.4f}", f"{tuned.value:.4f}", f"{gain.value:+.4f}", style="bold")
    for name, end in (("  95 % from", "low"), ("  to", "high")):
        ends = [getattr(score, end) for score in (base, tuned, gain)]
        table.add_row(name, "", *("-" if value is None else f"{value:{sign}.4f}" for value, sign in zip(ends, ("", "", "+"), strict=True)))
    return table


def verdict(result: FinetuneResult, weights: str) -> str:
    """Which weights to use, and why; `weights` is where the new ones are."""
    gain, number = result.gain, len(result.validation)
    on = f"on {number} validation image{'s' * (number > 1)}"
    if not result.better:
        how = "as good as the base weights, not better," if gain.value == 0 else f"worse than the base weights by {-gain.value:.4f} map_iou"
        return f"refused: the new weights are {how} {on}. Go on with --weights {result.weights}. The new ones are left in {weights}"
    chance = "" if gain.sign > 0 and number >= FEW else "; so few images cannot rule out chance" if number < FEW else "; this may be chance"
    return f"the new weights are better by {gain.value:.4f} map_iou {on}{chance}. Use them with --weights {weights}"
