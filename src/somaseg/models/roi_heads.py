"""The cascade of box heads (Cai & Vasconcelos 2018) and the mask head (He et al. 2017), with Detectron2's names."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.nn import functional

from somaseg.config import HeadSettings
from somaseg.masks.crops import Size
from somaseg.models import boxes as bx
from somaseg.models.layers import ConvBlock
from somaseg.models.packed import Packed, is_plain_inference, linear
from somaseg.models.pooling import Planes, roi_pool
from somaseg.models.targets import Target

# How finely each stage codes its deltas (Cascade R-CNN, table of Detectron2): later stages make smaller moves.
STAGE_WEIGHTS = ((10.0, 10.0, 5.0, 5.0), (20.0, 20.0, 10.0, 10.0), (30.0, 30.0, 15.0, 15.0))
BOX_BINS, MASK_BINS, MASK_SIDE = 7, 14, 28
ROWS = 32


class BoxHead(nn.Module):
    """Convolutions, then fully connected layers on 7 x 7 features: (R, C, 7, 7) -> (R, box_fc_width)."""

    def __init__(self, cfg: HeadSettings, channels: int) -> None:
        super().__init__()
        self.convs, self.fcs = cfg.box_convs, cfg.box_fcs
        for i in range(cfg.box_convs):
            self.add_module(f"conv{i + 1}", ConvBlock(channels, cfg.box_conv_width, 3, norm=cfg.norm, relu=True))
            channels = cfg.box_conv_width
        width = channels * BOX_BINS * BOX_BINS
        for i in range(cfg.box_fcs):
            layer = nn.Linear(width, cfg.box_fc_width)
            nn.init.kaiming_uniform_(layer.weight, a=1)
            nn.init.zeros_(layer.bias)
            self.add_module(f"fc{i + 1}", layer)
            width = cfg.box_fc_width
        self.width = width
        self.packed = Packed()

    def forward(self, x: Tensor) -> Tensor:
        """(R, C, 7, 7) -> (R, box_fc_width)."""
        for i in range(self.convs):
            x = self.get_submodule(f"conv{i + 1}")(x)
        first = 0
        if self.fcs and is_plain_inference(x):
            # The weight is turned to the memory of the features once, not the features to the weight at each call.
            layer = self.get_submodule("fc1")
            assert isinstance(layer, nn.Linear)
            x, first = functional.relu(linear(x.permute(0, 2, 3, 1).flatten(1), layer, self.packed, x.shape[1])), 1
        x = x.flatten(1)
        for i in range(first, self.fcs):
            x = functional.relu(self.get_submodule(f"fc{i + 1}")(x))
        return x


class BoxPredictor(nn.Module):
    """Class logits (R, K + 1), background last, and four class-agnostic deltas (R, 4), both float32."""

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        self.cls_score = nn.Linear(width, classes + 1)
        self.bbox_pred = nn.Linear(width, 4)
        nn.init.normal_(self.cls_score.weight, std=0.01)
        nn.init.normal_(self.bbox_pred.weight, std=0.001)
        nn.init.zeros_(self.cls_score.bias)
        nn.init.zeros_(self.bbox_pred.bias)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Logits and deltas of R boxes."""
        return self.cls_score(x).float(), self.bbox_pred(x).float()


class MaskHead(nn.Module):
    """Convolutions, upsampling to 28 x 28, one logit map a class: (R, C, 14, 14) -> float32 (R, K, 28, 28)."""

    def __init__(self, cfg: HeadSettings, channels: int, classes: int) -> None:
        super().__init__()
        self.convs = cfg.mask_convs
        for i in range(cfg.mask_convs):
            self.add_module(f"mask_fcn{i + 1}", ConvBlock(channels, cfg.mask_width, 3, norm=cfg.norm, relu=True))
            channels = cfg.mask_width
        self.deconv = nn.ConvTranspose2d(channels, cfg.mask_width, 2, stride=2)
        self.predictor = nn.Conv2d(cfg.mask_width, classes, 1)
        nn.init.kaiming_normal_(self.deconv.weight, mode="fan_out", nonlinearity="relu")
        nn.init.normal_(self.predictor.weight, std=0.001)
        for bias in (self.deconv.bias, self.predictor.bias):
            assert bias is not None
            nn.init.zeros_(bias)

    def forward(self, x: Tensor) -> Tensor:
        """Mask logits by class."""
        for i in range(self.convs):
            x = self.get_submodule(f"mask_fcn{i + 1}")(x)
        logits: Tensor = self.predictor(functional.relu(self.deconv(x))).float()
        return logits


