"""Post-processing on crops against the dense N x H x W way, in one run on one core.

    python benchmarks/postprocess.py [--detections 800] [--size 520 704] [--cells 300]
    python benchmarks/postprocess.py --plot docs/postprocess_growth.png

The dense way is torchvision's `paste_masks_in_image` (N x H x W floats), mask IoU by one matrix product, greedy NMS, overlap
removal and area filter on full frames. It leaves out the holes and loose pieces that ours mends. Both get the same synthetic
detections, all above the score threshold; each way runs in a process of its own, so that the peak memory is its own (Linux).

`--plot` runs ours alone on 500 to 50,000 detections, all at the density of 5,000 detections of 3,400 cells in 2048 x 2048 pixels, which is
that of a median image of shsy5y (docs/method.md), and draws the time over the detections.
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
from matplotlib.figure import Figure
from torchvision.models.detection.roi_heads import paste_masks_in_image

from somaseg.config import PostprocessSettings
from somaseg.instances import Prediction
from somaseg.postprocessing.steps import postprocess

GROWTH = (500, 1000, 2000, 5000, 10_000, 20_000, 50_000)
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
    noise = rng.standard_normal((count, 28, 28), np.float32) * np.float32(0.05)
    probs = 1 / (1 + np.exp(12 * (radius.astype(np.float32) - 0.9 + noise)))
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
    """Cells, median processor seconds, and MB by which the process grew at its peak."""
    torch.set_num_threads(1)
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew from what is in use
    before = peak_memory()
    cells, seconds = 0, []
    for _ in range(repeats):
        start = time.process_time()
        cells = way(prediction)
        seconds.append(time.process_time() - start)
    return cells, statistics.median(seconds), peak_memory() - before


def peak_memory() -> float:
    """Largest resident memory of this process so far, MB."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def plot(path: Path) -> None:
    """Median processor time of ours by number of detections, at one density."""
    seconds = []
    for count in GROWTH:
        side = round(2048 * (count / 5000) ** 0.5)
        prediction = detections(count, round(0.68 * count), (side, side))
        cells, median, _ = measure(on_crops, prediction, 3 if count > 5000 else 9)
        seconds.append(median)
        print(f"{count:6} detections, {side}x{side}: {median * 1e3:8.1f} ms, {median / count * 1e6:5.1f} µs each, {cells} cells")
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    axes.loglog(GROWTH, seconds, "o-", label="somaseg, one core")
    middle = GROWTH.index(5000)
    axes.loglog(GROWTH, [seconds[middle] * count / 5000 for count in GROWTH], "--", color="grey", label="in proportion to the detections")
    axes.set(xlabel="detections in an image (5,000 in 2048 x 2048 pixels, others at this density)", ylabel="processor time, s")
    axes.grid(which="both", alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=100)
    print(f"wrote {path}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--detections", type=int, default=800)
    parser.add_argument("--cells", type=int, default=300)
    parser.add_argument("--size", type=int, nargs=2, default=(520, 704), metavar=("H", "W"))
    parser.add_argument("--no-dense", action="store_true", help="only the way on crops, where the dense one would not fit into memory")
    parser.add_argument("--plot", type=Path, metavar="PNG", help="draw how the time grows instead")
    arguments = parser.parse_args()
    if arguments.plot:
        plot(arguments.plot)
        return
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
