"""Each model alone and each way to fuse them, on the same saved predictions: accuracy and time.

    somaseg predict IMAGES --weights MODEL_A --out predictions/a        (and so on, one folder a model)
    python benchmarks/fusion_table.py ANNOTATIONS predictions/a predictions/b ... [--alone predictions/ensemble] [--out table.json]

The images must be ones that no model was trained on. The folders come in the order of fusion, the best model first; those after
`--alone` are scored, but take no part in fusion. Every row's
thresholds are chosen on one half of the images, by field of view, and scored on the other (`cross_fit.py`). The score is `map_iou` in the
proportions of the full data set, with the 95 % interval of a bootstrap over images; the difference is that to the best single
model on the same images, drawn together, so that it is sure where its interval leaves out 0. The time of an image is the processor
time of post-processing and fusion, with the thresholds that the script starts from.
"""

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"  # before NumPy loads its BLAS: processor time is that of one core

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from rich.table import Table

from cross_fit import GRID, Case, Way, cell_types, cross_fitted, precisions
from somaseg.config import FuseSettings, PostprocessSettings
from somaseg.data.annotations import read_annotations
from somaseg.fuse import fuse
from somaseg.instances import Instances, Prediction
from somaseg.metrics import FULL_SET_IMAGES, Score, summarise
from somaseg.postprocess import postprocess
from somaseg.predictions import load_prediction, paired_files

Fit = Callable[[Sequence[Case]], Way]
START = PostprocessSettings()


def member(number: int) -> Fit:
    """One model alone."""

    def way(predictions: Sequence[Prediction], thresholds: PostprocessSettings) -> Instances:
        return postprocess(predictions[number], thresholds)

    return lambda seen: way


def fused(settings: FuseSettings, models: int) -> Fit:
    """The first models fused."""
    return lambda seen: lambda predictions, thresholds: fuse(predictions[:models], settings, thresholds)[0]


def rescored(method: Any, models: int) -> Fit:
    """Fusion with each model's scores times its `map_iou` on the images seen, over that of the best model for the cell type."""

    def fit(seen: Sequence[Case]) -> Way:
        types = np.array(cell_types(seen))
        scores = [precisions(seen, member(number)(seen), START).mean(axis=1) for number in range(models)]
        by_type = {name: np.array([values[types == name].mean() for values in scores]) for name in sorted(set(types.tolist()))}
        factors = {name: values / max(values.max(), 1e-9) for name, values in by_type.items()}
        weights = tuple({"default": 1.0, **{name: float(f[number]) for name, f in factors.items()}} for number in range(len(scores)))
        return fused(FuseSettings(method=method, member_weights=weights), models)(seen)

    return fit


def milliseconds(cases: Sequence[Case], way: Way) -> float:
    """Median processor time of an image."""
    seconds = []
    for predictions, _ in cases:
        start = time.process_time()
        way(predictions, START)
        seconds.append(time.process_time() - start)
    return statistics.median(seconds) * 1e3


def weighted(table: NDArray[np.float64], types: Sequence[str]) -> Score:
    score = summarise(table, types, FULL_SET_IMAGES).weighted
    assert score is not None
    return score


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("truth", type=Path, help="annotations of the images")
    parser.add_argument("folders", type=Path, nargs="+", help="predictions, a folder a model, the best one first")
    parser.add_argument("--alone", type=Path, nargs="*", default=[], help="predictions to score that are not fused, such as an ensemble's")
    parser.add_argument("--fields", nargs="+", choices=tuple(GRID), default=tuple(GRID), help="thresholds to choose")
    parser.add_argument("--out", type=Path, help="write the numbers to this JSON file")
    arguments = parser.parse_args()

    models = len(arguments.folders)
    files = paired_files([*arguments.folders, *arguments.alone])
    samples = [sample for sample in read_annotations(arguments.truth) if sample.name in files]
    cases: list[Case] = [([load_prediction(path).prediction for path in files[s.name]], s) for s in samples]
    types = cell_types(cases)
    fits: dict[str, Fit] = {f"{folder.name} alone": member(i) for i, folder in enumerate([*arguments.folders, *arguments.alone])}
    fits |= {f"fused: {method}": fused(FuseSettings(method=method), models) for method in ("screening", "nms", "mask_nms", "weighted")}
    fits |= {f"fused: {method}, re-scored": rescored(method, models) for method in ("screening", "mask_nms")}
    tables = {
        name: cross_fitted(cases, fit, START, arguments.fields) for name, fit in track(fits.items(), "choosing thresholds and scoring")
    }
    best = max(list(fits)[:models], key=lambda name: weighted(tables[name], types).value)

    shown = Table(title=f"{len(cases)} images, {models} models")
    for column in ("", "map_iou", *sorted(set(types)), f"more than {best}", "ms an image"):
        shown.add_column(column)
    rows = {}
    for name, table in tables.items():
        score, difference = weighted(table, types), weighted(table - tables[best], types)
        by_class = summarise(table, types).by_class
        rows[name] = {
            "map_iou": score.model_dump(),
            "by_class": {cell_type: found.model_dump() for cell_type, found in by_class.items()},
            "difference": difference.model_dump(),
            "milliseconds": milliseconds(cases, fits[name](cases)),
        }
        shown.add_row(
            name,
            f"{score.value:.4f} [{score.low:.4f}, {score.high:.4f}]",
            *(f"{by_class[cell_type].value:.4f}" for cell_type in sorted(by_class)),
            f"{difference.value:+.4f} [{difference.low:+.4f}, {difference.high:+.4f}]",
            f"{rows[name]['milliseconds']:.1f}",
        )
    Console().print(shown)
    if arguments.out:
        arguments.out.write_text(json.dumps({"best": best, "rows": rows}, indent=1))


if __name__ == "__main__":
    main()
