"""How tuning is shown to people: what it was worth in a few lines, the thresholds in a table, the response to each in a picture."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from rich.table import Table

from somaseg.config import SegmentSettings
from somaseg.evaluation.map_iou import Score
from somaseg.evaluation.report import COLOURS, INK, interval_text
from somaseg.figures import new_figure
from somaseg.tuning.cross_fitting import FEWEST_IMAGES, SearchResult, TuningResult
from somaseg.tuning.thresholds import Threshold

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def verdict(tuned: TuningResult) -> str:
    """The scores, and whether the gain is more than chance, a line a fact."""
    start, fitted, gain = tuned.start.headline, tuned.cross_fitted.headline, tuned.gain.headline
    weights = tuned.start.weights or {}
    proportions = f", weighted by cell type ({', '.join(f'{name} {share:g}' for name, share in weights.items())})" if weights else ""
    sure = (
        "The gain is outside the noise."
        if tuned.is_sure
        else f"These are too few images to tell a gain from noise: give {FEWEST_IMAGES} or more."
        if tuned.images < FEWEST_IMAGES
        else "Tuning made it worse, and that is outside the noise."
        if gain.sign < 0
        else "No cell type has two images, so that nothing tells a gain from noise."
        if gain.low is None
        else "The gain is inside the noise: its interval holds 0, so that these images do not tell the two apart."
    )
    return "\n".join(
        (
            f"map_iou of {tuned.images} images{proportions}, with 95 % intervals:",
            f"  thresholds to begin with          {_interval(start)}",
            f"  cross-fitted                      {_interval(fitted)}",
            f"  gain, image by image              {_interval(gain, '+')}",
            sure,
        )
    )


def threshold_table(tuned: TuningResult) -> Table:
    """Each threshold: to begin with, chosen on all images, and without each fold; what differs much between folds is not known well."""
    table = Table(title="Thresholds", title_justify="left")
    table.add_column("", no_wrap=True)
    for column in ("to begin with", "chosen on all", *(f"without fold {number}" for number in range(len(tuned.by_fold)))):
        table.add_column(column, justify="right")
    for name, value in tuned.before.items():
        found = (value, tuned.chosen[name], *(values.get(name) for values in tuned.by_fold))
        table.add_row(name.removeprefix("postprocess."), *("" if number is None else f"{number:g}" for number in found))
    return table


def tuning_table(tuned: TuningResult) -> Table:
    """The scores of each cell type."""
    table = Table("cell type", title="map_iou by cell type of the image", title_justify="left")
    for column in ("images", "to begin with", "cross-fitted", "gain"):
        table.add_column(column, justify="right", no_wrap=True)
    for name, start in tuned.start.by_class.items():
        fitted, gain = tuned.cross_fitted.by_class[name], tuned.gain.by_class[name]
        table.add_row(name, str(start.images), f"{start.value:.4f}", f"{fitted.value:.4f}", _interval(gain, "+"))
    return table


def response_figure(found: SearchResult, written: SegmentSettings) -> "Figure":
    """The score of every trial against each threshold, a row a class, and one for the thresholds that all classes share.

    All thresholds of a trial vary at once, so that a value is as good as the best trials near it: the line joins those.

    Args:
        found: the search on all images.
        written: what the settings file holds: the chosen thresholds, or those to begin with.
    """
    rows: dict[str | None, list[Threshold]] = {}
    for threshold in found.tuned:
        rows.setdefault(threshold.cell_type, []).append(threshold)
    columns = max(len(row) for row in rows.values())
    figure = new_figure(3.1 * columns + 0.6, 2.5 * len(rows) + 0.7)
    grid = figure.subplots(len(rows), columns, squeeze=False)
    for (cell_type, row), line, colour in zip(rows.items(), grid, (INK, *COLOURS * len(rows)), strict=False):
        scores = [trial.score if cell_type is None else trial.by_class[cell_type] for trial in found.trials]
        for axes, threshold in zip(line, row, strict=False):
            _response(axes, threshold, found, written, scores, colour)
        line[0].set_ylabel(f"map_iou, {cell_type or 'all classes'}", color=INK)
        low = float(np.quantile(scores, 0.25))
        for axes in line:
            axes.set_ylim(low - 0.1 * (max(scores) - low) - 1e-3, max(scores) + 0.08 * (max(scores) - low) + 1e-3)
        for axes in line[len(row) :]:
            axes.set_visible(False)
    handles, labels = grid[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=5, frameon=False, fontsize=9)
    figure.suptitle("Response to each threshold, on all images", x=0.01, ha="left", color=INK, fontweight="bold")
    return figure


def _response(
    axes: "Axes", threshold: Threshold, found: SearchResult, written: SegmentSettings, scores: Sequence[float], colour: str
) -> None:
    values = [trial.values[threshold.name] for trial in found.trials]
    axes.plot(values, scores, "o", color=colour, alpha=0.35, markersize=4, markeredgewidth=0, label="a trial")
    best = _upper(values, scores)
    axes.plot([values[i] for i in best], [scores[i] for i in best], color=colour, linewidth=1.2, alpha=0.8, label="best thereabouts")
    axes.axvline(threshold.start, color="#999999", linewidth=1.2, linestyle=(0, (3, 2)), label="to begin with")
    axes.axvline(found.chosen.values[threshold.name], color="#D55E00", linewidth=1.6, label="chosen")
    axes.plot(
        threshold.value_in(written), 0, "^", color=INK, markersize=9, clip_on=False, zorder=5,
        transform=axes.get_xaxis_transform(), label="in the settings file",
    )  # fmt: skip
    section = "fuse." if threshold.section == "fuse" else ""
    axes.set_xlabel(f"{section}{threshold.field}", color=INK)
    axes.grid(axis="y", color="#dddddd", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color("#999999")
    axes.tick_params(colors="#444444", length=3, labelsize=8)


def _upper(values: Sequence[float], scores: Sequence[float]) -> list[int]:
    """The best trial of each tenth of the range of values."""
    tenth = np.minimum((np.array(values) - min(values)) / max(max(values) - min(values), 1e-9) * 10, 9).astype(int)
    best = [max(np.flatnonzero(tenth == number).tolist(), key=lambda i: scores[i]) for number in np.unique(tenth)]
    return sorted(best, key=lambda i: values[i])


def _interval(score: Score, sign: str = "") -> str:
    return f"{score.value:{sign}.4f} [{interval_text(score, f'{{:{sign}.4f}}, {{:{sign}.4f}}')}]"
