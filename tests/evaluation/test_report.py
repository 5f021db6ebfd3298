"""How scores are shown: every number of them, and no interval where there is none."""

import numpy as np
import pytest

from somaseg.evaluation.cell_scores import cell_scores, image_cells
from somaseg.evaluation.coco_ap import coco_ap
from somaseg.evaluation.map_iou import summarise
from somaseg.evaluation.matching import compare_cells
from somaseg.evaluation.report import interval_text, precision_figure, score_table
from somaseg.instances import Instances


def column(table, name):
    """What a table has in a column, by the labels of its rows."""
    labels, own = table.columns[0], next(one for one in table.columns if one.header == name)
    return dict(zip(labels.cells, own.cells, strict=True))


@pytest.fixture
def scores():
    """Four images: one of astro, three of cort, each as good at all thresholds."""
    return summarise(np.array([0.5, 0.2, 0.4, 0.6])[:, None] * np.ones(10), ["astro", "cort", "cort", "cort"])


def test_an_interval_in_words(scores):
    cort = scores.by_class["cort"]
    assert interval_text(cort) == f"{cort.low:.4f} to {cort.high:.4f}"
    assert interval_text(cort, "{:.2f}, {:.2f}") == f"{cort.low:.2f}, {cort.high:.2f}"
    assert interval_text(scores.by_class["astro"]) == "one image"
    assert interval_text(summarise(np.ones((2, 10)), ["astro", "cort"]).overall) == "one image a cell type"


def test_the_picture_tells_scores_and_intervals(scores):
    axes = precision_figure(scores).axes[0]
    astro, cort, together = (line.get_label() for line in axes.lines)
    assert astro == "astro  0.500 (one image), 1"
    assert cort.startswith("cort  0.400 (0.2")
    assert together.startswith("all images  0.425 (")
    assert axes.lines[0].get_ydata() == pytest.approx(np.full(10, 0.5))


def test_the_table_has_a_column_a_type(scores):
    empty = Instances.empty((4, 4), ("cell",))
    nothing = cell_scores([image_cells(compare_cells(empty, empty))])
    table = score_table(scores, nothing, dict.fromkeys(scores.by_class, nothing), coco_ap([(empty, empty)] * 2, ["astro", "cort"]))
    assert [str(one.header) for one in table.columns] == ["", "astro", "cort", "all images"]
    astro, cort = column(table, "astro"), column(table, "cort")
    assert (astro["images"], astro["map_iou"], astro["  95 % from"], astro["  to"]) == ("1", "0.5000", "-", "-")
    assert (cort["images"], cort["map_iou"], cort["  at IoU 0.75"]) == ("3", "0.4000", "0.400")
    assert float(cort["  95 % from"]) < 0.4 < float(cort["  to"])
