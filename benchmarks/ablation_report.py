"""How an ablation is shown: tables in Markdown, and a forest plot of the differences (see `ablation.py`)."""

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from somaseg.evaluation.map_iou import MapIou, Score
from somaseg.evaluation.report import COLOURS, INK

NAMES = {"": "all", "cort": "cort", "shsy5y": "shsy5y", "astro": "astro"}
"""Columns, by cell type; all of them, in the proportions of the full set, come first."""
COLOUR_OF = dict(zip(NAMES, (INK, *COLOURS), strict=False))


@dataclass(frozen=True)
class Line:
    """A row of the tables.

    Attributes:
        name: of the row.
        against: name of the row that it builds on.
        score: its `map_iou`.
        difference: how much that is above the row that it builds on.
        milliseconds: processor time of an image.
    """

    name: str
    against: str | None
    score: MapIou
    difference: MapIou | None
    milliseconds: float


def tables(lines: Sequence[Line]) -> str:
    """Two tables: the score and the difference of each row; the same by cell type. A difference whose interval leaves out 0 is bold."""
    numbers = {line.name: str(number) for number, line in enumerate(lines, start=1)}
    overall = ["| | | map_iou | 95 % | builds on | difference | 95 % | ms |", "|---|---|---|---|---|---|---|---|"]
    by_class = [f"| | | {' | | '.join(list(NAMES.values())[1:])} | |", "|---" * (2 * len(NAMES)) + "|"]
    for line in lines:
        score, first = line.score.headline, f"| {numbers[line.name]} | {line.name} |"
        base = "" if line.against is None else numbers[line.against]
        change = ("", "") if line.difference is None else _change(line.difference.headline)
        overall.append(
            f"{first} {_number(score.value)} | {_interval(score)} | {base} | {change[0]} | {change[1]} | {line.milliseconds:.1f} |"
        )
        cells = []
        for name in list(NAMES)[1:]:
            own = line.score.by_class[name]
            cells.append(f"{_number(own.value)} {_interval(own)}")
            cells.append("" if line.difference is None else " ".join(_change(line.difference.by_class[name])))
        by_class.append(f"{first} {' | '.join(cells)} |")
    return "\n".join([*overall, "", *by_class]) + "\n"


def forest_figure(lines: Sequence[Line]) -> Figure:
    """The difference of each row to the one that it builds on, with its interval: of all images, and of each cell type."""
    numbers = {line.name: number for number, line in enumerate(lines, start=1)}
    shown = [(line, line.difference) for line in lines if line.difference is not None]
    figure = Figure(figsize=(13, 0.36 * len(shown) + 1.3), layout="constrained")
    panels = figure.subplots(1, len(NAMES), sharey=True, squeeze=False)[0]
    for (name, title), axes in zip(NAMES.items(), panels, strict=True):
        _forest(axes, [difference.by_class[name] if name else difference.headline for _, difference in shown], COLOUR_OF[name])
        axes.set_title(title, loc="left", color=INK, fontsize=10, fontweight="bold")
    labels = [f"{numbers[line.name]}  {line.name}   (on {numbers[line.against or '']})" for line, _ in shown]
    panels[0].set_yticks(range(len(shown)), labels)
    panels[0].invert_yaxis()
    figure.supxlabel(
        "difference in map_iou to the row that it builds on, 95 % interval; open: the interval holds 0; scales differ",
        fontsize=9,
        color=INK,
    )
    return figure


def _forest(axes: Axes, scores: Sequence[Score], colour: str) -> None:
    axes.axvline(0, color="#999999", linewidth=1)
    for place, score in enumerate(scores):
        if score.low is not None:
            axes.plot([score.low, score.high], [place, place], color=colour, linewidth=1.6)
        axes.plot(score.value, place, "o", color=colour, markersize=6, markerfacecolor=colour if score.sign else "white")
    axes.grid(axis="x", color="#dddddd", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color("#999999")
    axes.tick_params(colors="#444444", length=3, labelsize=8)
    axes.tick_params(axis="y", length=0, labelsize=9)
    axes.locator_params(axis="x", nbins=4)


def _change(score: Score) -> tuple[str, str]:
    value = _number(score.value, "+")
    return f"**{value}**" if score.sign else value, _interval(score, "+")


def _interval(score: Score, sign: str = "") -> str:
    return "" if score.low is None or score.high is None else f"[{_number(score.low, sign)}, {_number(score.high, sign)}]"


def _number(value: float, sign: str = "") -> str:
    """Four digits without the 0 before the point, as the documentation has them."""
    return f"{value:{sign}.4f}".replace("0.", ".", 1)
