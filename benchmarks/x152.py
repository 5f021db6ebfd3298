"""The full-size Cascade Mask R-CNN X152 on one 704 x 520 image: our operators beside torchvision's, bfloat16 beside float32.

    python benchmarks/x152.py [--turns 3] [--edge 800] [--weights FILE --images DIR]

Time: the same network with the same weights, image to detections, in turns in one run. Once with our deformable convolutions and ROI
pooling, once with `torchvision.ops.deform_conv2d` and `roi_align`; the detections must be the same, or the script stops. Elapsed time
needs a machine that does nothing else; processor time with OMP_NUM_THREADS=1 bears company, but hides that torchvision's kernels use
one core. Then the processor time of our parts; a part that holds another does not count its time. `--edge` is what the image's shorter
side becomes: 800 is the method's, 520 the image's own.

Weights are drawn at random, with branches scaled so that 50 blocks neither vanish nor overflow; offsets are drawn too, about a pixel.
What random weights find means nothing, but takes the same time. Precision is about detections that mean something: give weights that have
learned with `--weights` (such as those of `overfit_x152.py`) and images that they know with `--images`; then time is not measured.
A detection differs when bfloat16 has none of the same class with a box IoU above .5.
"""

import argparse
import statistics
import time
import warnings
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
import torchvision
from numpy.typing import NDArray
from torch import Tensor, nn

from somaseg.checkpoints.checkpoint import load_checkpoint
from somaseg.config import X152, override
from somaseg.images.read import find_images, read_image
from somaseg.inference.detect import detect
from somaseg.inference.views import View
from somaseg.instances import Instances, Prediction
from somaseg.models import roi_heads
from somaseg.models.cascade import CascadeMaskRCNN
from somaseg.models.trunks import resnext
from somaseg.postprocessing.soft_masks import to_pixels
from somaseg.runtimes.torch_detector import TorchDetector
from somaseg.synth.render import SynthSettings, render

CPU = torch.device("cpu")
TOP = 100
BRANCH = 0.2  # factor of what a block adds to its input: 50 blocks then multiply the deviation by e


def random_x152(edge: int) -> CascadeMaskRCNN:
    """The X152 with drawn weights and sane features."""
    torch.manual_seed(0)
    model = CascadeMaskRCNN(override(X152, [f"detect.shortest_edge={edge}"])).eval()
    for module in model.modules():
        if isinstance(module, resnext.Bottleneck):
            module.conv3.weight.data.mul_(BRANCH)
            if module.conv2_offset is not None:
                nn.init.normal_(module.conv2_offset.weight, std=module.conv2_offset.weight[0].numel() ** -0.5)
    return model


def torchvision_pool(self: roi_heads.RoiHeads, levels: list[Tensor], images: int, boxes: roi_heads.Boxes, bins: int) -> Tensor:
    """`RoiHeads.pool` by `roi_align`, level by level."""
    cfg = self.settings
    side = (boxes.xyxy[:, 2:] - boxes.xyxy[:, :2]).clamp(min=0).prod(dim=1).sqrt()
    level = torch.floor(cfg.canonical_level + torch.log2(side / cfg.canonical_size + 1e-8)).clamp(0, len(self.strides) - 1)
    given = torch.cat([boxes.image[:, None].float(), boxes.xyxy], dim=1)
    pooled = levels[0].new_zeros((len(given), levels[0].shape[1], bins, bins), dtype=torch.float32)
    for number, stride in enumerate(self.strides):
        here = torch.nonzero(level == number)[:, 0]
        maps = levels[number].float()
        pooled[here] = torchvision.ops.roi_align(maps, given[here], bins, 1 / stride, cfg.pool_ratio, aligned=True)
    return pooled


def torchvision_deform(x: Tensor, offset: Tensor, weight: Tensor, bias: Any, mask: Any, stride: int, padding: int, groups: int) -> Tensor:
    """Torchvision has no bfloat16 here; it computes in float32 and the result is rounded, as on a GPU."""
    parts = [None if t is None else t.float() for t in (x, offset, weight, bias)]
    return torchvision.ops.deform_conv2d(*parts, stride, padding, mask=mask).to(x.dtype)


