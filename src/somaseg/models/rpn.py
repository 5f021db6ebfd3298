"""The region proposal network (Ren et al. 2015), with Detectron2's conventions and names."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from somaseg.config import RpnSettings
from somaseg.errors import InputError
from somaseg.masks.crops import Size
from somaseg.models import boxes as bx
from somaseg.models.layers import ConvBlock
from somaseg.models.targets import Target

WEIGHTS = (1.0, 1.0, 1.0, 1.0)


def anchors_of_level(sizes: tuple[float, ...], ratios: tuple[float, ...], stride: int, shape: Size, device: torch.device) -> Tensor:
    """Anchors (H * W * A, 4) of a level, centred at multiples of its stride, not rounded (Detectron2, offset 0)."""
    sides = torch.tensor([((s * s / r) ** 0.5, (s * s / r) ** 0.5 * r) for s in sizes for r in ratios], device=device)
    cells = torch.cat([-sides / 2, sides / 2], dim=1)
    y = torch.arange(shape[0], device=device, dtype=torch.float32) * stride
    x = torch.arange(shape[1], device=device, dtype=torch.float32) * stride
    gy, gx = torch.meshgrid(y, x, indexing="ij")
    shifts = torch.stack([gx, gy, gx, gy], dim=-1).reshape(-1, 1, 4)
    return (shifts + cells).reshape(-1, 4)


def _parts(boxes: Tensor, size: Size, side: int) -> Tensor:
    """In which of side x side parts of an image of `size` the centre of each box lies (N,)."""
    x, y = ((boxes[:, axis] + boxes[:, axis + 2]) / 2 * side / size[1 - axis] for axis in (0, 1))
    return x.long().clamp(0, side - 1) + side * y.long().clamp(0, side - 1)


class RpnHead(nn.Module):
    """One convolution, objectness and box deltas for every anchor."""

    def __init__(self, width: int, anchors: int) -> None:
        super().__init__()
        self.conv = ConvBlock(width, width, 3, relu=True)
        self.objectness_logits = nn.Conv2d(width, anchors, 1)
        self.anchor_deltas = nn.Conv2d(width, 4 * anchors, 1)
        for layer in (self.conv, self.objectness_logits, self.anchor_deltas):
            nn.init.normal_(layer.weight, std=0.01)
            assert layer.bias is not None
            nn.init.zeros_(layer.bias)

    def forward(self, levels: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Objectness (B, H * W * A) and deltas (B, H * W * A, 4) by level, float32."""
        objectness, deltas = [], []
        for level in levels:
            hidden = self.conv(level)
            objectness.append(self.objectness_logits(hidden).permute(0, 2, 3, 1).flatten(1).float())
            deltas.append(self.anchor_deltas(hidden).permute(0, 2, 3, 1).reshape(len(level), -1, 4).float())
        return objectness, deltas


