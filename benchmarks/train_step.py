"""One training step of the compact model beside torchvision's `MaskRCNN` on the same backbone, in turns in one run.

    python benchmarks/train_step.py [--data ANNOTATIONS] [--steps 30] [--warmup 10]
    python benchmarks/train_step.py --profile [--data ANNOTATIONS]

All contenders take the same crops and share the settings of `configs/default.yaml`: crop, batch, trunk, frozen stages, FPN width, anchors
a location, proposals before and after NMS, boxes an image and their largest share of cells, bfloat16, optimiser, clipping.
torchvision's model stands twice: with the heads and the pooling that it makes itself (box head of 1024, mask head of four times 256), and
with heads of our widths and pooling by our settings. It has one box stage where ours has three. Ours stands twice as well: our masks learn
from `mask_samples` cells an image, torchvision's from all sampled ones, so one row does as torchvision does. In torchvision's favour:
frozen norms as in its own detectors, one input channel, resizing switched off. Networks start untrained, crops come from `--data` or else
from synthetic cultures.

`--profile` shows where the time of our step goes; a backward pass counts for the part whose forward pass it belongs to.
"""

import argparse
import statistics
import tempfile
import time
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import timm
import torch
from timm.layers import freeze_batch_norm_2d
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile, record_function
from torchvision.models.detection import MaskRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.ops import FeaturePyramidNetwork, MultiScaleRoIAlign

from somaseg.annotations.read import read_annotations
from somaseg.config import Config, load_settings
from somaseg.models.cascade import CascadeMaskRCNN
from somaseg.models.layers import DepthwiseConv2d
from somaseg.models.targets import Target
from somaseg.runtimes.torch_precision import bf16_is_fast
from somaseg.synth.folder import write_cultures
from somaseg.training.dataset import Crops, collate
from somaseg.training.optimise import make_optimizer

SETTINGS = Path(__file__).parents[1] / "configs" / "default.yaml"
CPU = torch.device("cpu")
Batch = tuple[list[Tensor], list[Any]]


@dataclass
class Contender:
    """A model in training, and what its steps took: seconds of each, without and with loading, and rows that its mask head saw."""

    name: str
    model: nn.Module
    as_targets: Callable[[list[Tensor], list[Target]], Batch]
    optimizer: torch.optim.Optimizer
    alone: list[float] = field(default_factory=list)
    loaded: list[float] = field(default_factory=list)
    mask_rows: list[int] = field(default_factory=list)


class TimmPyramid(nn.Module):
    """The trunk of our model as timm makes it, with torchvision's FPN."""

    def __init__(self, config: Config, frozen: set[str]) -> None:
        super().__init__()
        cfg = config.model.backbone
        self.trunk = timm.create_model(cfg.trunk.name, features_only=True, pretrained=False, in_chans=1)
        self.indices = [self.trunk.feature_info.reduction().index(stride) for stride in cfg.strides]
        freeze_batch_norm_2d(self.trunk)
        for name, parameter in self.trunk.named_parameters():
            parameter.requires_grad_(name not in frozen)
        self.fpn = FeaturePyramidNetwork([self.trunk.feature_info.channels()[i] for i in self.indices], cfg.fpn_width)
        self.out_channels = cfg.fpn_width

    def forward(self, x: Tensor) -> OrderedDict[str, Tensor]:
        """(B, 1, H, W) -> levels by number, fine to coarse."""
        features = self.trunk(x)
        levels: OrderedDict[str, Tensor] = self.fpn(OrderedDict((str(n), features[i]) for n, i in enumerate(self.indices)))
        return levels


