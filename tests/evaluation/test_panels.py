"""Pictures of results beside the truth, and the command that makes them."""

from dataclasses import replace

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from PIL import Image

from somaseg.config import PostprocessSettings
from somaseg.errors import InputError
from somaseg.evaluation import panels as pictures
from somaseg.instances import Instances, Prediction
from somaseg.postprocessing.candidates import Candidates
from somaseg.postprocessing.steps import postprocess, run_steps, trace

SIZE = (48, 64)
A, B, C, D = (4, 4, 14, 14), (20, 20, 34, 30), (40, 30, 52, 42), (40, 4, 50, 14)
Box = tuple[int, int, int, int]


def cells(*boxes: Box, scores: list[float] | None = None) -> Instances:
    """Filled rectangles, half-open x0 y0 x1 y1."""
    return Instances.build(SIZE, [(b, np.ones((b[3] - b[1], b[2] - b[0]), bool)) for b in boxes], ("cell",), scores=scores)


def prediction(*boxes: Box, scores: list[float]) -> Prediction:
    full = np.ones((len(boxes), 28, 28), np.float16)
    return Prediction(
        SIZE, np.array(boxes, np.float32).reshape(-1, 4), np.array(scores, np.float32), np.zeros(len(boxes), np.int64), full, ("cell",)
    )


def colours_of(panel: pictures.Panel) -> dict[tuple[int, ...], str]:
    """The colour of each drawn cell, by its box."""
    named = {to_rgb(getattr(pictures, n)): n for n in ("HIT", "FALSE_ALARM", "MISS", "PARTLY", "REMOVED", "CHANGED")}
    colours = (named[tuple(colour[:3])] for colour in panel.colours.tolist())
    return {tuple(box): colour for box, colour in zip(panel.cells.boxes.tolist(), colours, strict=True)}


def has_colour(picture: Image.Image, name: str) -> bool:
    """Whether some pixel above the legend is nearly of a colour."""
    wanted = np.array(to_rgb(getattr(pictures, name))) * 255
    return bool((np.abs(np.asarray(picture, np.float64)[: -pictures.LEGEND_HEIGHT] - wanted).max(axis=2) < 25).any())


def test_hits_misses_and_false_alarms():
    truth = cells(A, B, C)
    first = pictures.judge("first", cells(A, D), truth, 0.5)
    second = pictures.judge("second", cells(B, A), truth, 0.5)
    assert (first.hits, first.false_alarms, first.map_iou) == (1, 1, 1 / 4)
    truth_panel, first_panel, second_panel = pictures.outcome_panels(truth, [first, second])
    assert colours_of(truth_panel) == {A: "HIT", B: "PARTLY", C: "MISS"}
    assert truth_panel.detail == "3 cells: hit by all 1, by some 1, by none 1"
    assert colours_of(first_panel) == {A: "HIT", D: "FALSE_ALARM"}
    assert colours_of(second_panel) == {A: "HIT", B: "HIT"}
    assert first_panel.detail == "2 cells: 1 hits, 1 false alarms; map_iou 0.250"
    assert pictures.outcome_panels(truth, [first])[0].detail == "3 cells: 1 hit, 2 missed"


def test_overlapping_truth_is_scored_as_it_is():
    below, above = (10, 10, 30, 30), (10, 16, 30, 36)  # 14 of 20 rows shared: trimmed, one would have 6 rows left, IoU .3 or less
    truth = cells(below, above)
    judged = pictures.judge("both", cells(above, below), truth, 0.5)
    assert sorted(judged.partners.tolist()) == [0, 1]
    assert judged.map_iou == 1.0
    assert set(colours_of(pictures.outcome_panels(truth, [judged])[0]).values()) == {"HIT"}
    once = pictures.judge("one", cells(below), truth, 0.5)  # IoU 14/26 with the other: still only one hit
    assert (once.hits, once.false_alarms) == (1, 0)


def test_the_threshold_is_strict():
    half = cells((4, 4, 14, 9))
    assert [pictures.judge("half", half, cells(A), iou).hits for iou in (0.49, 0.5)] == [1, 0]


def test_scores_give_colours_from_dark_to_bright_the_best_on_top():
    judged = pictures.judge("one", cells(A, B, C, scores=[0.9, 0.1, 0.5]), cells(A), 0.5)
    truth, panel = pictures.score_panels(cells(A), [judged])
    assert panel.cells.scores.tolist() == pytest.approx([0.1, 0.5, 0.9])
    assert (np.diff(panel.colours[:, :3].mean(axis=1)) > 0).all()
    assert len(truth.colours) == 1


