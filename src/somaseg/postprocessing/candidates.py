"""The record that the steps of post-processing and fusion pass on: candidates for cells of one image."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from somaseg.errors import InputError
from somaseg.instances import Instances, Prediction
from somaseg.masks import crops as mk
from somaseg.postprocessing.soft_masks import SoftMasks


@dataclass(frozen=True, eq=False)
class Pixels:
    """The pixels of N candidates.

    Attributes:
        boxes: int32 (N, 4), x0 y0 x1 y1 in pixels, half-open, tight around the masks.
        crops: N boolean masks, each exactly its box; none is empty.
        quality: float32 (N,), mean mask probability over the pixels that the probabilities gave the mask; 1 for masks without any.
    """

    boxes: mk.Boxes
    crops: tuple[mk.Mask, ...]
    quality: NDArray[np.float32]

    def __getitem__(self, chosen: NDArray[np.int64]) -> "Pixels":
        """The chosen ones, in that order."""
        return Pixels(self.boxes[chosen], tuple([self.crops[i] for i in chosen.tolist()]), self.quality[chosen])


@dataclass(frozen=True, eq=False)
class Candidates:
    """What may be the cells of one image, always in falling order of score.

    Attributes:
        size: (height, width) of the image in pixels.
        classes: class names.
        boxes: float32 (N, 4), x0 y0 x1 y1 in pixels of the image, as the detector found them.
        labels: int64 (N,), indices into `classes`.
        scores: float32 (N,), in [0, 1].
        soft: mask probabilities; None where only masks are known.
        pixels: the masks; None before they are pasted.
        numbers: int64 (N,), which of those that steps began with each is; the pieces of one share its number.
        zoom: how many times larger the network was shown the image than at the weights' own scale, at which settings count pixels.
    """

    size: mk.Size
    classes: tuple[str, ...]
    boxes: NDArray[np.float32]
    labels: NDArray[np.int64]
    scores: NDArray[np.float32]
    soft: SoftMasks | None
    pixels: Pixels | None
    numbers: NDArray[np.int64]
    zoom: float = 1.0

    @classmethod
    def from_prediction(cls, prediction: Prediction) -> "Candidates":
        """All raw detections."""
        labels, scores = np.asarray(prediction.labels, np.int64), np.asarray(prediction.scores, np.float32)
        numbers = np.arange(len(prediction))
        soft = SoftMasks.of(prediction.mask_probs)
        every = cls(prediction.size, prediction.classes, prediction.boxes, labels, scores, soft, None, numbers, prediction.zoom)
        return every.ranked(scores)

    @classmethod
    def from_instances(cls, cells: Instances) -> "Candidates":
        """Cells with their masks, without mask probabilities; empty masks are left out."""
        pixels = Pixels(cells.boxes, cells.masks, np.ones(len(cells), np.float32))
        numbers = np.arange(len(cells))
        every = cls(cells.size, cells.classes, cells.boxes.astype(np.float32), cells.labels, cells.scores, None, pixels, numbers)
        return every[np.flatnonzero(cells.area)].ranked(cells.scores[cells.area > 0])

    def to_instances(self) -> Instances:
        """The candidates as cells.

        Raises:
            InputError: when their masks were not pasted yet.
        """
        pixels = self.pasted
        return Instances(self.size, pixels.boxes, pixels.crops, self.labels, self.scores, self.classes)

    @property
    def mask_probs(self) -> NDArray[np.floating] | None:
        """Mask probabilities (N, S, S), copied; None where only masks are known."""
        return None if self.soft is None else self.soft[np.arange(len(self))]

    @property
    def pasted(self) -> Pixels:
        """The masks.

        Raises:
            InputError: when they were not pasted yet.
        """
        if self.pixels is None:
            raise InputError("post-processing: found candidates without masks, expected pasted ones: put the step `paste` before this one")
        return self.pixels

    def __len__(self) -> int:
        return len(self.scores)

    def __getitem__(self, chosen: NDArray[np.int64]) -> "Candidates":
        """The chosen ones; the indices must rise, so that scores still fall (a repeated index is fine)."""
        return Candidates(
            self.size,
            self.classes,
            self.boxes[chosen],
            self.labels[chosen],
            self.scores[chosen],
            None if self.soft is None else self.soft.of_some(chosen),
            None if self.pixels is None else self.pixels[chosen],
            self.numbers[chosen],
            self.zoom,
        )

    def ranked(self, scores: NDArray[np.float32]) -> "Candidates":
        """All of them with new scores (N,), in falling order of those; equal ones keep their order."""
        return replace(self, scores=scores)[np.argsort(-scores, kind="stable")]

    def with_crops(self, crops: Sequence[mk.Mask]) -> "Candidates":
        """All of them with pixels taken away: crops of the old shapes become tight, candidates left without a pixel go.

        Args:
            crops: N masks; one that is the very same array as before is taken for unchanged.
        """
        before = self.pasted
        boxes, tight = before.boxes.tolist(), list(before.crops)
        for i, (crop, old) in enumerate(zip(crops, before.crops, strict=True)):
            if crop is not old:
                (x0, y0, x1, y1), tight[i] = mk.crop_from_mask(crop)
                x, y = boxes[i][:2]
                boxes[i] = [x + x0, y + y0, x + x1, y + y1]
        every = replace(self, pixels=Pixels(np.array(boxes, np.int32).reshape(-1, 4), tuple(tight), before.quality))
        left = np.flatnonzero([crop.size for crop in tight])
        return every if len(left) == len(every) else every[left]