def torchvision_model(config: Config, frozen: set[str], own_heads: bool) -> MaskRCNN:
    """`MaskRCNN` with our settings wherever it has such a setting; `own_heads` leaves it its heads and its pooling."""
    cfg, rpn, heads = config.model, config.model.rpn, config.model.heads
    levels, classes = len(cfg.backbone.strides), len(cfg.classes) + 1
    return MaskRCNN(
        TimmPyramid(config, frozen),
        min_size=config.augment.size.side,
        max_size=config.augment.size.side,
        image_mean=[0.0],
        image_std=[1.0],
        _skip_resize=True,
        rpn_anchor_generator=AnchorGenerator(rpn.sizes, (rpn.ratios,) * levels),
        rpn_pre_nms_top_n_train=rpn.train_pre_nms,
        rpn_post_nms_top_n_train=rpn.train_post_nms,
        rpn_nms_thresh=rpn.nms_iou,
        rpn_fg_iou_thresh=rpn.positive_iou,
        rpn_bg_iou_thresh=rpn.negative_iou,
        rpn_batch_size_per_image=rpn.samples,
        rpn_positive_fraction=rpn.positive_share,
        box_fg_iou_thresh=heads.ious[0],
        box_bg_iou_thresh=heads.ious[0],
        box_batch_size_per_image=heads.samples,
        box_positive_fraction=heads.positive_share,
        **({"num_classes": classes} if own_heads else _heads_of_our_widths(config, levels, classes)),
    )


def _heads_of_our_widths(config: Config, levels: int, classes: int) -> dict[str, nn.Module]:
    heads, width = config.model.heads, config.model.backbone.fpn_width
    # torchvision counts levels as powers of two of the stride, we count them from the finest.
    canonical_level = heads.canonical_level + config.model.backbone.strides[0].bit_length() - 1

    def pool(bins: int) -> MultiScaleRoIAlign:
        names = [str(n) for n in range(levels)]
        scale = heads.canonical_size
        return MultiScaleRoIAlign(names, bins, heads.pool_ratio, canonical_scale=scale, canonical_level=canonical_level)

    return {
        "box_roi_pool": pool(7),
        "box_head": TwoMLPHead(width * 49, heads.box_fc_width),
        "box_predictor": FastRCNNPredictor(heads.box_fc_width, classes),
        "mask_roi_pool": pool(14),
        "mask_head": MaskRCNNHeads(width, [heads.mask_width] * heads.mask_convs, 1),
        "mask_predictor": MaskRCNNPredictor(heads.mask_width, heads.mask_width, classes),
    }


def as_torchvision(images: list[Tensor], targets: list[Target]) -> Batch:
    """Targets as torchvision wants them: background is class 0, and every mask a full frame."""
    converted = []
    for image, target in zip(images, targets, strict=True):
        masks = torch.zeros((len(target["boxes"]), *image.shape[1:]), dtype=torch.uint8)
        sides = target["mask_boxes"][:, 2:] - target["mask_boxes"][:, :2]
        crops = target["mask_pixels"].split(sides.prod(dim=1).tolist())
        for mask, crop, (x0, y0, x1, y1) in zip(masks, crops, target["mask_boxes"].tolist(), strict=True):
            mask[y0:y1, x0:x1] = crop.view(y1 - y0, x1 - x0)
        converted.append({"boxes": target["boxes"], "labels": target["labels"] + 1, "masks": masks})
    return images, converted


def contenders(config: Config) -> list[Contender]:
    """Ours, ours with masks for all sampled cells, torchvision's with its own heads, and with heads of our widths."""
    torch.manual_seed(0)
    ours = CascadeMaskRCNN(config.model)
    heads = config.model.heads.model_copy(update={"mask_samples": 0})
    same_rois = CascadeMaskRCNN(config.model.model_copy(update={"heads": heads}))
    frozen = {name for name, p in ours.backbone.bottom_up.net.named_parameters() if not p.requires_grad}
    made: list[tuple[str, nn.Module, Callable[[list[Tensor], list[Target]], Batch]]] = [
        ("somaseg", ours, lambda images, targets: (images, targets)),
        ("somaseg, masks of all sampled cells", same_rois, lambda images, targets: (images, targets)),
        ("torchvision, its own heads, pooling", torchvision_model(config, frozen, own_heads=True), as_torchvision),
        ("torchvision, heads of our widths", torchvision_model(config, frozen, own_heads=False), as_torchvision),
    ]
    result = []
    for name, model, as_targets in made:
        # The first rate of the warm-up: an untrained network must not diverge, and the rate changes no time.
        rates = config.train.optimizer.model_copy(update={"rate": config.train.optimizer.rate * 0.01})
        contender = Contender(name, model.train(), as_targets, make_optimizer(model, rates))
        mask_head = model.roi_heads.mask_head
        mask_head.register_forward_pre_hook(lambda _, inputs, rows=contender.mask_rows: rows.append(len(inputs[0])))  # type: ignore[misc]
        result.append(contender)
    return result