class Rpn(nn.Module):
    """Proposes boxes that may hold a cell."""

    def __init__(self, settings: RpnSettings, width: int, strides: tuple[int, ...]) -> None:
        super().__init__()
        self.settings, self.strides = settings, strides
        counts = {len(s) * len(settings.ratios) for s in settings.sizes}
        if len(counts) != 1 or len(settings.sizes) != len(strides):
            raise InputError(f"model.rpn.sizes: found {settings.sizes}: give as many sizes on each of the {len(strides)} levels")
        self.rpn_head = RpnHead(width, counts.pop())

    def anchors(self, levels: list[Tensor]) -> list[Tensor]:
        """Anchors by level, (H * W * A, 4)."""
        return [
            anchors_of_level(sizes, self.settings.ratios, stride, (level.shape[2], level.shape[3]), level.device)
            for sizes, stride, level in zip(self.settings.sizes, self.strides, levels, strict=True)
        ]

    def forward(
        self, levels: list[Tensor], sizes: list[Size], targets: list[Target] | None = None, fields: float = 1.0
    ) -> tuple[list[tuple[Tensor, Tensor]], dict[str, Tensor]]:
        """Proposals.

        Args:
            levels: features, fine to coarse.
            sizes: (height, width) of each image inside the padded batch.
            targets: the truth, in training.
            fields: how many fields of view an image shows: as often the number of proposals of the settings.

        Returns:
            For each image boxes (R, 4) and objectness logits (R,), best first; and the losses, empty without targets.
        """
        anchors = self.anchors(levels)
        objectness, deltas = self.rpn_head(levels)
        with torch.no_grad():
            proposals = self.select(anchors, objectness, deltas, sizes, fields)
        losses = {} if targets is None else self.losses(anchors, objectness, deltas, targets)
        return proposals, losses

    def select(
        self, anchors: list[Tensor], objectness: list[Tensor], deltas: list[Tensor], sizes: list[Size], fields: float = 1.0
    ) -> list[tuple[Tensor, Tensor]]:
        """The best boxes of each level, clipped, after NMS within each level, best first.

        In an image of several fields NMS runs in parts of about a field each, since its time grows with the square of the boxes. Two
        boxes of one cell may stay where their centres lie in two parts; NMS of the detections sees them together.
        """
        cfg = self.settings
        budgets = (cfg.train_pre_nms, cfg.train_post_nms) if self.training else (cfg.pre_nms, cfg.post_nms)
        before, after = (round(budget * fields) for budget in budgets)
        proposals = []
        for image, size in enumerate(sizes):
            parts, logits, levels = [], [], []
            for level, (anchor, score, move) in enumerate(zip(anchors, objectness, deltas, strict=True)):
                top, chosen = score[image].topk(min(before, score.shape[1]))
                parts.append(bx.clip(bx.decode(anchor[chosen], move[image][chosen], WEIGHTS), size))
                logits.append(top)
                levels.append(torch.full_like(chosen, level))
            box, logit, level_of = torch.cat(parts), torch.cat(logits), torch.cat(levels)
            keep = bx.nonempty(box)
            box, logit, level_of = box[keep], logit[keep], level_of[keep]
            groups = _parts(box, size, math.ceil(fields**0.5)) * len(levels) + level_of
            keep = bx.batched_nms(box, logit, groups, cfg.nms_iou)[:after]
            proposals.append((box[keep], logit[keep]))
        return proposals

    def losses(self, anchors: list[Tensor], objectness: list[Tensor], deltas: list[Tensor], targets: list[Target]) -> dict[str, Tensor]:
        """Binary cross-entropy on sampled anchors and L1 on the deltas of cells, each image's times its weight, over samples x images."""
        cfg = self.settings
        anchor, logit, delta = torch.cat(anchors), torch.cat(objectness, dim=1), torch.cat(deltas, dim=1)
        normaliser = cfg.samples * len(targets)
        loss_class, loss_box = logit.sum() * 0, delta.sum() * 0
        for image, target in enumerate(targets):
            cell, kind = bx.match(bx.iou(target["boxes"], anchor), cfg.positive_iou, cfg.negative_iou, keep_best=True)
            kind = bx.without_ignored(kind, anchor, target["ignored"])
            positive, negative = bx.sample(kind, cfg.samples, cfg.positive_share)
            chosen = torch.cat([positive, negative])
            quality = self._quality(anchor[positive], delta[image][positive], target["boxes"][cell[positive]])
            truth = torch.cat([quality, quality.new_zeros(len(negative))])
            cost = functional.binary_cross_entropy_with_logits(logit[image][chosen], truth, reduction="sum")
            loss_class = loss_class + target["weight"] * cost
            if len(positive):
                goal = bx.encode(anchor[positive], target["boxes"][cell[positive]], WEIGHTS)
                loss_box = loss_box + target["weight"] * functional.l1_loss(delta[image][positive], goal, reduction="sum")
        return {"loss_rpn_cls": loss_class / normaliser, "loss_rpn_loc": loss_box / normaliser}

    def _quality(self, anchors: Tensor, deltas: Tensor, cells: Tensor) -> Tensor:
        """What the logits of anchors (P, 4) with their cells' boxes (P, 4) should say, as probabilities (P,).

        The IoU is a soft target of the binary cross-entropy (as in generalised focal loss, Li et al. 2020, without its focus, since
        anchors are sampled); no gradient passes through it.
        """
        if self.settings.objectness == "binary":
            return torch.ones(len(anchors), device=anchors.device)
        return bx.paired_iou(bx.decode(anchors, deltas.detach(), WEIGHTS), cells)
