"""How fine-tuning is shown: both scores, and which weights to use."""

import numpy as np
import pytest

pytest.importorskip("pytorch_lightning", reason="needs somaseg[train]")

from somaseg.training.finetune import FinetuneResult, compared
from somaseg.training.finetune_report import gain_table, verdict


def result(*gains: float) -> FinetuneResult:
    """Images of one type that score .3 before."""
    names, base = tuple("abcdefgh"[: len(gains)]), np.full((len(gains), 10), 0.3)
    old, new, gain, images = compared(base, base + np.array(gains)[:, None], names, ["x"] * len(gains))
    return FinetuneResult(
        weights="w", weights_sha256="", classes=("x",), class_origin={}, training=("t",), validation=names, steps=1, zoom=1.0,
        base=old, tuned=new, gain=gain, images=images, notes=(),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("gains", "words"),
    [
        ([0.1] * 6, "the new weights are better by 0.1000 map_iou on 6 validation images. Use them with --weights new"),
        ([0.3, -0.2] * 3, "the new weights are better by 0.0500 map_iou on 6 validation images; this may be chance. Use"),
        ([0.1], "better by 0.1000 map_iou on 1 validation image; so few images cannot rule out chance. Use"),
        (
            [0.0, 0.0],
            "refused: the new weights are as good as the base weights, not better, on 2 validation images. Go on with --weights w.",
        ),
        ([-0.1], "refused: the new weights are worse than the base weights by 0.1000 map_iou on 1 validation image. Go on"),
    ],
)
def test_which_weights_to_use(gains: list[float], words: str) -> None:
    assert words in verdict(result(*gains), "new")


@pytest.mark.parametrize(("gains", "shown"), [([0.1], ["-", "-", "-"]), ([0.1, 0.1], ["0.3000", "0.4000", "+0.1000"])])
def test_the_table_has_an_interval_of_two_images_and_more(gains: list[float], shown: list[str]) -> None:
    rows = list(zip(*(column.cells for column in gain_table(result(*gains)).columns), strict=True))
    assert [row[0] for row in rows] == [*"ab"[: len(gains)], "all", "  95 % from", "  to"]
    assert [list(row[2:]) for row in rows[-2:]] == [shown] * 2