def step(contender: Contender, batch: Batch, config: Config) -> None:
    """One optimiser step."""
    with torch.autocast("cpu", torch.bfloat16, enabled=config.train.bf16):
        losses = contender.model(*batch)
    total = torch.stack([loss.float() for loss in losses.values()]).sum()
    if not torch.isfinite(total):
        raise SystemExit(f"{contender.name}: the loss is not finite, its times would mean nothing: {losses}")
    total.backward()
    with record_function("optimiser"):
        torch.nn.utils.clip_grad_norm_([p for p in contender.model.parameters() if p.grad is not None], config.train.clip)
        contender.optimizer.step()
        contender.optimizer.zero_grad()


def measure(crops: Crops, config: Config, steps: int, warmup: int) -> list[Contender]:
    """Let all contenders take their steps in turns, each on the same crops, which each loads for itself."""
    everyone = contenders(config)
    for number in range(warmup + steps):
        first = number * config.train.batch
        for contender in everyone:
            torch.manual_seed(number)
            begin = time.perf_counter()
            batch = contender.as_targets(*collate([crops[i] for i in range(first, first + config.train.batch)]))
            ready = time.perf_counter()
            step(contender, batch, config)
            end = time.perf_counter()
            if number >= warmup:
                contender.alone.append(end - ready)
                contender.loaded.append(end - begin)
    return everyone


def show(everyone: list[Contender]) -> None:
    """Medians, and our step over each other one."""
    ours = everyone[0]
    print(f"{'':36} {'step':>9} {'range':>13} {'ours/it':>8} {'with loading':>13} {'ours/it':>8} {'mask rows':>10}")
    for it in everyone:
        alone, loaded = statistics.median(it.alone), statistics.median(it.loaded)
        ratios = [statistics.median(ours.alone) / alone, statistics.median(ours.loaded) / loaded]
        span = f"{min(it.alone) * 1e3:.0f}-{max(it.alone) * 1e3:.0f}"
        rows = statistics.median(it.mask_rows[-len(it.alone) :])
        print(f"{it.name:36} {alone * 1e3:6.0f} ms {span:>13} {ratios[0]:8.2f} {loaded * 1e3:10.0f} ms {ratios[1]:8.2f} {rows:10.0f}")
    print("medians; loading is done by the same process before the step; mask rows: what a mask head saw in a step (ours padded to 32)")


def shares(crops: Crops, config: Config, steps: int, warmup: int) -> None:
    """Print where the time of our step goes, by part and direction."""
    ours = contenders(config)[0]
    model = ours.model
    batches = [collate([crops[i] for i in range(n * config.train.batch, (n + 1) * config.train.batch)]) for n in range(steps)]
    for number in range(warmup):
        step(ours, batches[number % steps], config)
    depthwise = [m for m in model.modules() if isinstance(m, DepthwiseConv2d)]
    seen: list[tuple[DepthwiseConv2d, Tensor]] = []
    hooks = [m.register_forward_pre_hook(lambda m, inputs: seen.append((m, inputs[0].detach()))) for m in depthwise]
    step(ours, batches[0], config)
    for hook in hooks:
        hook.remove()
    for module in depthwise:
        _label(module, "trunk: depthwise convolutions")
    _label(model.backbone.bottom_up, "trunk: the rest")
    _label(model.backbone, "FPN")
    _label(model.proposal_generator, "RPN")
    _label(model.roi_heads, "heads: losses, matching")
    for part in (*model.roi_heads.box_head, *model.roi_heads.box_predictor, model.roi_heads.mask_head):
        _label(part, "heads: layers")
    pool = model.roi_heads.pool

    def labelled_pool(*given: Any) -> Tensor:
        with record_function("part: heads: pooling"):
            return pool(*given)

    model.roi_heads.pool = labelled_pool
    with profile(activities=[ProfilerActivity.CPU]) as prof:
        for batch in batches:
            with record_function("step"):
                step(ours, batch, config)
    _print_shares(prof.events(), steps)
    _compare_depthwise(seen)


def _label(module: nn.Module, name: str) -> None:
    """Run the module's forward pass under the name of its part."""
    forward = module.forward

    def labelled(*given: Any, **named: Any) -> Any:
        with record_function(f"part: {name}"):
            return forward(*given, **named)

    module.forward = labelled