@contextmanager
def torchvision_operators() -> Iterator[None]:
    """Inside, the network has torchvision's operators."""
    with (
        mock.patch.object(resnext, "deform_conv2d", torchvision_deform),
        mock.patch.object(roi_heads.RoiHeads, "planes", lambda self, levels: levels),
        mock.patch.object(roi_heads.RoiHeads, "pool", torchvision_pool),
    ):
        yield


class Clock:
    """Seconds of the processor by part; what runs inside another part counts for the inner one alone."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self.stack: list[str] = ["heads: all else"]
        self.since = time.process_time()

    def _turn(self) -> None:
        now = time.process_time()
        self.seconds[self.stack[-1]] += now - self.since
        self.since = now

    def enter(self, part: str, *_: Any) -> None:
        """From now on time is that of `part`, until it is left."""
        self._turn()
        self.stack.append(part)

    def leave(self, *_: Any) -> None:
        """From now on time is again that of the part before."""
        self._turn()
        self.stack.pop()

    def inside(self, suffix: str, function: Any) -> Any:
        """The function, clocked as `suffix` of the part that calls it."""

        def clocked(*args: Any, **given: Any) -> Any:
            self.enter(f"{self.stack[-1].partition(':')[0]}: {suffix}")
            try:
                return function(*args, **given)
            finally:
                self.leave()

        return clocked


def profile(model: CascadeMaskRCNN, image: NDArray[Any], bf16: bool) -> dict[str, float]:
    """Seconds of each part of one pass."""
    clock = Clock()
    trunk = model.backbone.bottom_up
    names = {"backbone": "FPN", "proposal_generator": "RPN: selection", "proposal_generator.rpn_head": "RPN: layers"}
    parts: list[tuple[nn.Module, str]] = [(model.get_submodule(path), name) for path, name in names.items()]
    parts += [(trunk.stem, "stem: the rest")]
    parts += [(block, f"{name}: the rest") for name in ("res2", "res3", "res4", "res5") for block in trunk.get_submodule(name).children()]
    parts += [(head, "heads: box layers") for head in (*model.roi_heads.box_head, *model.roi_heads.box_predictor)]
    parts += [(model.roi_heads.mask_head, "heads: mask layers")]
    with ExitStack() as stack:
        for module, name in parts:
            stack.callback(module.register_forward_pre_hook(partial(clock.enter, name)).remove)
            stack.callback(module.register_forward_hook(clock.leave).remove)
        for module in trunk.modules():
            if isinstance(module, resnext.Bottleneck) and module.conv2_offset is not None:
                offsets = module.conv2_offset
                stack.enter_context(mock.patch.object(offsets, "forward", clock.inside("offsets", offsets.forward)))
        deform, pool = resnext.deform_conv2d, roi_heads.roi_pool
        stack.enter_context(mock.patch.object(resnext, "deform_conv2d", clock.inside("deformable 3 x 3", deform)))
        stack.enter_context(mock.patch.object(roi_heads, "roi_pool", clock.inside("pooling", pool)))
        clock.since = time.process_time()
        found(model, image, bf16)
        clock._turn()
    return clock.seconds


def found(model: CascadeMaskRCNN, image: NDArray[Any], bf16: bool) -> Prediction:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="detections reached their cap")
        return detect(View(TorchDetector(model, bf16)), [image])[0]


def masks_of(prediction: Prediction) -> Instances:
    """The detections' masks at .5, in their order."""
    half = np.full(len(prediction), 0.5)
    boxes, crops, _ = to_pixels(prediction.boxes, prediction.mask_probs, half, prediction.size)
    cells = [(tuple(box), crop) for box, crop in zip(boxes.tolist(), crops, strict=True)]
    return Instances.build(prediction.size, cells, prediction.classes, prediction.labels, prediction.scores)


def compare(exact: Prediction, rounded: Prediction) -> dict[str, NDArray[np.float64]]:
    """How the best detections of float32 fare in bfloat16: one value each, `found` 0 or 1, the others of the found ones."""
    exact = exact[np.argsort(-exact.scores, kind="stable")[:TOP]]
    overlap = torchvision.ops.box_iou(torch.from_numpy(exact.boxes), torch.from_numpy(rounded.boxes)).numpy()
    overlap *= exact.labels[:, None] == rounded.labels
    partner = overlap.argmax(axis=1) if len(rounded) else np.zeros(len(exact), int)
    kept = np.flatnonzero(overlap.max(axis=1, initial=0) > 0.5)
    a, b = exact[kept], rounded[partner[kept]]
    first, second = masks_of(a), masks_of(b)
    iou = np.diagonal(first.iou(second))
    both = (first.area + second.area) * iou / (1 + iou)
    return {
        "found": (overlap.max(axis=1, initial=0) > 0.5).astype(float),
        "score": np.abs(a.scores - b.scores).astype(float),
        "box, px": np.abs(a.boxes - b.boxes).max(axis=1, initial=0).astype(float),
        "mask, px": first.area + second.area - 2 * both,
        "mask, share": 1 - iou,
    }


