"""A network in onnxruntime as a `Detector`: graphs for what is dense, NumPy for anchors, suppression and pooling between them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from somaseg.config import ModelSettings
from somaseg.images.levels import Levels
from somaseg.masks.crops import Size
from somaseg.runtimes import boxes as bx
from somaseg.runtimes.detector import Floats
from somaseg.runtimes.graphs import open_graph
from somaseg.runtimes.pooling import level_of, roi_pool
from somaseg.runtimes.proposals import propose

# What `models.roi_heads` has too; a test holds them equal.
STAGE_WEIGHTS = ((10.0, 10.0, 5.0, 5.0), (20.0, 20.0, 10.0, 10.0), (30.0, 30.0, 15.0, 15.0))
BOX_BINS, MASK_BINS, MASK_SIDE = 7, 14, 28
CHUNK = 256  # masks drawn at once: bounds the memory of 14 x 14 features


@dataclass(frozen=True)
class OnnxFeatures:
    """What the dense part gives for one image.

    Attributes:
        levels: that boxes are pooled from, (H, W, C) each.
        objectness: logits of each level's anchors.
        deltas: of the same, (anchors, 4) each.
        shapes: (H, W) of all levels that propose.
        size: (height, width) of the image before it was padded.
    """

    levels: list[Floats]
    objectness: list[Floats]
    deltas: list[Floats]
    shapes: list[Size]
    size: Size


class OnnxDetector:
    """A Cascade Mask R-CNN in onnxruntime, on prepared images (1, h, w), one by one.

    Args:
        settings: of the model.
        graphs: `dense`, `box0` ..., `mask`, as `somaseg.checkpoints.to_onnx` makes them.
        weights: the network's tensors by name.
    """

    def __init__(self, settings: ModelSettings, graphs: Mapping[str, bytes], weights: Mapping[str, NDArray[np.float32]]) -> None:
        self.settings = settings
        self._sessions = {name: open_graph(graph, weights) for name, graph in graphs.items()}

    def features(self, images: Sequence[Floats], levels: Levels | None = None) -> list[OnnxFeatures]:
        """Pyramid levels and the anchors' values of each image."""
        return [self._dense(image) for image in images]

    def _dense(self, image: Floats) -> OnnxFeatures:
        given, backbone = self.settings.input, self.settings.backbone
        mean, std = (np.array(values, np.float32)[:, None, None] for values in (given.mean, given.std))
        values = (image - mean) / std
        size, step = (image.shape[1], image.shape[2]), max(backbone.strides)
        padded = np.pad(values, ((0, 0), (0, -size[0] % step), (0, -size[1] % step)))
        outputs = self._sessions["dense"].run(None, {"image": padded[None]})
        pooled, count = len(backbone.strides), len(backbone.level_strides)
        levels = [level[0] for level in outputs[:pooled]]
        shapes = [(level.shape[0], level.shape[1]) for level in levels]
        shapes += [(-(-height // 2), -(-width // 2)) for height, width in shapes[-1:] * (count - pooled)]
        objectness, deltas = outputs[pooled : pooled + count], outputs[pooled + count :]
        return OnnxFeatures(levels, [o[0] for o in objectness], [d[0] for d in deltas], shapes, size)

    def propose(self, features: Sequence[OnnxFeatures], fields: float = 1.0) -> list[tuple[Floats, Floats]]:
        """For each image boxes (R, 4) and objectness logits (R,), best first; as many as for `fields` fields of view."""
        strides, cfg = self.settings.backbone.level_strides, self.settings.rpn
        return [propose(seen.objectness, seen.deltas, seen.shapes, strides, seen.size, cfg, fields) for seen in features]

    def refine(self, features: Sequence[OnnxFeatures], boxes: Sequence[Floats]) -> list[tuple[Floats, Floats]]:
        """For each image boxes (R, 4) of the last stage and probabilities (R, K + 1) averaged over the stages."""
        return [self._refine(seen, of_image) for seen, of_image in zip(features, boxes, strict=True)]

    def _refine(self, seen: OnnxFeatures, boxes: Floats) -> tuple[Floats, Floats]:
        stages = len(self.settings.heads.ious)
        mean = np.zeros((len(boxes), len(self.settings.classes) + 1), np.float32)
        if not len(boxes):
            return boxes, mean
        for number in range(stages):
            if number:
                boxes = bx.clip(boxes, seen.size)
            logits, deltas = self._sessions[f"box{number}"].run(None, {"pooled": self._pool(seen, boxes, BOX_BINS)})
            mean += _softmax(logits) / np.float32(stages)
            boxes = bx.decode(boxes, deltas, STAGE_WEIGHTS[number])
        return boxes, mean

    def segment(self, features: Sequence[OnnxFeatures], boxes: Sequence[Floats], labels: Sequence[NDArray[np.int64]]) -> list[Floats]:
        """For each image mask probabilities (R, 28, 28) of the boxes' classes."""
        return [self._segment(*given) for given in zip(features, boxes, labels, strict=True)]

    def _segment(self, seen: OnnxFeatures, boxes: Floats, labels: NDArray[np.int64]) -> Floats:
        masks = np.zeros((len(boxes), MASK_SIDE, MASK_SIDE), np.float32)
        for start in range(0, len(boxes), CHUNK):
            part = slice(start, start + CHUNK)
            pooled = self._pool(seen, boxes[part], MASK_BINS)
            (masks[part],) = self._sessions["mask"].run(None, {"pooled": pooled, "labels": labels[part]})
        return masks

    def _pool(self, seen: OnnxFeatures, boxes: Floats, bins: int) -> Floats:
        cfg, strides = self.settings.heads, np.array(self.settings.backbone.strides, np.float32)
        level = level_of(boxes, cfg.canonical_level, cfg.canonical_size, len(strides))
        return roi_pool(seen.levels, level, boxes / strides[level][:, None], bins, cfg.pool_ratio)


def _softmax(logits: Floats) -> Floats:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares: Floats = powers / powers.sum(axis=1, keepdims=True)
    return shares
