"""Score a whole data set: `map_iou` beside the same score from pairwise mask IoU, and everything that `somaseg evaluate` computes.

    python benchmarks/evaluate.py ANNOTATIONS [--dense-images 20]

The truth is any annotation that somaseg reads; the prediction is the truth with cells left out, moved and widened. The peers are
faster-coco-eval's IoU of every pair of run-length codes (the codes are made beforehand, their time stands apart), and a matrix
product of full frames, on a few images as it is slow. All count matches in the same way, and the scores must be equal.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from faster_coco_eval.core import mask as coco_mask
from numpy.typing import NDArray
from scipy import ndimage, sparse
from scipy.sparse.csgraph import maximum_bipartite_matching

from somaseg.annotations.read import read_annotations
from somaseg.evaluation.evaluate import score_samples
from somaseg.evaluation.map_iou import map_iou
from somaseg.evaluation.matching import THRESHOLDS, precision
from somaseg.instances import Instances

Pairs = list[tuple[Instances, Instances]]
Codes = list[tuple[list[dict[str, Any]], list[dict[str, Any]]]]
Value = TypeVar("Value")


def perturbed(truth: Instances, random: np.random.Generator) -> Instances:
    """A prediction with the usual faults: a tenth of the cells missing, the others up to 2 px aside and up to 2 px too wide."""
    cells = []
    height, width = truth.size
    for (x0, y0), mask in zip(truth.boxes[:, :2], truth.masks, strict=True):
        if random.random() < 0.1:
            continue
        wider = np.pad(mask, 2)
        if random.random() < 0.7:
            wider = ndimage.binary_dilation(wider, iterations=int(random.integers(1, 3)))
        x, y = int(x0 + random.integers(-4, 1)), int(y0 + random.integers(-4, 1))
        left, top = max(0, -x), max(0, -y)
        crop = wider[top : max(0, height - y), left : max(0, width - x)]
        if crop.any():
            cells.append(((x + left, y + top, x + left + crop.shape[1], y + top + crop.shape[0]), crop))
    return Instances.build(truth.size, cells, truth.classes, scores=random.random(len(cells)))


def pairwise_map_iou(codes: Codes) -> float:
    """`map_iou` from faster-coco-eval's IoU of every pair of run-length codes."""
    return float(np.mean([_counted(_coco_iou(pred, truth)) for pred, truth in codes]))


def _coco_iou(pred: list[dict[str, Any]], truth: list[dict[str, Any]]) -> NDArray[np.float64]:
    iou: NDArray[np.float64] = np.asarray(coco_mask.iou(pred, truth, [0] * len(truth)), np.float64).reshape(len(pred), len(truth))
    return iou


def dense_map_iou(pairs: Pairs) -> float:
    """`map_iou` from full frames: shared pixels as a matrix product of N x HW and HW x M."""
    return float(np.mean([_counted(_dense_iou(pred, truth)) for pred, truth in pairs]))


def _dense_iou(pred: Instances, truth: Instances) -> NDArray[np.float64]:
    left, right = (cells.to_masks().reshape(len(cells), -1).astype(np.float32) for cells in (pred, truth))
    shared = (left @ right.T).astype(np.float64)
    iou: NDArray[np.float64] = shared / np.maximum(left.sum(1)[:, None] + right.sum(1)[None] - shared, 1)
    return iou


def _counted(iou: NDArray[np.float64]) -> float:
    tp = np.array([(maximum_bipartite_matching(sparse.csr_array(iou > t), perm_type="column") >= 0).sum() for t in THRESHOLDS])
    return float(precision(tp, iou.shape[0] - tp, iou.shape[1] - tp).mean())


def _timed(function: Callable[[], Value]) -> tuple[Value, float]:
    start = time.perf_counter()
    value = function()
    return value, time.perf_counter() - start


def compare(title: str, ours: tuple[float, float], peer_name: str, peer: tuple[float, float]) -> None:
    """Print two scores with their seconds, which must be the same score."""
    print(title)
    for name, (value, seconds) in (("map_iou", ours), (peer_name, peer)):
        print(f"  {name:<42} {value:.6f} {seconds:8.2f} s {seconds / ours[1]:6.1f} x")
    if abs(ours[0] - peer[0]) > 1e-12:
        raise SystemExit("the two scores differ")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("annotations", type=Path, help="anything that somaseg reads")
    parser.add_argument("--dense-images", type=int, default=20, help="images for the way by full frames")
    given = parser.parse_args()
    samples = read_annotations(given.annotations)
    random = np.random.default_rng(0)
    pairs = [(perturbed(sample.instances, random), sample.instances) for sample in samples]
    types = [sample.type_name for sample in samples]

    ours = _timed(lambda: map_iou(pairs, types).overall.value)
    codes, encoding = _timed(lambda: [(pred.to_rle(), truth.to_rle()) for pred, truth in pairs])
    peer = _timed(lambda: pairwise_map_iou(codes))
    title = f"{len(pairs)} images, {sum(len(truth) for _, truth in pairs)} true cells"
    compare(title, ours, "from faster-coco-eval's mask IoU", peer)
    print(f"  run-length encoding for it {encoding:31.2f} s {encoding / ours[1]:6.1f} x")

    few = pairs[:: max(1, len(pairs) // given.dense_images)][: given.dense_images]
    ours = _timed(lambda: map_iou(few, types[: len(few)]).overall.value)
    compare(f"{len(few)} of these images", ours, "from full frames", _timed(lambda: dense_map_iou(few)))

    predictions = {sample.name: pred for sample, (pred, _) in zip(samples, pairs, strict=True)}
    _, seconds = _timed(lambda: score_samples(samples, predictions))
    print(f"all scores of somaseg evaluate on all images: {seconds:.2f} s")


if __name__ == "__main__":
    main()
