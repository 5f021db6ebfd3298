"""Cascade Mask R-CNN, whole."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from somaseg.config import ModelSettings
from somaseg.masks.crops import Size
from somaseg.models.backbone import Backbone
from somaseg.models.roi_heads import RoiHeads
from somaseg.models.rpn import Rpn
from somaseg.models.targets import Target


class CascadeMaskRCNN(nn.Module):
    """Backbone with FPN, proposals, three box stages and masks, composed by settings.

    Args:
        settings: of the model.
        pretrained: start the backbone from packaged ImageNet weights.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, settings: ModelSettings, pretrained: bool = False) -> None:
        super().__init__()
        self.settings = settings
        backbone, given = settings.backbone, settings.input
        for name, values in (("mean", given.mean), ("std", given.std)):
            self.register_buffer(name, torch.tensor(values)[:, None, None], persistent=False)
        self.backbone = Backbone(backbone, given.channels, pretrained)
        self.proposal_generator = Rpn(settings.rpn, backbone.fpn_width, backbone.level_strides)
        self.roi_heads = RoiHeads(settings.heads, backbone.fpn_width, backbone.strides, len(settings.classes))
        self.to(memory_format=torch.channels_last)

    def pad(self, images: Sequence[Tensor]) -> tuple[Tensor, list[Size]]:
        """Stack images (1, H, W) as `InputSettings` says, zero-padded right and below to one size that the coarsest stride divides."""
        images = [(i.to(self.mean.device) - self.mean) / self.std for i in images]
        sizes = [(i.shape[1], i.shape[2]) for i in images]
        step = max(self.settings.backbone.strides)
        height, width = (-(-max(s[axis] for s in sizes) // step) * step for axis in (0, 1))
        batch = torch.stack([functional.pad(i, (0, width - i.shape[2], 0, height - i.shape[1])) for i in images])
        return batch.contiguous(memory_format=torch.channels_last), sizes

    def features(self, images: Sequence[Tensor]) -> tuple[list[Tensor], list[Size]]:
        """Pyramid levels of the padded batch, and the images' sizes in it."""
        batch, sizes = self.pad(images)
        return self.backbone(batch), sizes

    def propose(self, features: tuple[list[Tensor], list[Size]], fields: float = 1.0) -> list[tuple[Tensor, Tensor]]:
        """For each image boxes (R, 4) and objectness logits (R,), best first; as many as for `fields` fields of view."""
        proposals: list[tuple[Tensor, Tensor]] = self.proposal_generator(*features, fields=fields)[0]
        return proposals

    def refine(self, features: tuple[list[Tensor], list[Size]], boxes: Sequence[Tensor]) -> list[tuple[Tensor, Tensor]]:
        """For each image boxes (R, 4) of the last stage and probabilities (R, K + 1) averaged over the stages."""
        return list(zip(*self.roi_heads.refine(features[0], list(boxes), features[1]), strict=True))

    def segment(self, features: tuple[list[Tensor], list[Size]], boxes: Sequence[Tensor], labels: Sequence[Tensor]) -> list[Tensor]:
        """For each image mask probabilities (R, 28, 28) of the boxes' classes."""
        return self.roi_heads.segment(features[0], list(boxes), list(labels))

    def forward(self, images: list[Tensor], targets: list[Target], micro_batches: int = 1) -> dict[str, Tensor]:
        """All losses of a batch that a part which trains may lower; the total is their sum.

        With several micro-batches only one at a time holds what the trunk's backward pass needs: it is computed again for each.
        The heads see the whole batch, so the losses and their gradients are the same.
        """
        batch, sizes = self.pad(images)
        if micro_batches == 1:
            levels = self.backbone(batch)
        else:
            parts = batch.tensor_split(min(micro_batches, len(batch)))
            made = [checkpoint(self.backbone, part, use_reentrant=False, preserve_rng_state=False) for part in parts]
            levels = [torch.cat(level) for level in zip(*made, strict=True)]
        losses: dict[str, Tensor]
        proposals, losses = self.proposal_generator(levels, sizes, targets)
        if any(weight.requires_grad for part in (self.backbone, self.roi_heads) for weight in part.parameters()):
            losses.update(self.roi_heads.losses(levels, [boxes for boxes, _ in proposals], sizes, targets))
        return losses
