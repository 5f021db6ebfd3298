"""How many true boxes anchors and proposals cover: whether anchors and strides fit the cells.

    python benchmarks/proposals.py --data ANNOTATIONS [--weights FILE] [--folds 5 --fold 0]

Only images of the held-out fold count. An anchor covers a box by geometry alone: the best IoU that any anchor on the grid of any level has
with it, before the network moves it. Proposals are what the RPN makes of the anchors, after its NMS, best objectness first; their overall
number is capped by `rpn.post_nms`. Both are measured in pixels of the network's input.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.nn import functional

from somaseg.annotations.read import read_annotations
from somaseg.annotations.samples import Sample
from somaseg.checkpoints.checkpoint import load_checkpoint
from somaseg.config import ModelSettings
from somaseg.data.splits import make_folds
from somaseg.images.normalize import normalize
from somaseg.images.read import read_image
from somaseg.models import boxes as bx
from somaseg.models.cascade import CascadeMaskRCNN
from somaseg.models.rpn import anchors_of_level
from somaseg.runtimes.torch_precision import bf16_is_fast

CPU = torch.device("cpu")
WEIGHTS = Path(__file__).parents[1] / "src" / "somaseg" / "weights" / "default.safetensors"
ANCHOR_IOUS = (0.5, 0.6, 0.7)
PROPOSAL_IOUS = (0.5, 0.7)
TOPS = (300, 1000, None)  # None takes all
Floats = NDArray[np.float32]


def input_boxes(sample: Sample, size: tuple[int, int]) -> Tensor:
    """True boxes (N, 4) in pixels of a network input of `size`."""
    height, width = sample.instances.size
    return torch.from_numpy(sample.instances.boxes).float() * torch.tensor([size[1] / width, size[0] / height] * 2)


def best_anchor(boxes: Tensor, size: tuple[int, int], settings: ModelSettings) -> Tensor:
    """The largest IoU (N,) that an anchor of any level has with each box.

    IoU falls with the distance along either axis, so of all anchors of one shape the one on the nearest grid point is the best.
    """
    best = torch.zeros(len(boxes))
    coarsest = max(settings.backbone.strides)
    for sizes, stride in zip(settings.rpn.sizes, settings.backbone.strides, strict=True):
        last = torch.tensor([-(-side // coarsest) * coarsest // stride - 1 for side in size[::-1]])
        centre = (((boxes[:, :2] + boxes[:, 2:]) / 2 / stride).round().clamp(min=0).minimum(last) * stride).repeat(1, 2)
        for shape in anchors_of_level(sizes, settings.rpn.ratios, stride, (1, 1), CPU):
            best = torch.maximum(best, bx.paired_iou(boxes, centre + shape))
    return best


def best_proposals(boxes: Tensor, image: Tensor, model: CascadeMaskRCNN) -> tuple[Tensor, int]:
    """The largest IoU (N, len(TOPS)) among the best proposals, for each of `TOPS`; and how many proposals there were."""
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=bf16_is_fast(CPU)):
        proposals = model.propose(model.features([image]))[0][0]
    padded = torch.cat([proposals.float(), torch.zeros(1, 4)])  # so that there is a largest one where nothing is proposed
    overlap = bx.iou(boxes, padded)
    tops = [overlap[:, : min(top or len(padded), len(padded))].amax(dim=1) for top in TOPS]
    return torch.stack(tops, dim=1), len(proposals)


def shares(best: Floats, ious: tuple[float, ...]) -> list[str]:
    return [f"{(best >= iou).mean():.3f}" for iou in ious]


def recall_table(labels: NDArray[np.int64], anchors: Floats, proposals: Floats, classes: tuple[str, ...]) -> Table:
    """Share of the true boxes that are covered, by class."""
    table = Table("class", "cells", title="Share of true boxes covered", title_justify="left")
    for iou in ANCHOR_IOUS:
        table.add_column(f"anchors\n{iou}", justify="right")
    for top in TOPS:
        for iou in PROPOSAL_IOUS:
            table.add_column(f"{f'top {top}' if top else 'all'}\n{iou}", justify="right")
    groups = [(name, labels == number) for number, name in enumerate(classes)] + [("all", np.ones(len(labels), bool))]
    for name, chosen in groups:
        if chosen.any():
            by_top = [text for column in proposals[chosen].T for text in shares(column, PROPOSAL_IOUS)]
            table.add_row(name, str(chosen.sum()), *shares(anchors[chosen], ANCHOR_IOUS), *by_top)
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="annotations with their images")
    parser.add_argument("--weights", type=Path, default=WEIGHTS)
    parser.add_argument("--folds", type=int, default=5, help="1 takes all images")
    parser.add_argument("--fold", type=int, default=0, help="the one that was held out")
    parser.add_argument("--nms-iou", type=float, help="overlap at which of two proposals one goes, instead of the weights' own")
    parser.add_argument("--cell-type", help="take the images of this type alone")
    parser.add_argument("--images", type=int, help="take so many of them, for a quick look")
    given = parser.parse_args()
    checkpoint = load_checkpoint(given.weights)
    settings = checkpoint.config.model
    if given.nms_iou is not None:
        rpn = checkpoint.model.proposal_generator
        rpn.settings = rpn.settings.model_copy(update={"nms_iou": given.nms_iou})
    samples = read_annotations(given.data)
    if given.folds > 1:
        folds = make_folds(samples, given.folds, seed=0)
        samples = [sample for sample in samples if folds[sample.name] == given.fold]
    samples = [sample for sample in samples if given.cell_type in (None, sample.cell_type)]
    samples = samples[:: max(1, len(samples) // given.images)][: given.images] if given.images else samples

    labels, anchors, proposals, counts = [], [], [], []
    for sample in samples:
        grey = torch.from_numpy(normalize(read_image(sample.image).array))[None, None]
        size = (round(grey.shape[2] * settings.detect.scale), round(grey.shape[3] * settings.detect.scale))
        image = functional.interpolate(grey, size=size, mode="bilinear", align_corners=False, antialias=settings.detect.scale < 1)[0]
        boxes = input_boxes(sample, size)
        best, count = best_proposals(boxes, image, checkpoint.model)
        labels.append(sample.instances.labels)
        anchors.append(best_anchor(boxes, size, settings).numpy())
        proposals.append(best.numpy())
        counts.append(count)
    console = Console(width=110)
    console.print(recall_table(np.concatenate(labels), np.concatenate(anchors), np.concatenate(proposals), samples[0].instances.classes))
    made = f"median {np.median(counts):.0f}, least {min(counts)}, most {max(counts)}"
    print(f"{len(samples)} images, network's input {settings.detect.scale:g} times their size; proposals an image: {made}")
    print(f"anchors: strides {settings.backbone.strides}, sizes {settings.rpn.sizes}, height / width {settings.rpn.ratios}")


if __name__ == "__main__":
    main()
