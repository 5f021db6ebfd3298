"""Plates as pictures: heat maps, curves over time, dose-response curves."""

import io
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from somaseg.errors import MissingExtraError
from somaseg.plates.dose import Curve
from somaseg.plates.names import row_name
from somaseg.plates.wells import Well

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PLATES = ((2, 3), (3, 4), (4, 6), (6, 8), (8, 12), (16, 24), (32, 48))  # rows and columns of plates of 6 to 1536 wells
MOST_PANELS = 24  # curves in a picture
EMPTY = "#e8e8e8"
Series = Sequence[tuple[float, float, float]]


def heat_map(wells: Sequence[Well], readout: str, title: str) -> bytes:
    """The wells of a plate at a time as PNG, in the smallest plate that holds them; wells without a value are grey, controls framed."""
    rows = max(well.row_column[0] for well in wells) + 1
    columns = max(well.row_column[1] for well in wells) + 1
    size = next((plate for plate in PLATES if plate[0] >= rows and plate[1] >= columns), (rows, columns))
    grid = np.full(size, np.nan)
    for well in wells:
        value = well.values.get(readout)
        grid[well.row_column] = np.nan if value is None else value
    edge = min(0.44, 13 / size[1])  # of a well, inches
    figure = _figure(max(4.0, edge * size[1] + 2), max(2.8, edge * size[0] + 1.2))
    axes = figure.subplots()
    axes.set_facecolor(EMPTY)
    shown = axes.imshow(grid, cmap="viridis", aspect="equal")
    figure.colorbar(shown, ax=axes, label=_words(readout), shrink=0.9)
    axes.set_xticks(range(size[1]), [str(column + 1) for column in range(size[1])], fontsize=8 if size[1] <= 24 else 6)
    axes.set_yticks(range(size[0]), [row_name(row) for row in range(size[0])], fontsize=8 if size[0] <= 16 else 6)
    axes.tick_params(length=0, top=True, labeltop=True, bottom=False, labelbottom=False)
    axes.set_xticks(np.arange(size[1] + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(size[0] + 1) - 0.5, minor=True)
    axes.grid(which="minor", color="white", linewidth=1)
    axes.tick_params(which="minor", length=0)
    _frame_controls(axes, wells)
    axes.set_title(_plain(title), fontsize=10)
    return _png(figure)


def time_curves(panels: Mapping[str, Mapping[str, Series]], control: Series, readout: str, unit: str, title: str) -> bytes:
    """A panel a treatment as PNG: means of the wells of each dose over time, with a standard deviation on both sides.

    Args:
        panels: by treatment and dose, which rises: time, mean and standard deviation (NaN where one well) at each time.
        control: of the negative control, which every panel shows in grey; empty where there is none.
        readout: what is drawn.
        unit: of the time.
        title: of the picture.
    """
    shown = dict(list(panels.items())[:MOST_PANELS])
    figure, axes_of = _panels(shown, 3.4, 2.9)
    for axes, (name, lines) in zip(axes_of, shown.items(), strict=False):
        if control:
            _line(axes, control, "#8a8a8a", "negative control")
        for (label, points), colour in zip(lines.items(), _colours(len(lines)), strict=True):
            _line(axes, points, colour, label)
        axes.set_title(_plain(name or "all wells"), fontsize=9)
        axes.tick_params(labelsize=8)
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
        if control or len(lines) > 1:
            axes.legend(fontsize=6, frameon=False, ncols=1 + len(lines) // 7)
    figure.supxlabel(unit, fontsize=9)
    figure.supylabel(_words(readout), fontsize=9)
    more = f", {len(panels) - len(shown)} more treatments in wells.csv" if len(panels) > len(shown) else ""
    figure.suptitle(_plain(title + more), fontsize=10)
    return _png(figure)


def dose_curves(curves: Mapping[str, tuple[Sequence[float], Sequence[float], Curve]], readout: str, title: str) -> bytes:
    """A panel a treatment as PNG: the wells, the curve, its EC50 with the interval; where there is no curve, why."""
    shown = dict(list(curves.items())[:MOST_PANELS])
    figure, axes_of = _panels(shown, 3.4, 2.9)
    for axes, (name, (dose, value, curve)) in zip(axes_of, shown.items(), strict=False):
        _dose_panel(axes, np.array(dose, np.float64), np.array(value, np.float64), curve)
        axes.set_title(_plain(name), fontsize=9)
    figure.supxlabel("dose", fontsize=9)
    figure.supylabel(_words(readout), fontsize=9)
    more = f", {len(curves) - len(shown)} more in dose.csv" if len(curves) > len(shown) else ""
    figure.suptitle(_plain(title + more), fontsize=10)
    return _png(figure)


def _panels(shown: Mapping[str, Any], width: float, height: float) -> "tuple[Figure, list[Axes]]":
    """A figure with a panel for each, at most four beside each other."""
    columns = min(4, len(shown))
    rows = -(-len(shown) // columns)
    figure = _figure(width * columns, height * rows + 0.3)
    panels = list(figure.subplots(rows, columns, sharey=True, squeeze=False).ravel())
    for axes in panels[len(shown) :]:
        axes.set_visible(False)
    return figure, panels


def _line(axes: "Axes", points: Series, colour: Any, label: str) -> None:
    time, mean, spread = np.array(points, np.float64).T
    axes.plot(time, mean, "o-", markersize=3, linewidth=1.2, color=colour, label=_plain(label))
    axes.fill_between(time, mean - np.nan_to_num(spread), mean + np.nan_to_num(spread), color=colour, alpha=0.12, linewidth=0)


def _dose_panel(axes: "Axes", dose: Any, value: Any, curve: Curve) -> None:
    positive = dose[dose > 0]
    least = float(positive.min()) if len(positive) else 1.0
    zero = least / 10  # where a dose of 0 stands on the axis
    axes.plot(np.where(dose > 0, dose, zero), value, "o", color="#3b6ea5", markersize=4, alpha=0.7)
    axes.set_xscale("log")
    if not curve.why:
        x = np.geomspace(zero, float(positive.max()), 200)
        axes.plot(x, curve.at(x), color="#c0392b", linewidth=1.5)
        axes.axvline(curve.ec50, color="#c0392b", linewidth=0.8, linestyle=":")
        low, high = curve.interval
        axes.axvspan(low or zero, high or float(positive.max()), color="#c0392b", alpha=0.1, linewidth=0)
        ends = f"{'?' if low is None else f'{low:.3g}'} to {'?' if high is None else f'{high:.3g}'}"
        text = f"EC50 {curve.ec50:.3g}\n({ends})"
    else:
        text = "no curve:\n" + _wrapped(curve.why)
    axes.text(0.03, 0.03, text, transform=axes.transAxes, fontsize=7, va="bottom", bbox={"facecolor": "white", "alpha": 0.7, "lw": 0})
    if (dose == 0).any():
        axes.axvline(least / 3, color="grey", linewidth=0.8, linestyle="--")
        axes.text(zero, 1.0, "0", transform=axes.get_xaxis_transform(), fontsize=7, ha="center", va="top")
    axes.tick_params(labelsize=8)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)


def _frame_controls(axes: "Axes", wells: Sequence[Well]) -> None:
    from matplotlib.patches import Patch, Rectangle

    kinds = {"negative": "white", "positive": "#e4342e"}  # inside a black line, so that they are seen on every colour
    for well in wells:
        if well.content.control is not None:
            row, column = well.row_column
            colour = kinds[well.content.control]
            axes.add_patch(Rectangle((column - 0.47, row - 0.47), 0.94, 0.94, fill=False, edgecolor="black", linewidth=1.4))
            axes.add_patch(Rectangle((column - 0.41, row - 0.41), 0.82, 0.82, fill=False, edgecolor=colour, linewidth=1.4))
    seen = [kind for kind in kinds if any(well.content.control == kind for well in wells)]
    if seen:
        handles = [Patch(facecolor=kinds[kind], edgecolor="black", label=f"{kind} control") for kind in seen]
        axes.legend(handles=handles, fontsize=7, frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.02), ncols=2)


def check_drawing() -> None:
    """Raise MissingExtraError where nothing can be drawn."""
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError:
        raise MissingExtraError("matplotlib", "plots") from None


def _figure(width: float, height: float) -> "Figure":
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def _png(figure: "Figure") -> bytes:
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # names in letters that the font lacks
        figure.savefig(buffer, format="png", dpi=150)
    return buffer.getvalue()


def _colours(count: int) -> list[Any]:
    """From dark to light, in the order of the doses."""
    from matplotlib import colormaps

    return list(colormaps["viridis"](np.linspace(0, 0.9, count)))


def _plain(text: str) -> str:
    """A text that matplotlib takes for no formula."""
    return text.replace("$", r"\$")


def _words(readout: str) -> str:
    name = readout.replace("_percent", " (%)").replace("_um2", " (µm²)").replace("_um", " (µm)").replace("_mm2", " mm²").replace("_", " ")
    return _plain(name)


def _wrapped(text: str, width: int = 34) -> str:
    import textwrap

    return _plain("\n".join(textwrap.wrap(text, width)))
