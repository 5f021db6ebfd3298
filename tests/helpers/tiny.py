"""A network small enough for the tests of the model, and truths for it."""

from collections.abc import Sequence

import numpy as np
import torch

from somaseg.augmentation.scene import Scene
from somaseg.config import BackboneSettings, DetectSettings, HeadSettings, ModelSettings, RpnSettings, TimmSettings
from somaseg.masks.crops import Mask
from somaseg.models.targets import Target
from somaseg.training.dataset import as_tensors

BACKBONE = BackboneSettings(trunk=TimmSettings(name="test_efficientnet", freeze_at=0), strides=(4, 8, 16), fpn_width=16)
RPN = RpnSettings(sizes=((16,), (32,), (64,)), ratios=(1.0,), samples=32, pre_nms=60, post_nms=20, train_pre_nms=60, train_post_nms=20)
HEADS = HeadSettings(
    samples=16, canonical_size=32, canonical_level=1, box_fcs=1, box_fc_width=32, mask_convs=1, mask_width=16, mask_samples=8
)
TINY = ModelSettings(classes=("round", "long"), backbone=BACKBONE, rpn=RPN, heads=HEADS, detect=DetectSettings(scale=1.0, score_thresh=0.0))


def target(
    boxes: Sequence[Sequence[int]],
    masks: Sequence[Mask] | None = None,
    labels: Sequence[int] | None = None,
    ignored: Sequence[Sequence[float]] = (),
    weight: float = 1.0,
) -> Target:
    """The truth of cells with these boxes; masks fill their boxes and labels are 0 unless given."""
    corners = np.array(boxes, np.int32).reshape(-1, 4)
    filled = tuple(np.ones((y1 - y0, x1 - x0), bool) for x0, y0, x1, y1 in corners)
    classes = np.zeros(len(corners), np.int64) if labels is None else np.array(labels, np.int64)
    scene = Scene(np.zeros((1, 1), np.float32), corners, filled if masks is None else tuple(masks), classes)
    truth = as_tensors(scene, weight)[1]
    truth["ignored"] = torch.tensor(ignored, dtype=torch.float32).view(-1, 4)
    return truth
