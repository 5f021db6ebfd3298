"""How an evaluation is shown to people: a table for the screen and the picture of precision against IoU."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from rich.table import Table

from somaseg.evaluation.cell_scores import CellScores
from somaseg.evaluation.coco_ap import AREA_BINS, LARGEST_AREA, Ap, CocoAp
from somaseg.evaluation.map_iou import MapIou, Score
from somaseg.figures import new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Okabe and Ito's colours, told apart by people of any colour vision; black is for all images together.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C6D31")
INK = "#222222"
MARKERS = ("o", "s", "^", "D", "v", "P", "X")


def score_table(map_iou: MapIou, cells: CellScores, cells_by_class: Mapping[str, CellScores], coco_ap: CocoAp) -> Table:
    """All scores, a column for each cell type, for all images, and for the weighted mean where there is one."""
    scores = _named_scores(map_iou)
    sections = (
        [_map_iou_column(score, map_iou.thresholds) for score in scores.values()],
        [*(_cells_column(c) for c in cells_by_class.values()), _cells_column(cells)],
        [*(_ap_column(ap) for ap in coco_ap.by_class.values()), _ap_column(coco_ap.overall)],
    )
    table = Table("", title="Scores by cell type of the image", title_justify="left")
    for name in scores:
        table.add_column(name, justify="right", no_wrap=True)
    for columns in sections:
        for label in columns[0]:
            table.add_row(label, *(column[label] for column in columns), style="bold" if label == "map_iou" else None)
        table.add_section()
    return table


def precision_figure(map_iou: MapIou) -> "Figure":
    """Mean precision of each cell type and of all images against the IoU threshold."""
    figure = new_figure(7.2, 4.6)
    axes = figure.subplots()
    for i, (name, score) in enumerate(map_iou.by_class.items()):
        colour, marker = COLOURS[i % len(COLOURS)], MARKERS[i % len(MARKERS)]
        axes.plot(
            map_iou.thresholds,
            score.by_threshold,
            color=colour,
            marker=marker,
            markersize=5,
            linewidth=1.8,
            label=_legend(name, score),
        )
    together = map_iou.headline
    name = "weighted by cell type" if map_iou.weighted else "all images"
    axes.plot(map_iou.thresholds, together.by_threshold, color=INK, linewidth=2.6, linestyle=(0, (4, 2)), label=_legend(name, together))
    axes.set_xlim(map_iou.thresholds[0] - 0.01, map_iou.thresholds[-1] + 0.01)
    axes.set_ylim(0, 1)
    axes.set_xticks(map_iou.thresholds)
    axes.set_xlabel("IoU threshold", color=INK)
    axes.set_ylabel("TP / (TP + FP + FN), mean over images", color=INK)
    axes.set_title("Precision against IoU", loc="left", color=INK, fontweight="bold", pad=10)
    axes.grid(axis="y", color="#dddddd", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color("#999999")
    axes.tick_params(colors="#444444", length=3)
    axes.legend(title="map_iou (95 % interval), images", alignment="left", frameon=False, loc="best", fontsize=9, title_fontsize=9)
    return figure


def _named_scores(map_iou: MapIou) -> dict[str, Score]:
    scores = {**map_iou.by_class, "all images": map_iou.overall}
    return scores if map_iou.weighted is None else {**scores, "weighted": map_iou.weighted}


def _legend(name: str, score: Score) -> str:
    return f"{name}  {score.value:.3f} ({interval_text(score, '{:.3f} to {:.3f}')}), {score.images}"


def interval_text(score: Score, form: str = "{:.4f} to {:.4f}") -> str:
    """The 95 % interval, its two ends put into `form`, or why there is none."""
    if score.low is None or score.high is None:
        return "one image" if score.images == 1 else "one image a cell type"
    return form.format(score.low, score.high)


def _map_iou_column(score: Score, thresholds: Sequence[float]) -> dict[str, str]:
    by_threshold = {f"  at IoU {t:.2f}": _number(v) for t, v in zip(thresholds, score.by_threshold, strict=True)}
    interval = {"  95 % from": _end(score.low), "  to": _end(score.high)}
    return {"images": str(score.images), "map_iou": f"{score.value:.4f}", **interval, **by_threshold}


def _cells_column(cells: CellScores) -> dict[str, str]:
    scores = {"F1 at IoU .5": _number(cells.f1), "PQ": _number(cells.pq), "  SQ": _number(cells.sq), "AJI": _number(cells.aji)}
    return {**scores, "true cells": str(cells.true), "predicted cells": str(cells.predicted), "  ratio": _number(cells.ratio)}


def _ap_column(ap: Ap) -> dict[str, str]:
    column = {"AP": _number(ap.ap), "AP50": _number(ap.ap50), "AP75": _number(ap.ap75), "AR": _number(ap.ar)}
    for name, (low, high) in AREA_BINS.items():
        reach = f">{low:g} px" if high == LARGEST_AREA else f"<{high:g} px"
        column[f"  {name} {reach}"] = _number(ap.by_area[name].ap)
    return column


def _end(value: float | None) -> str:
    """An end of an interval; what has none says so."""
    return "-" if value is None else _number(value)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"
