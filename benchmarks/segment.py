"""`segment` on 704 x 520 images, network to files, beside the forward passes of larger models, in turns in one run.

    python benchmarks/segment.py [--images DIR] [--count 6] [--weights default]

Ours is all that `segment` does with an image at its default setting: read, network, post-processing, label image, overlay, COCO JSON, and
the summary of the run, which a real run makes only once for all its images. Of the others only the forward pass counts:

- torchvision's `maskrcnn_resnet50_fpn_v2`, with its own resizing (short side 800) and without (704 x 520).
- somaseg's own full-size model, Cascade Mask R-CNN with a deformable ResNeXt-152 32x8d (docs/method.md), with torchvision's deformable
  convolutions and ROI pooling, at the method's test size (short side 800) and at 704 x 520.

Both have random weights, so what they find means nothing; as many detections as they may keep (100) reach their mask heads, see the
column, and on images with hundreds of cells their trained selves would keep as many. They run in float32, as their own tools do on a
CPU, and in bfloat16 where the processor has it, as ours does. One image goes before the clock starts.

Peak memory is that of `somaseg segment` as a process of its own on the same images (Linux).
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torchvision.models.detection import maskrcnn_resnet50_fpn_v2

import somaseg
from somaseg.batch.segment import segment_folder
from somaseg.config import X152, ModelSettings
from somaseg.images.normalize import to_grey
from somaseg.images.read import find_images, read_image
from somaseg.inference.detect import detect
from somaseg.inference.segmenter import Segmenter
from somaseg.inference.views import View
from somaseg.instances import Prediction
from somaseg.models.cascade import CascadeMaskRCNN
from somaseg.postprocessing.steps import postprocess
from somaseg.runtimes.torch_detector import TorchDetector
from somaseg.runtimes.torch_precision import bf16_is_fast
from somaseg.synth.folder import write_cultures
from x152 import random_x152, torchvision_operators

CPU = torch.device("cpu")
SHORT_SIDE = 800  # of both peers' own resizing
PEAK = """
import atexit, pathlib, sys
atexit.register(lambda: print(pathlib.Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0], file=sys.stderr))
from somaseg.cli.main import main
main()
"""


@dataclass
class Peer:
    """A forward pass, its seconds, and how many proposals and detections it had."""

    name: str
    forward: Callable[[NDArray[Any]], int]
    proposals: list[int]
    seconds: list[float] = field(default_factory=list)
    detections: list[int] = field(default_factory=list)


class Watched:
    """A segmenter that remembers how long its last image took and what it found."""

    def __init__(self, segmenter: Segmenter) -> None:
        self.inner, self.name, self.sha256, self.classes = segmenter, segmenter.name, segmenter.sha256, segmenter.classes
        self.about, self.runtime = segmenter.about, segmenter.runtime
        self.seconds, self.prediction = 0.0, Prediction.__new__(Prediction)

    def predict(self, image: NDArray[Any]) -> Prediction:
        """As the segmenter does."""
        begin = time.perf_counter()
        self.prediction = self.inner.predict(image)
        self.seconds = time.perf_counter() - begin
        return self.prediction


def cascade_settings(scale: float) -> ModelSettings:
    """The full-size model of docs/method.md at a scale."""
    return X152.model_copy(update={"detect": X152.detect.model_copy(update={"shortest_edge": None, "longest_edge": None, "scale": scale})})


def cascade_peer(name: str, scale: float, bf16: bool, model: CascadeMaskRCNN, proposals: list[int]) -> Peer:
    settings = cascade_settings(scale)

    def forward(image: NDArray[Any]) -> int:
        with warnings.catch_warnings(), torchvision_operators():
            warnings.filterwarnings("ignore", message="detections reached their cap")
            return len(detect(View(TorchDetector(model, bf16), settings), [image])[0])

    return Peer(name, forward, proposals)


def torchvision_peer(name: str, sides: tuple[int, int], bf16: bool, model: nn.Module, proposals: list[int]) -> Peer:
    def forward(image: NDArray[Any]) -> int:
        grey = torch.from_numpy(to_grey(image) / 255)
        model.transform.min_size, model.transform.max_size = (sides[0],), sides[1]
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            return len(model([grey.expand(3, -1, -1)])[0]["scores"])

    return Peer(name, forward, proposals)


def peers(scale: float) -> list[Peer]:
    """Both models at both sizes in both precisions; one set of weights each."""
    torch.manual_seed(0)
    counted: dict[str, list[int]] = {"mask": [], "cascade": []}
    mask = maskrcnn_resnet50_fpn_v2(weights=None, weights_backbone=None, num_classes=4).eval()
    mask.rpn.register_forward_hook(lambda *of: counted["mask"].append(len(of[2][0][0])))
    cascade = random_x152(SHORT_SIDE)
    cascade.proposal_generator.register_forward_hook(lambda *of: counted["cascade"].append(len(of[2][0][0][0])))
    result = []
    for bf16 in (False, True)[: 1 + bf16_is_fast(CPU)]:
        precision = "bfloat16" if bf16 else "float32"
        result += [
            torchvision_peer(f"maskrcnn_resnet50_fpn_v2, 800, {precision}", (SHORT_SIDE, 1333), bf16, mask, counted["mask"]),
            torchvision_peer(f"maskrcnn_resnet50_fpn_v2, as it is, {precision}", (520, 704), bf16, mask, counted["mask"]),
            cascade_peer(f"Cascade X152, 800, {precision}", scale, bf16, cascade, counted["cascade"]),
            cascade_peer(f"Cascade X152, as it is, {precision}", 1.0, bf16, cascade, counted["cascade"]),
        ]
    return result


def peak_memory(images: list[Path], out: Path, weights: str) -> float:
    """Largest resident memory of `somaseg segment`, MB."""
    command = [sys.executable, "-c", PEAK, "segment", *map(str, images), "--out", str(out), "--weights", weights]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"somaseg segment failed:\n{done.stdout}{done.stderr}")
    return int(done.stderr.split()[-1]) / 1024


def measure(images: list[Path], out: Path, segmenter: Watched, others: list[Peer]) -> dict[str, list[float]]:
    """Seconds of our parts by image; the peers take their turns on each image and keep their own."""
    ours: dict[str, list[float]] = {part: [] for part in ("total", "network", "post-processing", "files", "detections", "cells")}
    settings = segmenter.inner.settings
    for number, path in enumerate([images[0], *images]):
        begin = time.perf_counter()
        segment_folder([path], out / str(number), segmenter, settings)
        total = time.perf_counter() - begin
        begin = time.perf_counter()
        cells = postprocess(segmenter.prediction, settings)
        after = time.perf_counter() - begin
        if number:
            rest = total - segmenter.seconds - after
            values = (total, segmenter.seconds, after, rest, len(segmenter.prediction), len(cells))
            for part, value in zip(ours, values, strict=True):
                ours[part].append(value)
        image = read_image(path).array
        for peer in others:
            begin = time.perf_counter()
            found = peer.forward(image)
            if number:
                peer.seconds.append(time.perf_counter() - begin)
                peer.detections.append(found)
    return ours


def show(ours: dict[str, list[float]], others: list[Peer], memory: float) -> None:
    total = statistics.median(ours["total"])
    print(f"{'':48} {'median':>8} {'range':>13} {'/ ours':>7} {'detections':>11}")
    rows = [("somaseg segment, network to files", ours["total"], ours["detections"])]
    for name, seconds, found in [*rows, *((p.name, p.seconds, p.detections) for p in others)]:
        middle = statistics.median(seconds)
        span = f"{min(seconds):.2f}-{max(seconds):.2f} s"
        print(f"{name:48} {middle:6.2f} s {span:>13} {middle / total:7.1f} {statistics.median(found):11.0f}")
    print("the last column is what reaches the mask head; the others' weights are random")
    for name, counts in {peer.name.partition(",")[0]: peer.proposals for peer in others}.items():
        print(f"proposals of {name}: {min(counts)} to {max(counts)}")
    print(f"ours by part: {', '.join(f'{part} {statistics.median(ours[part]) * 1e3:.0f} ms' for part in list(ours)[1:4])}")
    print(f"files: read the image, write label image, overlay, JSON, tables; cells an image: {statistics.median(ours['cells']):.0f}")
    print(f"peak memory of the process of somaseg segment: {memory:.0f} MB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, help="folder of images; without it synthetic cultures")
    parser.add_argument("--count", type=int, default=6, help="images, spread over those of the folder")
    parser.add_argument("--weights", default="default", help="as for somaseg segment")
    parser.add_argument("--peers", default="", help='only those whose name holds this text, such as "X152, 800, float32"')
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        if given.images is None:
            write_cultures(place / "cultures", given.count, seed=0)
        paths = find_images([given.images or place / "cultures"])
        paths = [paths[int(i)] for i in np.linspace(0, len(paths) - 1, min(given.count, len(paths)))]
        shapes = {read_image(path).array.shape[:2] for path in paths}
        memory = peak_memory(paths, place / "alone", given.weights)
        segmenter = Watched(somaseg.load(given.weights))
        scale = segmenter.inner.model_settings.detect.scale
        print(f"{len(paths)} images of {shapes} (height, width), {torch.get_num_threads()} threads")
        print(f"our network sees them at {scale:g} times their size, in {segmenter.runtime['precision']}")
        short = min(min(shape) for shape in shapes)
        others = [peer for peer in peers(SHORT_SIDE / short) if given.peers in peer.name]
        show(measure(paths, place / "runs", segmenter, others), others, memory)


if __name__ == "__main__":
    main()
