"""From images to raw predictions: `detect` runs any Detector, `Segmenter` is a model with its thresholds."""

import warnings
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchvision.ops import batched_nms, nms

from somaseg.config import DetectSettings, ModelSettings, PostprocessSettings
from somaseg.data.normalize import to_grey
from somaseg.inputs import prepare
from somaseg.instances import Instances, Prediction
from somaseg.models import boxes as bx
from somaseg.models.cascade import Detector
from somaseg.models.checkpoint import Checkpoint, load_checkpoint
from somaseg.postprocess import postprocess


def bf16_is_fast(device: torch.device) -> bool:
    """Whether the device computes in bfloat16 natively."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def detect(
    detector: Detector, images: Sequence[NDArray[Any]], settings: ModelSettings, bf16: bool, device: torch.device
) -> list[Prediction]:
    """Run a detector on images (H, W) or (H, W, C) with pixels; see `Prediction` for what comes back.

    Warns when an image reaches the cap on detections.
    """
    cfg = settings.detect
    with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=bf16):
        inputs = [prepare(image, settings).to(device) for image in images]
        features = detector.features(inputs)
        proposals = [boxes for boxes, _ in detector.propose(features)]
        kept = [_screen(b, p, i, cfg) for (b, p), i in zip(detector.refine(features, proposals), inputs, strict=True)]
        masks = detector.segment(features, [b for b, _, _ in kept], [label for _, _, label in kept])
    predictions = []
    for image, given, (boxes, scores, labels), mask in zip(images, inputs, kept, masks, strict=True):
        if len(boxes) == cfg.max_detections:
            warnings.warn(
                f"detections reached their cap of {cfg.max_detections}: raise detect.max_detections, or cells may be missing", stacklevel=2
            )
        height, width = image.shape[:2]
        back = torch.tensor([width / given.shape[2], height / given.shape[1]] * 2, device=boxes.device)
        predictions.append(
            Prediction(
                size=(height, width),
                boxes=(boxes * back).cpu().numpy(),
                scores=scores.float().cpu().numpy(),
                labels=labels.cpu().numpy(),
                mask_probs=mask.cpu().numpy().astype(np.float16),
                classes=settings.classes,
            )
        )
    return predictions


def _screen(boxes: Tensor, probabilities: Tensor, image: Tensor, cfg: DetectSettings) -> tuple[Tensor, Tensor, Tensor]:
    """Boxes, scores and labels above the threshold, after NMS, best first, at most `max_detections`."""
    boxes = bx.clip(boxes, (image.shape[1], image.shape[2]))
    if cfg.per_class:
        keep, labels = torch.nonzero((probabilities[:, :-1] > cfg.score_thresh) & bx.nonempty(boxes)[:, None], as_tuple=True)
        boxes, scores = boxes[keep], probabilities[keep, labels]
        order = batched_nms(boxes, scores, labels, cfg.nms_iou)
    else:
        labels, scores = probabilities[:, :-1].argmax(dim=1), 1 - probabilities[:, -1]
        keep = torch.nonzero((scores > cfg.score_thresh) & bx.nonempty(boxes))[:, 0]
        boxes, scores, labels = boxes[keep], scores[keep], labels[keep]
        order = nms(boxes, scores, cfg.nms_iou)
    order = order[: cfg.max_detections]
    return boxes[order], scores[order], labels[order]


class Segmenter:
    """A trained model with the thresholds that go with it.

    Attributes:
        name: `default`, or the path it was read from.
        sha256: of the weights' file.
        classes: class names.
        settings: thresholds of `segment`; replace them to change what it keeps.
    """

    def __init__(self, name: str, checkpoint: Checkpoint, device: str | None = None) -> None:
        self.name, self.sha256 = name, checkpoint.sha256
        self.provenance: dict[str, Any] = checkpoint.provenance
        self.model_settings = checkpoint.config.model
        self.classes = checkpoint.config.model.classes
        self.settings: PostprocessSettings = checkpoint.config.postprocess
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self.bf16 = bf16_is_fast(self.device)
        self._model = checkpoint.model.to(self.device)

    @property
    def about(self) -> dict[str, dict[str, Any]]:
        """Settings of the network and of the views, and the thresholds, as JSON takes them."""
        return {"model": self.model_settings.model_dump(mode="json"), "tta": {}, "postprocess": self.settings.model_dump(mode="json")}

    def predict(self, image: NDArray[Any]) -> Prediction:
        """Raw detections of an image (H, W) or (H, W, C), 8 or 16 bit or float (see `somaseg.data.normalize`)."""
        if not image.size:
            height, width = to_grey(image).shape
            none = np.zeros(0, np.float32)
            return Prediction(
                (height, width), none.reshape(0, 4), none, none.astype(np.int64), np.zeros((0, 28, 28), np.float16), self.classes
            )
        return detect(self._model, [image], self.model_settings, self.bf16, self.device)[0]

    def segment(self, image: NDArray[Any]) -> Instances:
        """The cells of an image (H, W) or (H, W, C), best first."""
        return postprocess(self.predict(image), self.settings)


def load(weights: str | Path = "default", device: str | None = None) -> Segmenter:
    """A segmenter from weights that come with somaseg, by name, or from a file of `somaseg train`.

    Raises:
        InputError: when there are no such weights.
    """
    name = str(weights)
    bundled = resources.files("somaseg") / "weights" / f"{name}.safetensors"
    if "/" not in name and bundled.is_file():
        with resources.as_file(bundled) as path:
            return Segmenter(name, load_checkpoint(path), device)
    return Segmenter(name, load_checkpoint(Path(weights)), device)
