"""Pictures for looking at why a model fails: panels of one image, each with outlines in colours that mean something."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from somaseg.config import PostprocessSettings
from somaseg.errors import InputError
from somaseg.evaluation.matching import Comparison, compare_cells, comparison_counts, partners, precision
from somaseg.export.overlay import outlines, stretched
from somaseg.figures import rgba
from somaseg.instances import Instances, Prediction
from somaseg.postprocessing import pieces as mask_pieces
from somaseg.postprocessing.candidates import Candidates
from somaseg.postprocessing.steps import STEPS, trace

# Told apart by people of any colour vision, and bright enough for a grey image.
HIT, FALSE_ALARM, MISS, PARTLY, REMOVED, CHANGED, PLAIN = "#2ee6c5", "#ff6a3d", "#ffe11f", "#6fa8ff", "#c08cff", "#ffffff", "#cfd3d8"
# Colours of scores from 0 to 1: the upper two thirds of "plasma" (van der Walt & Smith 2015, CC0); its lower part is too dark for a grey
# image.
SCORES = bytes.fromhex(
    "a11b9b aa2395 b12a90 b7318a bf3984 c5407e cc4778 d14e72 d6556d dc5d67 e16462 e66c5c ea7457 ee7b51 "
    "f2844b f58c46 f89540 fa9e3b fca636 fdb130 feba2c fdc527 fcce25 fad824 f7e425 f3ee27 f0f921"
)
DIMMED = 0.8  # brightness of the image below outlines
PANEL, SHEET = 1056, 3600  # longest side of a panel's image and width of the picture in px, at most
ENLARGED = 6.0  # times, at most
NARROWEST = 520  # px, of a panel
LINE = 1.7  # width of an outline in px of the picture
TITLE_HEIGHT, LEGEND_HEIGHT, GAP = 66, 50, 12
TITLE_SIZE, TEXT_SIZE = 24, 20
TEXT, FAINT, BACKGROUND = (240, 240, 240), (175, 175, 180), (20, 20, 24)

Part = tuple[int, int, int, int]


@dataclass(frozen=True, eq=False)
class Panel:
    """One view of the image.

    Attributes:
        title: what it shows.
        detail: numbers, in the line below the title.
        cells: the cells whose outlines are drawn, the last on top.
        colours: red, green, blue and opacity of each (N, 4), in [0, 1].
        widths: of their lines in px of the picture, one for all or one a cell (N,).
    """

    title: str
    detail: str
    cells: Instances
    colours: NDArray[np.float64]
    widths: float | NDArray[np.float64] = LINE


@dataclass(frozen=True, eq=False)
class JudgedCells:
    """The cells that a result has in one image, beside the truth.

    Attributes:
        name: of the result.
        cells: its N cells.
        partners: the true cell that each hits at the chosen IoU (N,), -1 for false alarms.
        map_iou: of the image.
    """

    name: str
    cells: Instances
    partners: NDArray[np.int64]
    map_iou: float

    @property
    def hits(self) -> int:
        """Cells that hit a true one, one to one."""
        return int(np.count_nonzero(self.partners >= 0))

    @property
    def false_alarms(self) -> int:
        """Cells that hit none."""
        return len(self.cells) - self.hits


def judge(name: str, cells: Instances, truth: Instances, iou: float, ignored: Instances | None = None) -> JudgedCells:
    """Match cells with true ones, one to one and as many as possible, by mask IoU strictly above `iou`; nothing is trimmed before.

    Cells that hit none and lie in an ignored region (see `matching`) are left out.

    Raises:
        InputError: when the two are not of one image size.
    """
    comparison = compare_cells(cells, truth, ignored)
    found = partners(comparison, iou)
    counts = (found >= 0) | ~comparison.excused(iou)
    return JudgedCells(name, cells[counts], found[counts], float(precision(*comparison_counts(comparison)).mean()))


def outcome_panels(truth: Instances, results: Sequence[JudgedCells]) -> list[Panel]:
    """The truth, by how many results hit each cell, and each result with its hits and false alarms."""
    panels = [_truth_panel(truth, results)]
    for result in results:
        colours = _palette(HIT, FALSE_ALARM)[np.where(result.partners >= 0, 0, 1)]
        panels.append(Panel(result.name, _numbers(result), result.cells, colours))
    return panels


def score_panels(truth: Instances, results: Sequence[JudgedCells]) -> list[Panel]:
    """The truth, and each result with its cells coloured by score, the best on top."""
    panels = [Panel("truth", f"{len(truth)} cells", truth, _palette(PLAIN)[np.zeros(len(truth), np.int64)])]
    for result in results:
        cells = result.cells[np.argsort(result.cells.scores, kind="stable")]
        panels.append(Panel(result.name, _numbers(result), cells, _score_colours(cells.scores)))
    return panels


def step_panels(prediction: Prediction, settings: PostprocessSettings, truth: Instances, iou: float) -> list[Panel]:
    """The truth, what each step of post-processing removed or changed, and what is left; steps without effect are left out.

    Of what a step removed, that stands out which would hit a true cell that no cell hits in the end.

    Raises:
        InputError: when the settings name a class that the prediction does not know, or the sizes differ.
    """
    before = Candidates.from_prediction(prediction)
    stages = list(trace(before, settings.steps, settings))
    result = judge("left", stages[-1][1].to_instances(), truth, iou)
    truth_panel, result_panel = outcome_panels(truth, [result])
    missed = truth[np.setdiff1d(np.arange(len(truth)), result.partners)]
    panels = []
    for name, after in stages:
        gone = before[np.flatnonzero(~np.isin(before.numbers, after.numbers))]
        changed = _changed(before, after)
        if len(gone) or len(changed):
            panels.append(_step_panel(name, gone, changed, missed, settings, iou))
        before = after
    return [truth_panel, *panels, result_panel]


def outcome_legend(results: int) -> dict[str, str]:
    """What the colours of `outcome_panels` say."""
    if results == 1:
        return {HIT: "hit", FALSE_ALARM: "false alarm", MISS: "miss"}
    return {HIT: "hit (in the truth: by all)", PARTLY: "hit by some", MISS: "missed by all", FALSE_ALARM: "false alarm"}


STEP_LEGEND = {
    HIT: "hit",
    FALSE_ALARM: "false alarm",
    MISS: "miss; removed though it would hit one",
    REMOVED: "removed",
    CHANGED: "changed",
}


def sheet(
    grey: NDArray[np.float32], panels: Sequence[Panel], legend: dict[str, str] | None, note: str, part: Part | None = None
) -> Image.Image:
    """Panels side by side, in rows where they are many, and a legend below.

    Args:
        grey: the image (H, W), finite, any range.
        panels: at least one.
        legend: what each colour says; None where colours are scores.
        note: further words for the legend.
        part: x0 y0 x1 y1, half-open, the part of the image to show; None for all of it.

    Raises:
        InputError: when the part has no pixel or is not inside the image.
    """
    height, width = grey.shape
    x0, y0, x1, y1 = part = part or (0, 0, width, height)
    if not (0 <= x0 < x1 <= width and 0 <= y0 < y1 <= height):
        raise InputError(f"zoom {x0},{y0},{x1},{y1}: is not inside the image of {width} x {height} pixels: give x0,y0,x1,y1 in pixels")
    columns = len(panels) if len(panels) <= 3 else math.ceil(math.sqrt(len(panels)))
    longest = max(x1 - x0, y1 - y0)
    scale = min(ENLARGED, PANEL / longest, SHEET / columns / longest)
    shape = (max(1, round((x1 - x0) * scale)), max(1, round((y1 - y0) * scale)))
    dark = Image.fromarray((stretched(grey) * DIMMED).astype(np.uint8)).crop(part).resize(shape, Image.Resampling.BICUBIC).convert("RGBA")
    cell = (max(shape[0], NARROWEST) + GAP, shape[1] + TITLE_HEIGHT + GAP)
    rows = math.ceil(len(panels) / columns)
    full = Image.new("RGB", (columns * cell[0] - GAP, rows * cell[1] + LEGEND_HEIGHT - GAP), BACKGROUND)
    for i, panel in enumerate(panels):
        full.paste(_drawn(panel, dark, cell, part), (i % columns * cell[0], i // columns * cell[1]))
    _draw_legend(full, legend, note)
    return full


def _truth_panel(truth: Instances, results: Sequence[JudgedCells]) -> Panel:
    found = np.zeros(len(truth), np.int64)
    for result in results:
        found[result.partners[result.partners >= 0]] += 1
    group = np.where(found == len(results), 0, np.where(found > 0, 1, 2))
    by_all, by_some, by_none = np.bincount(group, minlength=3).tolist()
    detail = f"{by_all} hit, {by_none} missed" if len(results) == 1 else f"hit by all {by_all}, by some {by_some}, by none {by_none}"
    order = np.argsort(group, kind="stable")
    return Panel("truth", f"{len(truth)} cells: {detail}", truth[order], _palette(HIT, PARTLY, MISS)[group[order]])


def _numbers(result: JudgedCells) -> str:
    return f"{len(result.cells)} cells: {result.hits} hits, {result.false_alarms} false alarms; map_iou {result.map_iou:.3f}"


def _step_panel(name: str, gone: Candidates, changed: Candidates, missed: Instances, settings: PostprocessSettings, iou: float) -> Panel:
    removed = (STEPS["paste"](gone, settings) if gone.pixels is None else gone).to_instances()
    comparison = compare_cells(removed, missed)
    lost = _hits_any(comparison, iou)
    words = [f"{len(gone)} removed"] if len(gone) else []
    if lost.any():
        words.append(f"{np.count_nonzero(lost)} of them would hit {len(np.unique(comparison.truth[comparison.iou > iou]))} missed cells")
    words += [f"{len(changed)} changed"] if len(changed) else []
    cells = Instances.cat([changed.to_instances() if len(changed) else removed[[]], removed[~lost], removed[lost]])
    group = np.repeat([0, 1, 2], [len(changed), int(np.count_nonzero(~lost)), int(np.count_nonzero(lost))])
    return Panel(name, ", ".join(words), cells, _palette(CHANGED, REMOVED, MISS)[group])


def _hits_any(comparison: Comparison, iou: float) -> NDArray[np.bool_]:
    """Which predicted cells have an IoU above `iou` with any true cell (N,)."""
    return np.isin(np.arange(len(comparison.pred_area)), comparison.pred[comparison.iou > iou])


def _changed(before: Candidates, after: Candidates) -> Candidates:
    """Those of `after` whose pixels are not those of before, the pieces of split ones among them."""
    if before.pixels is None:
        return after[np.arange(0)]
    count = int(before.numbers.max(initial=-1)) + 1
    differs = (_areas(before, count) != _areas(after, count)) | (
        np.bincount(before.numbers, minlength=count) != np.bincount(after.numbers, minlength=count)
    )
    return after[np.flatnonzero(differs[after.numbers])]


def _areas(candidates: Candidates, count: int) -> NDArray[np.float64]:
    """Pixels of the candidates of each number (count,)."""
    return np.asarray(np.bincount(candidates.numbers, mask_pieces.areas(candidates.pasted.crops), count), np.float64)


def _palette(*colours: str) -> NDArray[np.float64]:
    return np.array([rgba(colour) for colour in colours])


def _score_colours(scores: NDArray[np.float32]) -> NDArray[np.float64]:
    table = np.frombuffer(SCORES, np.uint8).reshape(-1, 3) / 255
    at = scores.astype(np.float64).clip(0, 1) * (len(table) - 1)
    bands = [np.interp(at, np.arange(len(table)), band) for band in table.T]
    return np.stack([*bands, np.ones(len(at))], axis=1)


def _drawn(panel: Panel, dark: Image.Image, cell: tuple[int, int], part: Part) -> Image.Image:
    """The panel in a rectangle of its own, so that a long title is cut off there."""
    picture = dark.copy()
    if len(panel.cells):
        picture.alpha_composite(outlines(panel.cells, panel.colours, panel.widths, dark.size, part))
    full = Image.new("RGB", (cell[0] - GAP, cell[1] - GAP), BACKGROUND)
    full.paste(picture.convert("RGB"), (0, TITLE_HEIGHT))
    draw = ImageDraw.Draw(full)
    draw.text((8, 20), panel.title, font=ImageFont.load_default(TITLE_SIZE), fill=TEXT, anchor="lm")
    draw.text((8, 48), panel.detail, font=ImageFont.load_default(TEXT_SIZE), fill=FAINT, anchor="lm")
    return full


def _draw_legend(picture: Image.Image, legend: dict[str, str] | None, note: str) -> None:
    draw = ImageDraw.Draw(picture)
    font = ImageFont.load_default(TEXT_SIZE)
    x, middle = 8.0, picture.height - LEGEND_HEIGHT // 2
    for colour, text in (legend or {}).items():
        draw.rounded_rectangle((x, middle - 7, x + 24, middle + 7), 3, outline=colour, width=4)
        draw.text((x + 32, middle), text, font=font, fill=TEXT, anchor="lm")
        x += 32 + draw.textlength(text, font=font) + 26
    if legend is None:
        draw.text((x, middle), "score 0", font=font, fill=TEXT, anchor="lm")
        x += draw.textlength("score 0", font=font) + 10
        for step, colour in enumerate(_score_colours(np.linspace(0, 1, 160, dtype=np.float32))):
            draw.line((x + step, middle - 7, x + step, middle + 7), fill=tuple(round(255 * float(value)) for value in colour[:3]))
        draw.text((x + 170, middle), "1", font=font, fill=TEXT, anchor="lm")
        x += 210
    draw.text((x, middle), note, font=font, fill=FAINT, anchor="lm")
