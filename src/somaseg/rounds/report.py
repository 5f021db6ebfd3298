"""How rounds of self-training are shown: the plan as a table, and everything as one page that needs no other file."""

import base64
import io
from collections.abc import Sequence
from importlib import resources
from pathlib import Path

import jinja2
import numpy as np
from PIL import Image
from rich.table import Table

from somaseg.evaluation.map_iou import Score
from somaseg.evaluation.report import interval_text
from somaseg.figures import new_figure
from somaseg.pseudolabels.screening import FATES
from somaseg.rounds.status import COLUMNS, UNKNOWN, LabelledRound, RoundScores, StageRow, duration, size

PICTURES, WIDTH = 6, 1400  # of a round, and px of each


def plan_table(rows: Sequence[StageRow]) -> Table:
    """The stages for the screen, and what is left to do."""
    left = [row for row in rows if row.state not in ("done", "skipped")]
    known = [row.estimate for row in left if row.estimate is not None]
    time = duration(sum(known) if len(known) == len(left) else None)
    caption = f"left: {time} with one task after another, {size(sum(row.disk for row in left))} on disk"
    if time == UNKNOWN:
        caption += "; give seconds_per_step and seconds_per_image for estimates (`somaseg train CONFIG --dry-run` measures a step)"
    table = Table(*COLUMNS, title="Rounds", title_justify="left", caption=caption, caption_justify="left")
    for row in rows:
        table.add_row(*row.texts())
    return table


def page(
    out: Path, rows: Sequence[StageRow], scores: Sequence[RoundScores], best: int | None, spread: float, labelled: Sequence[LabelledRound]
) -> str:
    """The page, as HTML with its pictures inside.

    Args:
        out: folder of the rounds.
        rows: the stages.
        scores: of the rounds so far, from round 0.
        best: the round to keep so far.
        spread: standard deviation of the score between seeds.
        labelled: what each round made of the unlabelled images.
    """
    template = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined).from_string(
        resources.files("somaseg").joinpath("rounds/page.html").read_text(encoding="utf-8")
    )
    types = list(scores[0].fused.by_class) if scores else []
    return template.render(
        out=out,
        columns=COLUMNS,
        stages=[(row.state, row.texts()) for row in rows],
        types=types,
        scores=[(number, _score_rows(one, types)) for number, one in enumerate(scores)],
        weighted=bool(scores) and scores[0].fused.weighted is not None,
        held_out=scores[0].fused.overall.images if scores else 0,
        best=best,
        best_score=None if best is None else scores[best].fused.headline,
        spread=spread,
        chart=_chart(scores) if scores else "",
        interval=interval_text,
        fates=FATES,
        labelled=[(one, [(path.stem, _embedded(path)) for path in _some(one.pictures)]) for one in labelled],
    )


def _score_rows(scores: RoundScores, types: Sequence[str]) -> list[tuple[str, Score, list[Score | None]]]:
    results = {**scores.members, "all members, fused": scores.fused}
    return [(name, result.headline, [result.by_class.get(one) for one in types]) for name, result in results.items()]


def _chart(scores: Sequence[RoundScores]) -> str:
    """Scores against rounds, as SVG."""
    figure = new_figure(6.4, 3.6)
    axes = figure.subplots()
    rounds = np.arange(len(scores))
    for number, name in enumerate(scores[0].members):
        own = [one.members[name].headline.value for one in scores]
        axes.plot(rounds, own, color="#8a93a5", linewidth=1, marker="o", markersize=4, label=None if number else "each member")
    fused = [one.fused.headline for one in scores]
    values = np.array([one.value for one in fused])
    low, high = (np.array([getattr(one, end) for one in fused], np.float64) for end in ("low", "high"))  # NaN, no bar, where there is none
    label = "fused" if np.isnan(low).all() else "fused, 95 % interval"
    around = [values - low, high - values]
    axes.errorbar(rounds, values, around, color="#0072B2", linewidth=2, marker="s", markersize=6, capsize=4, label=label)
    axes.set(xlabel="round", ylabel="out-of-fold map_iou", xticks=rounds, xlim=(-0.3, len(scores) - 0.7))
    axes.grid(axis="y", color="#dddddd", linewidth=0.8)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=9)
    text = io.StringIO()
    figure.savefig(text, format="svg", metadata={"Date": None})
    return text.getvalue()[text.getvalue().index("<svg") :]


def _some(paths: Sequence[Path]) -> list[Path]:
    """At most `PICTURES` of them, spread evenly."""
    return [paths[i] for i in np.unique(np.linspace(0, len(paths) - 1, min(len(paths), PICTURES)).astype(int))] if paths else []


def _embedded(path: Path) -> str:
    """A picture as the text of a link."""
    image = Image.open(path).convert("RGB")
    image.thumbnail((WIDTH, WIDTH))
    data = io.BytesIO()
    image.save(data, format="JPEG", quality=82)
    return "data:image/jpeg;base64," + base64.b64encode(data.getvalue()).decode()
