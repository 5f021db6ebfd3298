"""How far the outlines that weights find lie from the annotators', and what moving them is worth, on the held-out fold.

    python benchmarks/outline_offset.py --data ANNOTATIONS --weights best [--down 0 -0.2 -0.4 -0.6]

Training turns crops in all ways, so a network cannot learn that annotators drew all outlines a part of a pixel beside the cells, as
their drawing tool may do. The first table compares cells found, with the weights' own thresholds and no offset, with the true cells they
match at IoU .5: mean differences of the edges of their boxes and of their centres of mass in pixels of the image, found less true, right
and down positive, as mean over images with its standard error. The second scores offsets like `benchmarks/held_out.py`, each with
thresholds of its own, never chosen on the images they are scored on; differences from the first offset image by image.
"""

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from cross_fit import cross_fitted, halved
from full_set import FULL_SET_IMAGES
from held_out import held_out_samples, predicted, starting_settings
from somaseg.config import PostprocessSettings
from somaseg.evaluation.map_iou import summarise
from somaseg.evaluation.matching import compare_cells
from somaseg.inference.segmenter import load
from somaseg.instances import Instances
from somaseg.postprocessing.steps import postprocess
from somaseg.tuning.trials import Case

MEASURES = ("top", "bottom", "left", "right", "centre, right", "centre, down")
LEAST = 0.5
"""IoU above which a cell found is a true one."""
Floats = NDArray[np.float64]


def centres(cells: Instances) -> Floats:
    """Centres of mass (N, 2), x and y in pixels; a pixel's centre lies at +.5."""
    places = [np.argwhere(mask).mean(axis=0)[::-1] + 0.5 for mask in cells.masks]
    return np.array(places).reshape(-1, 2) + cells.boxes[:, :2]


def differences(found: Instances, truth: Instances) -> Floats:
    """Each of `MEASURES` for the cells that match (P, 6)."""
    comparison = compare_cells(found, truth)
    matched = np.flatnonzero(comparison.iou > LEAST)
    pred, true = comparison.pred[matched], comparison.truth[matched]
    edges = (found.boxes[pred].astype(np.float64) - truth.boxes[true])[:, [1, 3, 0, 2]]
    return np.concatenate([edges, centres(found)[pred] - centres(truth)[true]], axis=1)


def offset_table(cases: list[Case], settings: PostprocessSettings) -> Table:
    """Mean differences by cell type."""
    table = Table("cell type", "images", "matched cells", *MEASURES, title="Found less true, pixels", title_justify="left")
    by_image = [differences(postprocess(case.predictions[0], settings), case.truth) for case in cases]
    for name in sorted({case.cell_type for case in cases}):
        own = [found for case, found in zip(cases, by_image, strict=True) if case.cell_type == name and len(found)]
        means = np.array([found.mean(axis=0) for found in own])
        errors = means.std(axis=0, ddof=1) / len(own) ** 0.5
        values = [f"{mean:+.2f} +-{error:.2f}" for mean, error in zip(means.mean(axis=0), errors, strict=True)]
        table.add_row(name, str(len(own)), str(sum(map(len, own))), *values)
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="annotations that the weights were trained on")
    parser.add_argument("--weights", default="default")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--fold", type=int, default=0)
    parser.add_argument("--down", type=float, nargs="*", default=[0.0, -0.2, -0.4, -0.6], help="offsets to score, pixels down")
    given = parser.parse_args()
    samples = held_out_samples(given.data, given.folds, given.fold)
    segmenter = load(given.weights)
    cases = predicted(segmenter, samples)
    console = Console(width=150)
    console.print(offset_table(cases, segmenter.settings.model_copy(update={"offset": (0.0, 0.0)})))

    types, halves = [case.cell_type for case in cases], halved(samples)
    table = Table("down", "map_iou", "95 %", "difference", "95 %", *sorted(set(types)), "mask thresholds of the halves")
    first: Floats | None = None
    for down in given.down:
        start = starting_settings((0.0, down))
        fitted = cross_fitted(cases, halves, lambda seen, start=start: start)
        result = summarise(fitted.precisions, types, FULL_SET_IMAGES)
        first = fitted.precisions if first is None else first
        # Scores of images less those of the first offset: what `summarise` does with scores it does with their differences.
        gain = summarise(fitted.precisions - first, types, FULL_SET_IMAGES)
        assert result.weighted is not None
        assert gain.weighted is not None
        score, more = result.weighted, gain.weighted
        masks = " / ".join(str(settings.postprocess.mask_thresh) for settings in fitted.settings)
        by_type = [f"{result.by_class[name].value:.4f}" for name in sorted(set(types))]
        table.add_row(
            f"{down:g}", f"{score.value:.4f}", f"{score.low:.4f} - {score.high:.4f}", f"{more.value:+.4f}",
            f"{more.low:+.4f} - {more.high:+.4f}", *by_type, masks,
        )  # fmt: skip
    console.print(table)


if __name__ == "__main__":
    main()