def test_trace_says_who_is_left_after_each_step():
    found = prediction(A, B, C, (21, 20, 35, 30), scores=[0.2, 0.9, 0.5, 0.8])
    steps = ("screen", "paste", "mask_nms")
    stages = list(trace(Candidates.from_prediction(found), steps, PostprocessSettings()))
    assert [(name, left.numbers.tolist()) for name, left in stages] == [("screen", [1, 3, 2]), ("paste", [1, 3, 2]), ("mask_nms", [1, 2])]
    left, removed = run_steps(Candidates.from_prediction(found), steps, PostprocessSettings())
    assert (left.numbers.tolist(), removed) == ([1, 2], {"screen": 1, "paste": 0, "mask_nms": 1})


def test_each_step_shows_what_it_removed_and_what_that_lost():
    double = (21, 20, 35, 30)  # of B
    beside = (32, 20, 44, 30)  # two columns of it lie under B
    found = prediction(A, D, B, double, beside, scores=[0.2, 0.1, 0.9, 0.8, 0.7])
    settings = PostprocessSettings()
    truth = cells(A, B)
    first, screen, mask_nms, overlaps, left = pictures.step_panels(found, settings, truth, 0.5)
    assert colours_of(first) == {A: "MISS", B: "HIT"}
    assert (screen.title, screen.detail) == ("screen", "2 removed, 1 of them would hit 1 missed cells")
    assert colours_of(screen) == {A: "MISS", D: "REMOVED"}
    assert (mask_nms.title, mask_nms.detail, colours_of(mask_nms)) == ("mask_nms", "1 removed", {double: "REMOVED"})
    assert (overlaps.title, overlaps.detail, colours_of(overlaps)) == ("overlaps", "1 changed", {(34, 20, 44, 30): "CHANGED"})
    assert colours_of(left) == {B: "HIT", (34, 20, 44, 30): "FALSE_ALARM"}
    assert left.cells.boxes.tolist() == postprocess(found, settings).boxes.tolist()


def test_pieces_of_a_split_cell_are_changed_ones():
    probs = np.ones((1, 28, 28), np.float16)
    probs[:, :, 12:16] = 0
    found = replace(prediction((4, 4, 32, 32), scores=[0.9]), mask_probs=probs)
    settings = PostprocessSettings(steps=("paste", "pieces"), pieces="split")
    _, pieces, left = pictures.step_panels(found, settings, cells(), 0.5)
    assert (pieces.detail, len(pieces.cells), len(left.cells)) == ("2 changed", 2, 2)


def test_no_cell_anywhere():
    panels = pictures.step_panels(prediction(scores=[]), PostprocessSettings(), cells(), 0.5)
    assert [panel.title for panel in panels] == ["truth", "left"]
    picture = pictures.sheet(np.zeros(SIZE, np.float32), panels, {}, "nothing")
    left = np.asarray(picture)[pictures.TITLE_HEIGHT : pictures.TITLE_HEIGHT + 6 * SIZE[0], : 6 * SIZE[1]]
    assert not left.any()


@pytest.mark.parametrize(("count", "columns", "rows"), [(1, 1, 1), (3, 3, 1), (4, 2, 2), (10, 4, 3)])
def test_panels_stand_in_rows(count, columns, rows):
    panel = pictures.outcome_panels(cells(A), [])[0]
    grey = np.zeros((100, 200), np.float32)
    picture = pictures.sheet(grey, [panel] * count, None, "")
    width = min(pictures.ENLARGED * 200, pictures.PANEL, pictures.SHEET / columns)
    assert picture.width == columns * round(width) + (columns - 1) * pictures.GAP
    assert picture.height == rows * (round(width / 2) + pictures.TITLE_HEIGHT + pictures.GAP) - pictures.GAP + pictures.LEGEND_HEIGHT


def test_outlines_lie_on_the_cells_and_zoom_enlarges_them():
    truth = cells((10, 10, 20, 20))
    panel = pictures.outcome_panels(truth, [pictures.judge("all", truth, truth, 0.5)])[0]
    hit = np.array(to_rgb(pictures.HIT)) * 255

    def extent(part: Box | None, scale: float) -> np.ndarray:
        picture = np.asarray(pictures.sheet(np.zeros(SIZE, np.float32), [panel], {}, "", part), np.float64)[pictures.TITLE_HEIGHT :]
        y, x = np.nonzero(np.abs(picture - hit).max(axis=2) < 60)
        return np.array([x.min(), y.min(), x.max(), y.max()]) / scale

    # The outline runs through the border of the cell's pixels, smoothed; a canvas pixel more or less is its width.
    assert extent(None, 6) == pytest.approx([10, 10, 20, 20], abs=0.6)
    assert extent((8, 8, 32, 26), 6) == pytest.approx([2, 2, 12, 12], abs=0.6)


@pytest.mark.parametrize("part", [(0, 0, 65, 10), (5, 5, 5, 9), (-1, 0, 9, 9)])
def test_a_zoom_outside_the_image_is_refused(part):
    with pytest.raises(InputError, match=r"zoom .* not inside the image of 64 x 48 pixels"):
        pictures.sheet(np.zeros(SIZE, np.float32), pictures.outcome_panels(cells(A), []), None, "", part)
