"""Heads of boxes and masks small enough for tests, and what they are given."""

import torch

from somaseg.models.roi_heads import RoiHeads
from tiny import HEADS

STRIDES, SIZE = (4, 8, 16), (64, 64)


def heads(**changes):
    """Heads on three levels of eight channels, for two classes, the same each time."""
    torch.manual_seed(0)
    return RoiHeads(HEADS.model_copy(update=changes), 8, STRIDES, 2)


def random_levels(images=1, seed=0):
    """Features of an image of 64 x 64 pixels at three strides."""
    random = torch.Generator().manual_seed(seed)
    return [torch.randn(images, 8, 64 // s, 64 // s, generator=random).requires_grad_() for s in STRIDES]


def random_boxes(count, seed=0):
    """Boxes of 4 to 64 pixels."""
    corners = torch.rand(count, 2, 2, generator=torch.Generator().manual_seed(seed)).sort(dim=1).values
    return corners.view(count, 4) * 60 + torch.tensor([0.0, 0, 4, 4])


def constant_predictors(head, logits, deltas):
    """Make stage s predict the same logits and deltas for every box."""
    for predictor, logit, delta in zip(head.box_predictor, logits, deltas, strict=True):
        for layer, value in ((predictor.cls_score, logit), (predictor.bbox_pred, delta)):
            torch.nn.init.zeros_(layer.weight)
            layer.bias.data = torch.tensor(value)
    return head