@dataclass(frozen=True)
class Boxes:
    """Boxes of a batch: coordinates float32 (R, 4), and the image each lies in, int64 (R,)."""

    xyxy: Tensor
    image: Tensor

    def __getitem__(self, index: Tensor) -> "Boxes":
        """The chosen boxes."""
        return Boxes(self.xyxy[index], self.image[index])

    @classmethod
    def join(cls, parts: list[Tensor]) -> "Boxes":
        """One list of boxes an image."""
        image = torch.cat([torch.full((len(p),), i, device=p.device) for i, p in enumerate(parts)])
        return cls(torch.cat(parts), image)

    def split(self, values: Tensor, images: int) -> list[Tensor]:
        """Values (R, ...) by image; the boxes must lie in the order of the images."""
        return list(torch.split(values, torch.bincount(self.image, minlength=images).tolist()))


@dataclass(frozen=True)
class MatchedBoxes:
    """Boxes with what each should be: class (background K), matched cell of its image (meaningless for background)."""

    boxes: Boxes
    labels: Tensor
    goals: Tensor
    cells: Tensor

    def __getitem__(self, index: Tensor) -> "MatchedBoxes":
        """The chosen boxes."""
        return MatchedBoxes(self.boxes[index], self.labels[index], self.goals[index], self.cells[index])


