"""Post-processing on crops against the dense N x H x W way, in one run on one core.

    python benchmarks/postprocess.py [--detections 800] [--size 520 704] [--cells 300]

The dense way is torchvision's `paste_masks_in_image` (N x H x W floats), mask IoU by one matrix product, greedy NMS, overlap
removal and area filter on full frames. It leaves out the holes and loose pieces that ours mends. Both get the same synthetic
detections, all above the score threshold; each way runs in a process of its own, so that the peak memory is its own (Linux).
"""

import argparse
import multiprocessing
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"  # before NumPy loads its BLAS: one core for both ways

import numpy as np
import torch
from torchvision.models.detection.roi_heads import paste_masks_in_image

from somaseg.config import PostprocessSettings
from somaseg.instances import Prediction
from somaseg.postprocess import postprocess

STEPS = ("vote", "screen", "paste", "mask_nms", "fill_holes", "overlaps", "pieces", "min_area")
SETTINGS = PostprocessSettings(steps=STEPS, score_thresh={"default": 0.05})


def detections(count: int, cells: int, size: tuple[int, int], seed: int = 0) -> Prediction:
    """`count` jittered detections of `cells` round cells with sides of 15 to 60 px."""
    rng = np.random.default_rng(seed)
    pick = rng.integers(0, cells, count)
    centre = (rng.uniform(0, 1, (cells, 2)) * size[::-1])[pick] + rng.normal(0, 2, (count, 2))
    side = np.exp(rng.uniform(np.log(15), np.log(60), (cells, 2)))[pick] * np.exp(rng.normal(0, 0.1, (count, 2)))
    boxes = np.clip(np.concatenate([centre - side / 2, centre + side / 2], axis=1), 0, [*size[::-1]] * 2)
    grid = (np.arange(28) + 0.5) / 14 - 1
    radius = np.hypot(grid[:, None], grid)
    probs = 1 / (1 + np.exp(12 * (radius - 0.9 + rng.normal(0, 0.05, (count, 28, 28)))))
    return Prediction(
        size,
        boxes.astype(np.float32),
        rng.uniform(0.06, 1, count).astype(np.float32),
        np.zeros(count, np.int64),
        probs.astype(np.float16),
        ("cell",),
    )


def on_crops(prediction: Prediction) -> int:
    return len(postprocess(prediction, SETTINGS))


def dense(prediction: Prediction) -> int:
    order = np.argsort(-prediction.scores, kind="stable")
    probs = torch.from_numpy(prediction.mask_probs[order].astype(np.float32))[:, None]
    soft = paste_masks_in_image(probs, torch.from_numpy(prediction.boxes[order]), prediction.size)[:, 0]
    masks = soft >= SETTINGS.mask_thresh["default"]
    flat = masks.flatten(1).float()
    shared = flat @ flat.T
    area = flat.sum(1)
    iou = shared / (area[:, None] + area - shared).clamp(min=1)
    alive = torch.ones(len(masks), dtype=torch.bool)
    for i in range(len(masks)):
        if alive[i]:
            alive[i + 1 :] &= iou[i, i + 1 :] <= SETTINGS.nms_iou
    used = torch.zeros(prediction.size, dtype=torch.bool)
    cells = 0
    for mask in masks[alive]:
        free = mask & ~used
        if mask.sum() - free.sum() <= SETTINGS.max_covered * mask.sum():
            used |= mask
            cells += int(free.sum() >= SETTINGS.min_area["default"])
    return cells


def measure(way: Callable[[Prediction], int], prediction: Prediction, repeats: int) -> tuple[int, float, float]:
    """Cells, median seconds, and MB by which the process grew at its peak."""
    torch.set_num_threads(1)
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew from what is in use
    before = peak_memory()
    cells, seconds = 0, []
    for _ in range(repeats):
        start = time.perf_counter()
        cells = way(prediction)
        seconds.append(time.perf_counter() - start)
    return cells, statistics.median(seconds), peak_memory() - before


def peak_memory() -> float:
    """Largest resident memory of this process so far, MB."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--detections", type=int, default=800)
    parser.add_argument("--cells", type=int, default=300)
    parser.add_argument("--size", type=int, nargs=2, default=(520, 704), metavar=("H", "W"))
    parser.add_argument("--no-dense", action="store_true", help="only the way on crops, where the dense one would not fit into memory")
    arguments = parser.parse_args()
    prediction = detections(arguments.detections, arguments.cells, tuple(arguments.size))
    print(f"{len(prediction)} detections of {arguments.cells} cells, image {arguments.size[1]}x{arguments.size[0]}, one core")
    results = {}
    for name, way, repeats in [("crops", on_crops, 21), ("dense", dense, 3)][: 1 if arguments.no_dense else 2]:
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            cells, seconds, memory = results[name] = pool.apply(measure, (way, prediction, repeats))
        print(f"{name:>6}: {seconds * 1e3:9.1f} ms, peak {memory:7.0f} MB more, {cells} cells")
    if "dense" in results:
        print(f" ratio: {results['dense'][1] / results['crops'][1]:9.1f}")


if __name__ == "__main__":
    main()
