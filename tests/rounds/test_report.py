"""How rounds are shown: the plan as a table, everything as a page."""

from pathlib import Path

import numpy as np

from somaseg.evaluation.map_iou import MapIou, summarise
from somaseg.rounds.report import page, plan_table
from somaseg.rounds.status import LabelledRound, RoundScores, StageRow

ROWS = [StageRow("train-0", 2, "done", 100.0, 90.0, 5_000_000), StageRow("score-0", 2, "open", 0.0, 30.0, 2_000_000_000)]


def scored(*values: float) -> MapIou:
    return summarise(np.array(values)[:, None] * np.ones(10), ["astro", *["cort"] * (len(values) - 1)])


def test_the_plan_says_what_is_left() -> None:
    table = plan_table(ROWS)
    assert list(table.columns[1].cells) == ["done", "not begun"]
    assert table.caption == "left: 30 s with one task after another, 2.0 GB on disk"
    assert "give seconds_per_step" in str(plan_table([StageRow("train-0", 2, "open", 0.0, None, 1)]).caption)


def test_the_page_tells_scores_and_what_was_labelled() -> None:
    labelled = [LabelledRound(1, 7, 2, {"cort": {"accepted": 5, "ignored": 4, "dropped": 3}}, [])]
    one = RoundScores(members={"a": scored(0.2, 0.3, 0.5)}, fused=scored(0.2, 0.4, 0.6))
    fused = one.fused.headline
    text = page(Path("out"), ROWS, [one, one], 0, 0.0, labelled)
    assert f"<b>0.4000</b>\n[{fused.low:.4f}, {fused.high:.4f}] on the 3 images" in text
    assert f"<td>{fused.low:.4f} to {fused.high:.4f}</td>" in text
    assert "7 unlabelled images have pseudo-labels, 2 were left out" in text
    assert "fused, 95 % interval" in text


def test_a_page_of_one_image_shows_no_interval() -> None:
    one = RoundScores(members={"a": scored(0.2)}, fused=scored(0.4))
    text = page(Path("out"), ROWS, [one], 0, 0.0, [])
    assert "<b>0.4000</b>\n[one image] on the 1 images" in text
    assert "<td>one image</td>" in text
    assert "fused, 95 % interval" not in text
