"""How much memory a training step of the X152 takes at full size, from steps small enough for any machine.

    python benchmarks/train_memory.py configs/finetune.yaml --batch 4

The most memory that tensors take in one step (forward and backward, bfloat16 where that is safe) is read from torch's profiler at two
sizes of input and put on a straight line in the number of pixels: the boxes that enter the heads are as many at any size. To it come the
weights, their gradients and what the optimiser keeps of them. It is done for the whole batch at once, and for micro-batches of one image.
On a GPU come CUDA itself and what its convolutions borrow, about 1 GiB together; what a processor's kernels borrow is in the numbers.
"""

import argparse
import os
from pathlib import Path

os.environ.setdefault("KINETO_LOG_LEVEL", "9")  # no lines of the profiler's own between ours

import torch
from torch.profiler import ProfilerActivity, profile

from somaseg.config import Config, SgdSettings, load_settings
from somaseg.images.resize import size_by_edge
from somaseg.models.cascade import CascadeMaskRCNN
from somaseg.models.targets import Target

GIB = 2**30
SIZES = ((96, 128), (160, 224))  # height and width of the inputs of the two steps
IMAGE = (520, 704)
SIDE = 24  # pixels, of the cells


def batch(images: int, size: tuple[int, int], cells: int) -> tuple[list[torch.Tensor], list[Target]]:
    """Random images with square cells at random places."""
    random = torch.Generator().manual_seed(0)
    limit = torch.tensor([size[1] - SIDE, size[0] - SIDE])
    targets = []
    for _ in range(images):
        corner = (torch.rand(cells, 2, generator=random) * limit).long()
        boxes = torch.cat([corner, corner + SIDE], dim=1)
        pixels = torch.ones(cells * SIDE**2, dtype=torch.uint8)
        labels = torch.zeros(cells, dtype=torch.long)
        none, once = torch.zeros(0, 4), torch.tensor(1.0)
        targets.append(Target(boxes=boxes.float(), labels=labels, mask_boxes=boxes, mask_pixels=pixels, ignored=none, weight=once))
    return [torch.rand(1, *size, generator=random) * 255 for _ in range(images)], targets


def peak(model: CascadeMaskRCNN, images: list[torch.Tensor], targets: list[Target], micro_batches: int) -> int:
    """Most bytes that a step holds beyond weights and gradients, which are there before."""
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter) if parameter.requires_grad else None
    torch.manual_seed(0)
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        with torch.autocast("cpu", torch.bfloat16):
            losses = model(images, targets, micro_batches)
        torch.stack(list(losses.values())).sum().backward()
    now = most = 0
    results = profiler.profiler.kineto_results.events()  # type: ignore[union-attr]
    for event in sorted((e for e in results if e.name() == "[memory]"), key=lambda e: e.start_ns()):
        now += event.nbytes()
        most = max(most, now)
    return most


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--cells", type=int, default=400, help="cells of an image")
    args = parser.parse_args()
    config = load_settings(Config, args.config)
    torch.manual_seed(0)
    model = CascadeMaskRCNN(config.model).train()
    weights = sum(p.numel() * p.element_size() for p in model.parameters())
    trained = sum(p.numel() * p.element_size() for p in model.parameters() if p.requires_grad)
    kept = trained * (1 if isinstance(config.train.optimizer, SgdSettings) else 2)
    detect = config.model.detect
    assert detect.shortest_edge is not None, "settings with a size by edges are needed"
    full = size_by_edge(IMAGE, detect.shortest_edge, detect.longest_edge)
    print(f"weights {weights / GIB:.2f} GiB, gradients {trained / GIB:.2f} GiB, kept by the optimiser {kept / GIB:.2f} GiB")
    for micro_batches in (1, args.batch):
        steps = [peak(model, *batch(args.batch, size, args.cells), micro_batches) for size in SIZES]
        pixels = [height * width for height, width in SIZES]
        slope = (steps[1] - steps[0]) / (pixels[1] - pixels[0])
        whole = weights + trained + kept + steps[0] + slope * (full[0] * full[1] - pixels[0])
        small = ", ".join(f"{h} x {w}: {step / GIB:.2f} GiB" for (h, w), step in zip(SIZES, steps, strict=True))
        print(
            f"batch {args.batch}, accumulate {micro_batches}: a step takes {small}; {full[0]} x {full[1]} with all: {whole / GIB:.1f} GiB"
        )


if __name__ == "__main__":
    main()
