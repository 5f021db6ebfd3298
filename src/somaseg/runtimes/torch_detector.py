"""A network of torch as a `Detector`: arrays go in and come out, tensors, device and number format stay inside."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from somaseg.images.levels import Levels
from somaseg.models.cascade import CascadeMaskRCNN
from somaseg.runtimes.detector import Floats
from somaseg.runtimes.torch_precision import autocast


class TorchDetector:
    """A Cascade Mask R-CNN in torch, on prepared images (1, h, w).

    Args:
        model: in evaluation mode, on its device.
        bf16: compute in bfloat16 where that is safe and the device is fast at it.
    """

    def __init__(self, model: CascadeMaskRCNN, bf16: bool) -> None:
        self.model, self.bf16, self.settings = model, bf16, model.settings
        self.device = model.mean.device

    def features(self, images: Sequence[Floats], levels: Levels | None = None) -> Any:
        """Pyramid levels of the padded batch, and the images' sizes in it."""
        with torch.inference_mode(), autocast(self.device, self.bf16):
            return self.model.features([torch.from_numpy(image) for image in images])

    def propose(self, features: Any, fields: float = 1.0) -> list[tuple[Floats, Floats]]:
        """For each image boxes (R, 4) and objectness logits (R,), best first; as many as for `fields` fields of view."""
        with torch.inference_mode(), autocast(self.device, self.bf16):
            return [(_array(boxes), _array(logits)) for boxes, logits in self.model.propose(features, fields)]

    def refine(self, features: Any, boxes: Sequence[Floats]) -> list[tuple[Floats, Floats]]:
        """For each image boxes (R, 4) and class probabilities (R, K + 1), background last."""
        with torch.inference_mode(), autocast(self.device, self.bf16):
            refined = self.model.refine(features, [self._tensor(of_image) for of_image in boxes])
            return [(_array(moved), _array(probabilities)) for moved, probabilities in refined]

    def segment(self, features: Any, boxes: Sequence[Floats], labels: Sequence[NDArray[np.int64]]) -> list[Floats]:
        """For each image mask probabilities (R, 28, 28)."""
        with torch.inference_mode(), autocast(self.device, self.bf16):
            given = ([self._tensor(of_image) for of_image in values] for values in (boxes, labels))
            return [_array(masks) for masks in self.model.segment(features, *given)]

    def _tensor(self, values: NDArray[Any]) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(values)).to(self.device)


def _array(tensor: Tensor) -> NDArray[Any]:
    values: NDArray[Any] = tensor.cpu().numpy()
    return values