def show_precision(pairs: list[tuple[Prediction, Prediction]], least: float) -> None:
    """Differences over all images, of the detections with at least a score."""
    values = [compare(exact[exact.scores >= least], rounded) for exact, rounded in pairs]
    total = {name: np.concatenate([v[name] for v in values]) for name in values[0]}
    count = len(total["found"])
    print(f"detections of float32 with a score of {least:g} or more: {count}; without a partner: {count - int(total['found'].sum())}")
    for name in list(total)[1:]:
        if len(total[name]):
            high = np.quantile(total[name], 0.95)
            print(f"  {name:12} median {np.median(total[name]):.4f}, 95 % below {high:.4f}, most {total[name].max():.4f}")


def measure(model: CascadeMaskRCNN, image: NDArray[Any], turns: int, slow: bool) -> None:
    """Times of all ways in turns, then ours by part."""
    ways = [("ours, float32", True, False), ("ours, bfloat16", True, True)]
    if slow:
        ways += [("torchvision's operators, float32", False, False), ("torchvision's operators, bfloat16", False, True)]
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name, _, _ in ways}
    results: dict[str, Prediction] = {}
    for _ in range(turns):
        for name, ours, bf16 in ways:
            with ExitStack() as stack:
                if not ours:
                    stack.enter_context(torchvision_operators())
                begin = time.perf_counter(), time.process_time()
                results[name] = found(model, image, bf16)
                seconds[name].append((time.perf_counter() - begin[0], time.process_time() - begin[1]))
    medians = {name: [statistics.median(column) for column in zip(*rows, strict=True)] for name, rows in seconds.items()}
    print(f"{'':36} {'elapsed':>9} {'/ ours':>6} {'processor':>10} {'/ ours':>6}")
    for name, _, bf16 in ways:
        wall, busy = medians[name]
        ours_wall, ours_busy = medians[ways[bf16][0]]
        print(f"{name:36} {wall:7.2f} s {wall / ours_wall:6.2f} {busy:8.2f} s {busy / ours_busy:6.2f}")
    if slow:
        ours_found, theirs = results[ways[0][0]], results[ways[2][0]]
        np.testing.assert_allclose(ours_found.scores, theirs.scores, atol=1e-3)
        np.testing.assert_allclose(np.sort(ours_found.boxes, axis=0), np.sort(theirs.boxes, axis=0), atol=0.5)
        print(f"both operators: the same {len(theirs)} detections")
    for bf16 in (False, True):
        runs = [profile(model, image, bf16) for _ in range(turns)]
        middle_of = {part: statistics.median(run[part] for run in runs) for part in runs[0]}
        total = sum(middle_of.values())
        print(f"ours by part in {'bfloat16' if bf16 else 'float32'}, {total:.2f} s")
        for part, value in sorted(middle_of.items()):
            print(f"  {part:28} {value * 1e3:8.0f} ms {value / total:6.1%}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--edge", type=int, default=800, help="what the image's shorter side becomes")
    parser.add_argument("--ours-only", action="store_true", help="leave torchvision's operators out")
    parser.add_argument("--weights", type=Path, help="weights of an X152 that has learned: compare precisions in place of times")
    parser.add_argument("--images", type=Path, help="images that it knows")
    given = parser.parse_args()
    print(f"{torch.get_num_threads()} threads")
    if given.weights is not None:
        model = load_checkpoint(given.weights).model.eval()
        images = [read_image(path).array for path in find_images([given.images])]
        pairs = [(found(model, image, False), found(model, image, True)) for image in images]
        for least in (0.0, 0.3):
            show_precision(pairs, least)
        return
    image, _ = render(SynthSettings(cell_type="shsy5y"), seed=0)
    model = random_x152(given.edge)
    found(model, image, True)
    measure(model, image, given.turns, not given.ours_only)


if __name__ == "__main__":
    main()
