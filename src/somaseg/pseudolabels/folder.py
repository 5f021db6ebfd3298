"""The folder of a run of `pseudo`: what is written of each image, and of the whole run.

DIR/annotations.json   COCO JSON: accepted cells with their scores, ignored ones as ignored regions, groups
DIR/pictures/NAME.png  each image with its accepted, ignored and dropped cells
DIR/cells.csv          a row a fused cell, with its fate and why
DIR/run.json           how they were made, counts, images that are left out, what went wrong
"""

import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from rich.table import Table

from somaseg.annotations.samples import Sample
from somaseg.annotations.write import write_coco
from somaseg.batch.saved.saved_runs import SavedRuns, about_models
from somaseg.batch.summary import counted, failed
from somaseg.config import PseudoRunSettings
from somaseg.export.overlay import png
from somaseg.files import write_whole
from somaseg.images.normalize import to_grey
from somaseg.images.read import read_image
from somaseg.provenance import Manifest
from somaseg.pseudolabels.evidence import Evidence
from somaseg.pseudolabels.groups import Groups
from somaseg.pseudolabels.report import Row, cell_rows, count, count_table, fates_csv, picture
from somaseg.pseudolabels.screening import CellFates


@dataclass(frozen=True)
class PseudoSummary:
    """What a run did.

    Attributes:
        out: the folder with the results.
        images: images with pseudo-labels.
        cells: cells by class and fate, those of images that are left out as dropped.
        left_out: why an image is left out, by name.
        failures: what went wrong, by file.
        notes: what a reader must know.
        seconds: of the whole run.
    """

    out: Path
    images: int
    cells: dict[str, dict[str, int]]
    left_out: dict[str, str]
    failures: dict[str, str]
    notes: tuple[str, ...]
    seconds: float

    def table(self) -> Table:
        """Cells by class and fate."""
        return count_table(self.cells)

    def text(self) -> str:
        """The rest for people, a line a fact."""
        lines = [f"note: {note}" for note in self.notes]
        lines += [f"left out: {name}: {reason}" for name, reason in self.left_out.items()]
        lines += [f"failed: {reason}" for reason in self.failures.values()]
        lines.append(f"{counted(self.images, 'image')} with pseudo-labels, {len(self.left_out)} left out, in {self.seconds:.1f} s")
        lines += failed(self.failures)
        return "\n".join([*lines, f"results in {self.out}"])


class PseudoFolder:
    """Pseudo-labels by image, as far as they are made.

    Args:
        out: the folder; it need not be there.
        groups: of the images, and why some are left out.
    """

    def __init__(self, out: Path, groups: Groups) -> None:
        self.out, self.groups = out, groups
        self.samples: list[Sample] = []
        self.rows: list[Row] = []
        self.left_out: dict[str, str] = {}

    def add(self, sample: Sample, evidence: Evidence, fates: CellFates) -> None:
        """Draw an image, and keep what became of its cells.

        Args:
            sample: the image, without cells.
            evidence: its fused cells.
            fates: of these.
        """
        name = sample.name
        if name in self.groups.left_out:
            fates = replace(fates, left_out=self.groups.left_out[name])
        drawn = picture(to_grey(np.asarray(read_image(sample.image).picture)), name, evidence, fates)
        write_whole(self.out / "pictures" / f"{name}.png", png(drawn))
        self.rows += cell_rows(name, evidence, fates)
        if fates.left_out:
            self.left_out[name] = fates.left_out
            return
        accepted, ignored = (evidence.cells[fates.where(fate)] for fate in ("accepted", "ignored"))
        # Made anew, so that the cell type is that of the accepted cells.
        self.samples.append(
            Sample(sample.image, accepted, name, self.groups.of.get(name), source="pseudo", pixel_size=sample.pixel_size, ignored=ignored)
        )

    def finish(
        self, runs: SavedRuns, settings: PseudoRunSettings, notes: tuple[str, ...], failures: Mapping[str, str], begin: float
    ) -> PseudoSummary:
        """Write annotations, table and manifest.

        Args:
            runs: the predictions of the models.
            settings: how cells were fused and screened.
            notes: what a reader must know.
            failures: what went wrong, by file.
            begin: when the run began, by `time.perf_counter`.
        """
        write_coco(self.samples, self.out / "annotations.json")
        write_whole(self.out / "cells.csv", fates_csv(self.rows))
        if not self.samples:
            notes = (*notes, "no image has pseudo-labels: there is nothing to train on")
        cells, seconds = count(self.rows, runs.classes), round(time.perf_counter() - begin, 3)
        manifest = Manifest(
            settings=settings.model_dump(mode="json"),
            models=about_models(runs),
            images=len(self.samples),
            failures=failures,
            seconds=seconds,
            cells=cells,
            more={
                "reasons": dict(Counter(reason for row in self.rows if (reason := row[4]))),
                "groups": {sample.name: sample.group for sample in self.samples},
                "left_out": self.left_out,
                "notes": notes,
            },
        )
        write_whole(self.out / "run.json", manifest.json())
        return PseudoSummary(self.out, len(self.samples), cells, self.left_out, dict(failures), notes, seconds)
