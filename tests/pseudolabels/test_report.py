"""How the screening of pseudo-labels is shown."""

import numpy as np

from somaseg.config import PseudoSettings
from somaseg.instances import Instances
from somaseg.pseudolabels.evidence import Evidence
from somaseg.pseudolabels.report import cell_rows, count, count_table, fates_csv, picture
from somaseg.pseudolabels.screening import screen_cells
from somaseg.texts.tables import read_table

SETTINGS = PseudoSettings(
    ignore_score=0.3, accept_score=0.6, accept_mask_prob=0, accept_agreement=0, min_area=4, min_cells=1, max_ignored_share=1
)


def evidence() -> Evidence:
    """Three cells: sure, unsure, and too small."""
    masks = np.zeros((3, 20, 30), bool)
    masks[0, 2:8, 2:8] = masks[1, 2:8, 12:18] = masks[2, 12:13, 2:3] = True
    cells = Instances.from_masks(masks, ("round", "long"), [0, 1, 0], [0.9, 0.4, 0.9])
    return Evidence(cells, np.array([0.8, 0.7, 0.6]), np.ones(3))


def screened(settings: PseudoSettings = SETTINGS):
    given = evidence()
    return screen_cells(given.cells, given.mask_prob, given.agreement, settings)


def test_a_row_a_cell_and_counts_by_class(tmp_path):
    rows = cell_rows("a", evidence(), screened())
    (tmp_path / "cells.csv").write_bytes(fates_csv(rows))
    table = read_table(tmp_path / "cells.csv")
    assert table["fate"] == ["accepted", "ignored", "dropped"]
    assert table["image"] == ["a"] * 3
    assert table["mask_prob"] == ["0.8", "0.7", "0.6"]
    assert [table[name][0] for name in ("area", "x0", "y0", "x1", "y1")] == ["36", "2", "2", "8", "8"]
    counts = count(rows, ("round", "long"))
    assert counts == {"round": {"accepted": 1, "ignored": 0, "dropped": 1}, "long": {"accepted": 0, "ignored": 1, "dropped": 0}}
    shown = count_table(counts)
    assert [list(column.cells) for column in shown.columns] == [
        ["round", "long", "all"], ["2", "1", "3"], ["1", "0", "1"], ["0", "1", "1"], ["1", "0", "1"]
    ]  # fmt: skip


def test_the_picture_shows_cells_also_of_an_image_that_is_left_out():
    grey = np.zeros((20, 30), np.float32)
    kept = picture(grey, "a", evidence(), screened())
    left_out = screened(SETTINGS.model_copy(update={"min_cells": 5}))
    assert left_out.left_out
    out = picture(grey, "a", evidence(), left_out)
    assert kept.size[0] > kept.size[1] > 0
    assert np.asarray(kept.convert("RGB")).std() > 0
    assert kept.tobytes() != out.tobytes()  # its title says so