def _print_shares(events: Any, steps: int) -> None:
    forward: Counter[str] = Counter()
    backward: Counter[str] = Counter()
    part_of: dict[int, str] = defaultdict(lambda: "the rest")  # by autograd's sequence number, which both passes carry
    total = optimiser = 0.0
    for event in events:
        parent = event.cpu_parent
        while parent is not None and not parent.name.startswith("part: "):
            parent = parent.cpu_parent
        if event.name.startswith("part: "):
            forward[event.name[6:]] += event.cpu_time_total
            if parent is not None:
                forward[parent.name[6:]] -= event.cpu_time_total  # a part's time is its own
        elif parent is not None and event.sequence_nr >= 0 and event.scope == 0:
            part_of[event.sequence_nr] = parent.name[6:]
        total += event.cpu_time_total * (event.name == "step")
        optimiser += event.cpu_time_total * (event.name == "optimiser")
    for event in events:
        if event.name.startswith("autograd::engine::evaluate_function"):
            backward[part_of[event.sequence_nr]] += event.cpu_time_total
    rest = total - optimiser - sum(forward.values()) - sum(backward.values())
    print(f"{'our step':32} {'forward':>8} {'backward':>9} {'share':>6}   under the profiler, {total / steps / 1e3:.0f} ms a step")
    for part in sorted({*forward, *backward}, key=lambda p: -forward[p] - backward[p]):
        both = forward[part] + backward[part]
        print(f"{part:32} {forward[part] / steps / 1e3:5.0f} ms {backward[part] / steps / 1e3:6.0f} ms {both / total:6.1%}")
    print(f"{'clipping and optimiser':32} {optimiser / steps / 1e3:5.0f} ms {'':9} {optimiser / total:6.1%}")
    print(f"{'sum of losses, between the parts':32} {rest / steps / 1e3:5.0f} ms {'':9} {rest / total:6.1%}")


def _compare_depthwise(seen: list[tuple[DepthwiseConv2d, Tensor]]) -> None:
    """Why `DepthwiseConv2d` is there: the backward pass of all of them in either precision."""
    seconds = {}
    for dtype in (torch.bfloat16, torch.float32):
        best = []
        for module, x in seen:
            with torch.no_grad():
                x, weight = x.to(dtype), module.weight.detach().to(dtype)
                pads = [(k - 1) // 2 for k in weight.shape[2:]]
                grad = torch.rand_like(nn.functional.conv2d(x, weight, None, module.stride, pads, 1, module.groups))
                options = (None, list(module.stride), pads, [1, 1], False, [0, 0], module.groups, [True, True, False])
                times = []
                for _ in range(4):
                    begin = time.perf_counter()
                    torch.ops.aten.convolution_backward(grad, x, weight, *options)
                    times.append(time.perf_counter() - begin)
                best.append(min(times[1:]))
        seconds[dtype] = sum(best)
    names = ", ".join(f"{str(dtype)[6:]} {value * 1e3:.0f} ms" for dtype, value in seconds.items())
    print(f"backward pass of the {len(seen)} depthwise convolutions alone: {names}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="annotations with their images; without it synthetic cultures")
    parser.add_argument("--settings", type=Path, default=SETTINGS)
    parser.add_argument("--steps", type=int, default=30, help="of each contender")
    parser.add_argument("--warmup", type=int, default=10, help="steps of each before; each new shape compiles kernels")
    parser.add_argument("--profile", action="store_true")
    given = parser.parse_args()
    config = load_settings(Config, given.settings)
    if not bf16_is_fast(CPU):
        print("this processor has no native bfloat16: all contenders in float32")
        config = config.model_copy(update={"train": config.train.model_copy(update={"bf16": False})})
    with tempfile.TemporaryDirectory() as folder:
        samples = read_annotations(given.data) if given.data else write_cultures(Path(folder), 9, seed=0)
        crops = Crops(samples, config)
    precision = "bfloat16" if config.train.bf16 else "float32"
    work = f"{config.train.batch} crops of {config.augment.size.side} a step"
    print(f"{len(samples)} images, {work}, {torch.get_num_threads()} threads, {precision}")
    if given.profile:
        shares(crops, config, min(given.steps, 5), given.warmup)
    else:
        show(measure(crops, config, given.steps, given.warmup))


if __name__ == "__main__":
    main()
