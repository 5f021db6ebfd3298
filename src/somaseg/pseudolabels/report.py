"""How the screening of pseudo-labels is shown: a picture an image, a table of cells, counts."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from rich.table import Table

from somaseg.evaluation.panels import Panel, sheet
from somaseg.figures import rgba
from somaseg.pseudolabels.evidence import Evidence
from somaseg.pseudolabels.screening import FATES, CellFates, Fate
from somaseg.texts.tables import csv_table, writable

COLOURS: dict[Fate, str] = {"accepted": "#2ee6c5", "ignored": "#ffb000", "dropped": "#b9bcc4"}
"""Told apart by people of any colour vision."""
OPACITY: dict[Fate, float] = {"accepted": 1.0, "ignored": 0.9, "dropped": 0.5}
WIDTH: dict[Fate, float] = {"accepted": 2.0, "ignored": 1.1, "dropped": 0.8}  # px of the picture
CELL_COLUMNS = ("image", "cell", "class", "fate", "reason", "score", "mask_prob", "agreement", "area", "x0", "y0", "x1", "y1")
Row = tuple[str | int | float, ...]


def picture(grey: NDArray[np.float32], name: str, evidence: Evidence, screened: CellFates) -> Image.Image:
    """The image, and beside it its cells by what each is by itself; the title says when the image is left out."""
    cells = evidence.cells
    counts = Counter(screened.own_fates)
    order = np.argsort([-FATES.index(fate) for fate in screened.own_fates], kind="stable").astype(np.int64)  # accepted ones on top
    drawn = [screened.own_fates[i] for i in order]
    colours = np.array([rgba(COLOURS[fate], OPACITY[fate]) for fate in drawn]).reshape(-1, 4)
    detail = f"image left out: {screened.left_out}" if screened.left_out else ", ".join(f"{counts[fate]} {fate}" for fate in FATES)
    plain = Panel(name, "", cells[[]], np.zeros((0, 4)))
    fates = Panel(f"{len(cells)} fused cells", detail, cells[order], colours, np.array([WIDTH[fate] for fate in drawn]))
    reasons = Counter(reason for reason in screened.own_reasons if reason)
    note = "; ".join(f"{reason} {count}" for reason, count in reasons.most_common())
    return sheet(grey, [plain, fates], {COLOURS[fate]: fate for fate in FATES}, note)


def cell_rows(name: str, evidence: Evidence, screened: CellFates) -> list[Row]:
    """A row of `cells.csv` for each cell of an image."""
    cells = evidence.cells
    scores, mask_prob, agreement = (
        np.asarray(v, np.float64).round(4).tolist() for v in (cells.scores, evidence.mask_prob, evidence.agreement)
    )
    areas, boxes = cells.area.tolist(), cells.boxes.tolist()
    return [
        (writable(name), i + 1, cells.classes[label], fate, reason, scores[i], mask_prob[i], agreement[i], areas[i], *boxes[i])
        for i, (label, fate, reason) in enumerate(zip(cells.labels.tolist(), screened.fates, screened.reasons, strict=True))
    ]


def fates_csv(rows: Sequence[Row]) -> bytes:
    """The table of the rows of all images."""
    return csv_table(CELL_COLUMNS, rows)


def count(rows: Iterable[Row], classes: Sequence[str]) -> dict[str, dict[str, int]]:
    """Cells by class and fate."""
    counts = Counter((row[2], row[3]) for row in rows)
    return {name: {fate: counts[name, fate] for fate in FATES} for name in classes}


def count_table(counts: Mapping[str, Mapping[str, int]]) -> Table:
    """The same for people."""
    shown = Table("class", title="Fused cells", title_justify="left")
    for name in ("cells", *FATES):
        shown.add_column(name, justify="right")
    for name, by_fate in counts.items():
        shown.add_row(name, str(sum(by_fate.values())), *(str(by_fate[fate]) for fate in FATES))
    totals = [sum(by_fate[fate] for by_fate in counts.values()) for fate in FATES]
    shown.add_section()
    shown.add_row("all", str(sum(totals)), *map(str, totals))
    return shown
