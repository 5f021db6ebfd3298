"""Cascade IoU screening of several models on one image, three ways in one run on one core: somaseg's, RLE calls, dense masks.

    pip install pycocotools
    python benchmarks/fuse.py [--members 6] [--cells 400] [--no-dense]

The models are jittered copies of one synthetic truth: nearly all cells moved by up to 2 px, some missing, as many false alarms. Each way
gets the cells as it likes them (`Instances`, RLE, N x H x W masks), so that no conversion is counted, and all three must let the same
cells stay. "RLE calls" takes the IoU tables of pycocotools, and of faster-coco-eval, whose C++ began as a copy of it. "Dense" is the
method written down plainly with NumPy: IoU of every pair by logical and, logical or, over the whole frame.

pycocotools is needed for this benchmark alone.
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"  # before NumPy loads its BLAS: one core for all ways

import numpy as np
from faster_coco_eval.core import mask as faster_mask
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from somaseg.config import FuseSettings, PostprocessSettings
from somaseg.fusion.cascade_screening import cascade_screening
from somaseg.fusion.pool import pool
from somaseg.instances import Instances
from somaseg.masks import crops as mk
from somaseg.postprocessing.candidates import Candidates
from somaseg.postprocessing.steps import run_steps
from somaseg.synth.render import SynthSettings, render

SUPPORT_IOU, NMS_IOU = FuseSettings().support_iou, FuseSettings().nms_iou
IouTable = Callable[[NDArray[np.int64], NDArray[np.int64]], NDArray[np.float64]]
Nms = Callable[[NDArray[np.int64], NDArray[np.int64]], NDArray[np.int64]]


def jittered_members(count: int, cells: int, seed: int = 0) -> list[Instances]:
    """`count` models with `cells` cells each on one 704 x 520 image; their scores have 64 steps, so that ties occur."""
    rng = np.random.default_rng(seed)
    truth = render(SynthSettings(cell_type="shsy5y", cells=round(cells * 1.3)), seed)[1]
    if len(truth) < cells:
        raise SystemExit(f"only {len(truth)} cells found room in the image: ask for fewer than {cells}")
    truth = truth[:cells]
    found = []
    for _ in range(count):
        shift = rng.integers(-2, 3, (cells, 2))
        shift[rng.choice(cells, cells // 20, replace=False)] = rng.integers(-300, 300, (cells // 20, 2))  # false alarms
        crops = [_moved(box, crop, by, truth.size) for box, crop, by in zip(truth.boxes, truth.masks, shift, strict=True)]
        scores = rng.integers(20, 65, cells) / 64
        found.append(Instances.build(truth.size, crops, truth.classes, truth.labels, scores))
    return found


def _moved(box: mk.Boxes, crop: mk.Mask, shift: NDArray[np.int64], size: mk.Size) -> tuple[Sequence[int], mk.Mask]:
    """A cell moved by (x, y), and pushed back where it would leave the image."""
    extent = box[2:] - box[:2]
    x, y = np.clip(box[:2] + shift, 0, (size[1], size[0]) - extent).tolist()
    return (x, y, x + int(extent[0]), y + int(extent[1])), crop


def on_crops(members: Sequence[Instances]) -> Instances:
    return cascade_screening(pool([Candidates.from_instances(m) for m in members]), SUPPORT_IOU, NMS_IOU).to_instances()


def with_final_steps(members: Sequence[Instances]) -> Instances:
    """The whole fusion: vote, holes, overlaps, pieces and least area after the screening."""
    fused = cascade_screening(pool([Candidates.from_instances(m) for m in members]), SUPPORT_IOU, NMS_IOU)
    return run_steps(fused, FuseSettings().final_steps, PostprocessSettings())[0].to_instances()


def screened(table: IouTable, suppressed: Nms, labels: NDArray[np.int64], member: NDArray[np.int64]) -> NDArray[np.int64]:
    """The method on tables of IoU; cells are numbers in falling order of score, and so are those that stay."""
    base = np.flatnonzero(member == 0)
    for number in range(1, int(member.max()) + 1):
        others = np.flatnonzero(member == number)
        iou = table(base, others)
        best = iou.argmax(axis=1)
        taken = others[np.unique(best[iou[np.arange(len(base)), best] > SUPPORT_IOU])]
        base = suppressed(np.sort(np.concatenate([base, taken])), labels)
    return suppressed(base, np.zeros_like(labels))


def rle_calls(rles: Sequence[dict[str, Any]], module: Any) -> tuple[IouTable, Nms]:
    """The IoU of some cells with others, and mask NMS within each class, by one call of the module each."""

    def table(some: NDArray[np.int64], others: NDArray[np.int64]) -> NDArray[np.float64]:
        iou = module.iou([rles[i] for i in some], [rles[i] for i in others], [0] * len(others))
        return np.asarray(iou).reshape(len(some), len(others))

    def suppressed(cells: NDArray[np.int64], labels: NDArray[np.int64]) -> NDArray[np.int64]:
        rival = (table(cells, cells) > NMS_IOU) & (labels[cells][:, None] == labels[cells])
        stays = np.ones(len(cells), bool)
        for i in range(len(cells)):
            if stays[i]:
                stays[i + 1 :] &= ~rival[i, i + 1 :]
        return cells[stays]

    return table, suppressed


def dense_masks(masks: NDArray[np.bool_]) -> tuple[IouTable, Nms]:
    """The same on full frames (N, H, W), pair by pair."""

    def iou(i: int, j: int) -> float:
        return np.count_nonzero(np.logical_and(masks[i], masks[j])) / np.count_nonzero(np.logical_or(masks[i], masks[j]))

    def table(some: NDArray[np.int64], others: NDArray[np.int64]) -> NDArray[np.float64]:
        return np.array([[iou(i, j) for j in others] for i in some])

    def suppressed(cells: NDArray[np.int64], labels: NDArray[np.int64]) -> NDArray[np.int64]:
        left, stays = cells.tolist(), []
        while left:
            best, *left = left
            stays.append(best)
            left = [i for i in left if labels[i] != labels[best] or iou(best, i) <= NMS_IOU]
        return np.array(stays)

    return table, suppressed


def timed(way: Callable[[], Any]) -> tuple[Any, float]:
    """What a way gives, and its processor time in seconds: all ways use one core, and other processes disturb it less than the clock."""
    start = time.process_time()
    result = way()
    return result, time.process_time() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--members", type=int, default=6)
    parser.add_argument("--cells", type=int, default=400)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--no-dense", action="store_true", help="leave out the dense way, which takes minutes")
    arguments = parser.parse_args()
    members = jittered_members(arguments.members, arguments.cells)

    order = np.argsort(-np.concatenate([m.scores for m in members]), kind="stable")
    every = Instances.cat(members)[order]
    member = np.repeat(np.arange(len(members)), arguments.cells)[order]
    ours = on_crops(members)

    def check(chosen: NDArray[np.int64]) -> None:
        same = every[chosen]
        assert (ours.boxes == same.boxes).all()
        assert (ours.scores == same.scores).all()
        assert all((a == b).all() for a, b in zip(ours.masks, same.masks, strict=True))

    ways: dict[str, Callable[[], Any]] = {
        "somaseg": lambda: on_crops(members),
        "somaseg, with the final steps": lambda: with_final_steps(members),
    }
    rles = [r | {"counts": r["counts"].encode()} for r in every.to_rle()]
    for name, module in (("pycocotools RLE", coco_mask), ("faster-coco-eval RLE", faster_mask)):
        ways[name] = partial(screened, *rle_calls(rles, module), every.labels, member)
        check(ways[name]())
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(arguments.repeats):
        for name, way in ways.items():
            seconds[name].append(timed(way)[1])
    if not arguments.no_dense:
        masks = every.to_masks()
        chosen, once = timed(lambda: screened(*dense_masks(masks), every.labels, member))
        check(chosen)
        seconds["dense, once"] = [once]

    print(f"{len(members)} models with {arguments.cells} cells each on a 704x520 image, {len(ours)} stay, one core")
    for name, values in seconds.items():
        median = statistics.median(values)
        print(f"{name:>30}: {median * 1e3:10.1f} ms, ratio {median / statistics.median(seconds['somaseg']):8.1f}")


if __name__ == "__main__":
    main()
