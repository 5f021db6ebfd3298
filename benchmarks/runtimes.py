"""Torch in float32 and bfloat16, and onnxruntime in float32: time of an image, and whether they find the same cells.

    OMP_NUM_THREADS=1 python benchmarks/runtimes.py IMAGES --count 20

All three see each image in turns in one run. The cells of two runtimes are paired by mask IoU; F1 counts pairs of an IoU of .9 or more.
Processor time, since other programs stretch elapsed time.
"""

import argparse
import time
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import numpy as np
from rich.progress import track
from scipy.optimize import linear_sum_assignment

import somaseg
from somaseg.images.find import list_images
from somaseg.images.read import read_image
from somaseg.instances import Instances
from somaseg.runtimes.choice import PrecisionName, RuntimeName

WAYS: dict[str, tuple[RuntimeName, PrecisionName]] = {
    "torch, float32": ("torch", "float32"),
    "torch, bfloat16": ("torch", "bfloat16"),
    "onnxruntime, float32": ("onnx", "float32"),
}
NEAR = 0.9  # IoU from which a cell is the same cell


@dataclass
class Tally:
    """What a way took and found, and what of it the first way found too."""

    seconds: list[float] = field(default_factory=list)
    cells: list[int] = field(default_factory=list)
    same: int = 0
    equal: int = 0


def pairs(one: Instances, other: Instances) -> tuple[int, int]:
    """How many cells have a partner of an IoU of `NEAR` or more, and of how many no pixel differs."""
    if not len(one) or not len(other):
        return 0, 0
    iou = one.iou(other)
    matched = iou[linear_sum_assignment(-iou)]
    return int((matched >= NEAR).sum()), int((matched == 1).sum())


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", nargs="+", help="files, folders and globs")
    parser.add_argument("--count", type=int, default=20, help="images at most, spread over those found")
    parser.add_argument("--turns", type=int, default=1)
    parser.add_argument("--weights", default="default")
    given = parser.parse_args()
    files: list[Path] = list_images(given.images).files
    files = [files[i] for i in np.unique(np.linspace(0, len(files) - 1, given.count).round().astype(int))]
    segmenters = {name: somaseg.load(given.weights, "cpu", runtime, precision) for name, (runtime, precision) in WAYS.items()}
    tallies = {name: Tally() for name in WAYS}
    warnings.simplefilter("ignore", UserWarning)
    for segmenter in segmenters.values():
        segmenter.segment(read_image(files[0]).picture)  # kernels are made
    for file in track(files, "segmenting"):
        image, found, spent = read_image(file).picture, {}, {name: list[float]() for name in WAYS}
        for _ in range(given.turns):
            for name, segmenter in segmenters.items():
                begin = time.process_time()
                found[name] = segmenter.segment(image)
                spent[name].append(time.process_time() - begin)
        first = found[next(iter(WAYS))]
        for name, tally in tallies.items():
            same, equal = pairs(first, found[name])
            tally.seconds.append(min(spent[name]))
            tally.cells.append(len(found[name]))
            tally.same, tally.equal = tally.same + same, tally.equal + equal
    base = next(iter(tallies.values()))
    print(f"{len(files)} images, {segmenters['onnxruntime, float32'].runtime}")
    print(f"{'':22} {'median':>8} {'/ first':>8} {'cells':>7} {'F1':>7} {'equal to the pixel':>19} {'images with another count':>26}")
    for name, tally in tallies.items():
        ratio = sum(tally.seconds) / sum(base.seconds)
        f1 = 2 * tally.same / (sum(tally.cells) + sum(base.cells))
        other = sum(a != b for a, b in zip(tally.cells, base.cells, strict=True))
        print(f"{name:22} {median(tally.seconds):7.2f}s {ratio:8.2f} {sum(tally.cells):7} {f1:7.4f} {tally.equal:19} {other:26}")


if __name__ == "__main__":
    main()