class RoiHeads(nn.Module):
    """Refines proposals stage by stage and draws the masks.

    Args:
        settings: of the heads.
        channels: of every level.
        strides: of the levels that are pooled from, fine to coarse; a pyramid's levels beyond them are not read.
        classes: how many.
    """

    def __init__(self, settings: HeadSettings, channels: int, strides: tuple[int, ...], classes: int) -> None:
        super().__init__()
        self.settings, self.strides, self.classes = settings, strides, classes
        stages = range(len(settings.ious))
        self.box_head = nn.ModuleList(BoxHead(settings, channels) for _ in stages)
        self.box_predictor = nn.ModuleList(BoxPredictor(self.box_head[s].width, classes) for s in stages)  # type: ignore[arg-type]
        self.mask_head = MaskHead(settings, channels, classes)

    def planes(self, levels: list[Tensor]) -> Planes:
        """The levels that are pooled from."""
        return Planes.from_levels(levels[: len(self.strides)])

    def pool(self, planes: Planes, images: int, boxes: Boxes, bins: int) -> Tensor:
        """Features (R, C, bins, bins) of each box, from the level that fits its size; then zeros, see `_padded`."""
        cfg = self.settings
        side = ((boxes.xyxy[:, 2] - boxes.xyxy[:, 0]) * (boxes.xyxy[:, 3] - boxes.xyxy[:, 1])).clamp(min=0).sqrt()
        level = torch.floor(cfg.canonical_level + torch.log2(side / cfg.canonical_size + 1e-8))
        level = level.clamp(0, len(self.strides) - 1).long()
        stride = torch.tensor(self.strides, device=side.device)[level]
        return roi_pool(planes, level * images + boxes.image, boxes.xyxy / stride[:, None], bins, cfg.pool_ratio, multiple=ROWS)

    def stage(self, number: int, planes: Planes, images: int, boxes: Boxes) -> tuple[Tensor, Tensor]:
        """Class logits and deltas of one stage."""
        pooled = self.pool(planes, images, boxes, BOX_BINS)
        if torch.is_grad_enabled():
            pooled = _ScaleGradient.apply(pooled, 1.0 / len(self.settings.ious))
        logits, deltas = self.box_predictor[number](self.box_head[number](_padded(pooled)))
        return logits[: len(boxes.xyxy)], deltas[: len(boxes.xyxy)]

    def refine(self, levels: list[Tensor], boxes: list[Tensor], sizes: list[Size]) -> tuple[list[Tensor], list[Tensor]]:
        """Final boxes (R, 4) and class probabilities (R, K + 1), averaged over the stages, for each image."""
        planes, now, probabilities = self.planes(levels), Boxes.join(boxes), []
        for number in range(len(self.settings.ious)):
            if number:
                now = self._clipped(now, sizes)
            logits, deltas = self.stage(number, planes, len(sizes), now)
            probabilities.append(logits.softmax(dim=1))
            now = Boxes(bx.decode(now.xyxy, deltas, STAGE_WEIGHTS[number]), now.image)
        mean = torch.stack(probabilities).mean(dim=0)
        return now.split(now.xyxy, len(sizes)), now.split(mean, len(sizes))

    def segment(self, levels: list[Tensor], boxes: list[Tensor], labels: list[Tensor]) -> list[Tensor]:
        """Mask probabilities (R, 28, 28) of each box's class, for each image."""
        planes, now = self.planes(levels), Boxes.join(boxes)
        label = torch.cat(labels)
        parts = []
        for chunk in torch.split(torch.arange(len(label), device=label.device), 256):  # bounds the memory of 14 x 14 features
            logits = self.mask_head(_padded(self.pool(planes, len(boxes), now[chunk], MASK_BINS)))
            parts.append(logits[torch.arange(len(chunk), device=label.device), label[chunk]].sigmoid())
        return now.split(torch.cat(parts), len(boxes))

    def losses(self, levels: list[Tensor], proposals: list[Tensor], sizes: list[Size], targets: list[Target]) -> dict[str, Tensor]:
        """Losses of all stages and of the masks, each image's times its weight."""
        planes = self.planes(levels)
        matched = self.sample([torch.cat([p, t["boxes"]]) for p, t in zip(proposals, targets, strict=True)], targets)
        losses = self.mask_loss(planes, matched, sizes, targets)
        moved = matched.boxes.xyxy
        for number in range(len(self.settings.ious)):
            if number:
                clipped = self._clipped(Boxes(moved, matched.boxes.image), sizes)
                matched = self.match(clipped[bx.nonempty(clipped.xyxy)], targets, self.settings.ious[number])
            logits, deltas = self.stage(number, planes, len(sizes), matched.boxes)
            weights = STAGE_WEIGHTS[number]
            count = mean_over_processes(len(logits))
            image = matched.boxes.image
            losses[f"loss_cls_stage{number}"] = weighted_sum(functional.cross_entropy, logits, matched.labels, image, targets) / count
            cell = torch.nonzero(matched.labels < self.classes)[:, 0]
            goal = bx.encode(matched.boxes.xyxy[cell], matched.goals[cell], weights)
            losses[f"loss_box_reg_stage{number}"] = weighted_sum(functional.l1_loss, deltas[cell], goal, image[cell], targets) / count
            moved = bx.decode(matched.boxes.xyxy, deltas.detach(), weights)
        return losses

    def match(self, boxes: Boxes, targets: list[Target], threshold: float) -> MatchedBoxes:
        """Label every box: the class of the cell it overlaps most, or background below the threshold; ignored background is left out."""
        labels, goals, cells, counts = [], [], [], []
        for part, target in zip(boxes.split(boxes.xyxy, len(targets)), targets, strict=True):
            cell, kind = bx.match(bx.iou(target["boxes"], part), threshold, threshold, keep_best=False)
            cells.append(cell)
            counts.append(bx.without_ignored(kind, part, target["ignored"]) >= 0)
            if len(target["boxes"]):
                labels.append(torch.where(kind == 1, target["labels"][cell], self.classes))
                goals.append(target["boxes"][cell])
            else:
                labels.append(torch.full_like(cell, self.classes))
                goals.append(torch.zeros_like(part))
        return MatchedBoxes(boxes, torch.cat(labels), torch.cat(goals), torch.cat(cells))[torch.cat(counts)]

    def sample(self, candidates: list[Tensor], targets: list[Target]) -> MatchedBoxes:
        """Match candidates at the first stage's IoU and draw those that enter the losses."""
        cfg = self.settings
        matched = self.match(Boxes.join(candidates), targets, cfg.ious[0])
        chosen, start = [], 0
        for part in matched.boxes.split(matched.labels, len(targets)):
            kind = (part < self.classes).long()
            chosen += [index + start for index in bx.sample(kind, cfg.samples, cfg.positive_share)]
            start += len(part)
        return matched[torch.cat(chosen)]

    def mask_loss(self, planes: Planes, matched: MatchedBoxes, sizes: list[Size], targets: list[Target]) -> dict[str, Tensor]:
        """Mean binary cross-entropy of the true class's map; the target is the pooled truth, >= .5."""
        cell = matched.labels < self.classes
        if self.settings.mask_samples:
            kept = torch.zeros_like(cell)
            for image in range(len(targets)):
                kept[torch.nonzero(cell & (matched.boxes.image == image))[: self.settings.mask_samples, 0]] = True
            cell = kept
        matched = matched[cell]
        boxes, labels = matched.boxes, matched.labels
        logits = self.mask_head(_padded(self.pool(planes, len(targets), boxes, MASK_BINS)))
        count = mean_over_processes(len(labels))
        if not len(labels):
            return {"loss_mask": logits.sum() * 0}
        with torch.no_grad():
            truth = mask_targets(boxes, matched.cells, sizes, targets)
        own = logits[torch.arange(len(labels), device=labels.device), labels]
        loss = weighted_sum(functional.binary_cross_entropy_with_logits, own, truth, boxes.image, targets)
        return {"loss_mask": loss / (MASK_SIDE**2 * count)}

    def _clipped(self, boxes: Boxes, sizes: list[Size]) -> Boxes:
        limits = torch.tensor([(w, h, w, h) for h, w in sizes], device=boxes.xyxy.device, dtype=torch.float32)[boxes.image]
        return Boxes(torch.minimum(boxes.xyxy.clamp(min=0), limits), boxes.image)


def _padded(x: Tensor) -> Tensor:
    """Zero rows appended up to the next multiple of `ROWS`.

    oneDNN compiles its kernels anew for every shape it has not seen, which takes seconds; so heads see few shapes.
    """
    missing = -len(x) % ROWS
    return functional.pad(x, (0, 0) * (x.ndim - 1) + (0, missing)) if missing else x


def mask_targets(boxes: Boxes, cells: Tensor, sizes: list[Size], targets: list[Target]) -> Tensor:
    """The truth of each box's cell on its 28 x 28 grid, 0 or 1 (R, 28, 28), as pooled from the mask in its whole image."""
    first_cell = torch.tensor([0, *(len(t["mask_boxes"]) for t in targets)]).cumsum(0)[:-1].to(cells.device)
    crop_boxes = torch.cat([t["mask_boxes"] for t in targets])
    heights, widths = crop_boxes[:, 3] - crop_boxes[:, 1], crop_boxes[:, 2] - crop_boxes[:, 0]
    offsets = torch.cat([heights.new_zeros(1), (heights * widths).cumsum(0)[:-1]])
    pixels = torch.cat([t["mask_pixels"] for t in targets]).float()[:, None]
    plane = first_cell[boxes.image] + cells
    corner = crop_boxes[plane][:, [0, 1, 0, 1]]
    frames = torch.tensor([(0, 0, w, h) for h, w in sizes], device=cells.device)[boxes.image] - corner
    share = roi_pool(Planes(pixels, offsets, heights, widths), plane, boxes.xyxy - corner, MASK_SIDE, frames=frames)
    return (share[:, 0] >= 0.5).float()


def weighted_sum(loss: Callable[..., Tensor], found: Tensor, goal: Tensor, image: Tensor, targets: list[Target]) -> Tensor:
    """What boxes (R, ...) cost together, each times the weight of its image (R,).

    Images of the same weight are summed in one go, so that without other weights the sum is that of the plain loss to the last bit.
    """
    weights = torch.stack([t["weight"] for t in targets])
    sums = []
    for weight in weights.unique():
        counts = (weights == weight)[image]
        sums.append(weight * loss(found[counts], goal[counts], reduction="sum"))
    return torch.stack(sums).sum()


def mean_over_processes(count: int) -> float:
    """A count, in total at least 1, averaged over the processes of a run, so that their mean loss is that of the joint batch."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return float(max(count, 1))
    total = torch.tensor(float(count), device="cuda" if distributed.get_backend() == "nccl" else "cpu")
    distributed.all_reduce(total)
    return max(float(total), 1.0) / distributed.get_world_size()


class _ScaleGradient(torch.autograd.Function):
    """The identity, with its gradient scaled: each stage sends back an equal share (Detectron2)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, factor: float) -> Tensor:
        ctx.factor = factor
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        return grads[0] * ctx.factor, None
