"""The two records that cross every command, `Prediction` (raw) and `Instances` (final); `Predictor`, which gives the first, of `Pixels`."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from somaseg.errors import InputError
from somaseg.masks import crops as mk
from somaseg.masks.outlines import crop_from_outlines, outlines_from_crop
from somaseg.masks.rle import crops_from_runs, runs_from_texts, text_of_coco_rle


@dataclass(frozen=True, eq=False)
class Instances:
    """The cells of one image; masks are crops, so overlaps survive and 800 cells take .3 MB.

    Attributes:
        size: (height, width) of the image in pixels.
        boxes: int32 (N, 4), x0 y0 x1 y1 in pixels, half-open, inside the image.
        masks: N boolean crops; crop i has exactly the shape of box i.
        labels: int64 (N,), indices into `classes`.
        scores: float32 (N,), in [0, 1]; 1 for annotations made by hand.
        classes: class names.

    Raises:
        InputError: when the fields do not agree with each other.
    """

    size: mk.Size
    boxes: NDArray[np.int32]
    masks: tuple[mk.Mask, ...]
    labels: NDArray[np.int64]
    scores: NDArray[np.float32]
    classes: tuple[str, ...]

    def __post_init__(self) -> None:
        set_field = object.__setattr__
        set_field(self, "size", (int(self.size[0]), int(self.size[1])))
        set_field(self, "boxes", np.asarray(self.boxes, np.int32).reshape(-1, 4))
        set_field(self, "masks", tuple(self.masks))
        set_field(self, "labels", np.asarray(self.labels, np.int64).reshape(-1))
        set_field(self, "scores", np.asarray(self.scores, np.float32).reshape(-1))
        set_field(self, "classes", tuple(self.classes))
        self._check()

    def _check(self) -> None:
        n = len(self.boxes)
        for name in ("masks", "labels", "scores"):
            if len(getattr(self, name)) != n:
                raise InputError(f"Instances.{name} has {len(getattr(self, name))} entries, boxes has {n}: give one a cell")
        if not n:
            return
        height, width = self.size
        x0, y0, x1, y1 = self.boxes.T
        bad = (x0 < 0) | (y0 < 0) | (x1 < x0) | (y1 < y0) | (x1 > width) | (y1 > height)
        if bad.any():
            i = int(np.argmax(bad))
            raise InputError(f"Instances.boxes[{i}] = {self.boxes[i].tolist()} is not inside an image of size {self.size}: clip it")
        expected = list(zip((y1 - y0).tolist(), (x1 - x0).tolist(), strict=True))
        if [m.shape for m in self.masks] != expected or {m.dtype for m in self.masks} != {np.dtype(np.bool_)}:
            i = next(i for i, (m, shape) in enumerate(zip(self.masks, expected, strict=True)) if m.shape != shape or m.dtype != np.bool_)
            raise InputError(
                f"Instances.masks[{i}] is {self.masks[i].dtype} {self.masks[i].shape}, its box is {self.boxes[i].tolist()}: "
                "give a boolean crop with exactly the shape of the box"
            )
        if self.labels.min() < 0 or self.labels.max() >= len(self.classes):
            raise InputError(
                f"Instances.labels run from {self.labels.min()} to {self.labels.max()}, there are {len(self.classes)} classes: "
                "labels index classes from 0"
            )
        bad = ~((self.scores >= 0) & (self.scores <= 1))
        if bad.any():
            i = int(np.argmax(bad))
            raise InputError(f"Instances.scores[{i}] = {self.scores[i]}: give a score in [0, 1]")

    @classmethod
    def empty(cls, size: mk.Size, classes: Sequence[str]) -> "Instances":
        """No cell in an image of `size`."""
        return cls.build(size, [], classes)

    @classmethod
    def build(
        cls,
        size: mk.Size,
        crops: Sequence[tuple[Sequence[int], mk.Mask]],
        classes: Sequence[str],
        labels: ArrayLike | None = None,
        scores: ArrayLike | None = None,
    ) -> "Instances":
        """From (box, crop) pairs as the functions of `somaseg.masks` give them; labels default to 0, scores to 1."""
        n = len(crops)
        return cls(
            size=size,
            boxes=np.array([box for box, _ in crops], np.int32).reshape(-1, 4),
            masks=tuple(crop for _, crop in crops),
            labels=np.zeros(n, np.int64) if labels is None else np.asarray(labels, np.int64),
            scores=np.ones(n, np.float32) if scores is None else np.asarray(scores, np.float32),
            classes=tuple(classes),
        )

    @classmethod
    def from_masks(
        cls, dense: NDArray[Any], classes: Sequence[str], labels: ArrayLike | None = None, scores: ArrayLike | None = None
    ) -> "Instances":
        """From full-frame masks (N, H, W)."""
        size = (int(dense.shape[1]), int(dense.shape[2]))
        return cls.build(size, [mk.crop_from_mask(m) for m in dense], classes, labels, scores)

    @classmethod
    def from_rle(
        cls,
        rles: Sequence[dict[str, Any]],
        size: mk.Size,
        classes: Sequence[str],
        labels: ArrayLike | None = None,
        scores: ArrayLike | None = None,
    ) -> "Instances":
        """From COCO RLEs of frames of `size`, compressed or not.

        Raises:
            InputError: when an RLE is damaged, or of another size.
        """
        try:
            texts = [text_of_coco_rle(rle, size) for rle in rles]
        except (KeyError, TypeError, ValueError) as error:
            reason = f"{error} is missing" if isinstance(error, KeyError) else str(error)
            raise InputError(f"Instances.from_rle: {reason}: give COCO RLEs of one image") from error
        starts, lengths, owner, wrong = runs_from_texts(texts, size[0] * size[1])
        for number, reason in wrong.items():
            raise InputError(f"Instances.from_rle: counts of RLE {number}: {reason}: give COCO RLEs of one image")
        boxes, crops = crops_from_runs(starts, lengths, owner, len(texts), size, "F")
        return cls.build(size, list(zip(boxes.tolist(), crops, strict=True)), classes, labels, scores)

    @classmethod
    def from_polygons(
        cls,
        polygons: Sequence[Sequence[NDArray[np.float64]]],
        size: mk.Size,
        classes: Sequence[str],
        labels: ArrayLike | None = None,
        scores: ArrayLike | None = None,
    ) -> "Instances":
        """From the outlines that `to_polygons` gives; the round trip is exact to the pixel."""
        return cls.build(size, [crop_from_outlines(outlines, size) for outlines in polygons], classes, labels, scores)

    @classmethod
    def from_label_image(cls, labels: NDArray[Any], classes: Sequence[str], label: int = 0) -> "Instances":
        """From an integer image (H, W) with 0 as background and one value a cell; cells come in the order of values."""
        size = (int(labels.shape[0]), int(labels.shape[1]))
        if not labels.size:
            return cls.empty(size, classes)
        if (low := labels.min()) < 0:
            raise InputError(f"label image: found the value {low}, expected 0 as background and positive values as cells")
        crops = [
            ((columns.start, rows.start, columns.stop, rows.stop), labels[rows, columns] == value)
            for value, (rows, columns) in mk.value_windows(labels)
        ]
        return cls.build(size, crops, classes, np.full(len(crops), label))

    @classmethod
    def cat(cls, parts: Sequence["Instances"]) -> "Instances":
        """Join the cells of one image; sizes and classes must agree."""
        first = parts[0]
        if any(p.size != first.size or p.classes != first.classes for p in parts):
            raise InputError("Instances.cat: the parts differ in size or classes: join cells of one image only")
        return cls(
            size=first.size,
            boxes=np.concatenate([p.boxes for p in parts]),
            masks=tuple(m for p in parts for m in p.masks),
            labels=np.concatenate([p.labels for p in parts]),
            scores=np.concatenate([p.scores for p in parts]),
            classes=first.classes,
        )

    def __len__(self) -> int:
        return len(self.boxes)

    def __getitem__(self, index: int | slice | ArrayLike) -> "Instances":
        """The chosen cells: an integer, a slice, integers in any order, or N booleans."""
        chosen = np.arange(len(self))[index if isinstance(index, slice) else _as_index(index)]
        return Instances(
            size=self.size,
            boxes=self.boxes[chosen],
            masks=tuple(self.masks[i] for i in chosen),
            labels=self.labels[chosen],
            scores=self.scores[chosen],
            classes=self.classes,
        )

    @cached_property
    def area(self) -> NDArray[np.int64]:
        """Pixels of each mask (N,)."""
        return np.array([int(np.count_nonzero(m)) for m in self.masks], np.int64)

    def iou(self, other: "Instances") -> NDArray[np.float64]:
        """Mask IoU of every pair (N, M)."""
        return mk.pairwise_iou(self.masks, self.boxes, other.masks, other.boxes, self.size)

    def to_masks(self) -> NDArray[np.bool_]:
        """Full-frame masks (N, H, W); N * H * W bytes, so for a few cells only."""
        full = np.zeros((len(self), *self.size), bool)
        for frame, crop, (x0, y0, x1, y1) in zip(full, self.masks, self.boxes, strict=True):
            frame[y0:y1, x0:x1] = crop
        return full

    def to_rle(self) -> list[dict[str, Any]]:
        """COCO compressed RLEs."""
        return [mk.coco_rle_from_crop(m, b, self.size) for m, b in zip(self.masks, self.boxes, strict=True)]

    def to_label_image(self) -> tuple[NDArray[np.uint32], int]:
        """Label image (H, W) with cell i as i + 1, and the pixels that the view lost where cells overlap."""
        return mk.label_image(self.masks, self.boxes, self.size)

    def to_polygons(self) -> list[list[NDArray[np.float64]]]:
        """Outlines of each cell, (n, 2) of x, y in pixel-centre coordinates, one a piece or hole."""
        return [outlines_from_crop(m, b) for m, b in zip(self.masks, self.boxes, strict=True)]


def _as_index(index: int | ArrayLike) -> NDArray[Any]:
    wanted = np.atleast_1d(np.asarray(index))
    return wanted if wanted.size else wanted.astype(np.int64)  # NumPy takes an empty list for floats


@dataclass(frozen=True, eq=False)
class Prediction:
    """What a detector found in one image, before any threshold; saved, so that tuning never runs a network again.

    Attributes:
        size: (height, width) of the image in pixels.
        boxes: float32 (N, 4), x0 y0 x1 y1 in pixels of the image.
        scores: float32 (N,), in [0, 1].
        labels: int64 (N,), indices into `classes`.
        mask_probs: float16 (N, S, S), the probability inside the box, on a grid of S x S cells of the box (S is 28).
        classes: class names.
        zoom: how many times larger the network was shown the image than the weights would have it; sizes in pixels that go with the
            weights, such as a least area, are those of the image times this.
    """

    size: mk.Size
    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    labels: NDArray[np.int64]
    mask_probs: NDArray[np.float16]
    classes: tuple[str, ...] = field(default=())
    zoom: float = 1.0

    def __post_init__(self) -> None:
        n = len(self.boxes)
        if not (len(self.scores) == len(self.labels) == len(self.mask_probs) == n):
            raise InputError(
                f"Prediction: {n} boxes, {len(self.scores)} scores, {len(self.labels)} labels, {len(self.mask_probs)} masks: "
                "give one a cell"
            )

    def __len__(self) -> int:
        return len(self.boxes)

    def __getitem__(self, index: NDArray[Any] | slice) -> "Prediction":
        """The chosen detections: a slice, integers, or N booleans."""
        chosen = {name: getattr(self, name)[index] for name in ("boxes", "scores", "labels", "mask_probs")}
        return replace(self, **chosen)


class KeptTiles(Protocol):
    """Where what the tiles of a large image found is kept, so that a run that was stopped goes on with those that are left."""

    def load(self, box: Sequence[int]) -> tuple[Prediction, Sequence[str]] | None:
        """What the tile x0 y0 x1 y1 found, and what was warned of; None where it was not seen yet."""

    def save(self, box: Sequence[int], found: Prediction, warned: Sequence[str]) -> None:
        """Keep it."""


class Pixels(Protocol):
    """An image (H, W) or (H, W, C): an array, or one whose regions are read when they are asked for.

    It takes slices along height and width, `image[y0:y1, x0:x1]`, and gives arrays; `np.asarray(image)` gives all of it.
    """

    @property
    def shape(self) -> tuple[int, ...]:
        """Height, width and channels."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of its numbers."""

    @property
    def ndim(self) -> int:
        """2, or 3 with channels."""

    @property
    def size(self) -> int:
        """Pixels times channels."""

    def __getitem__(self, index: Any, /) -> Any: ...

    def __array__(self) -> NDArray[Any]: ...


class Predictor(Protocol):
    """What gives raw detections of images: a trained model on any runtime, or something made of such.

    Runs over folders need no more of it than this.
    """

    @property
    def name(self) -> str:
        """What to call the weights."""

    @property
    def sha256(self) -> str:
        """Of the weights' file."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names."""

    @property
    def about(self) -> dict[str, dict[str, Any]]:
        """Settings of the network (`model`), `magnification`, views (`tta`) and `tiles`, and the weights' thresholds (`postprocess`)."""

    @property
    def runtime(self) -> dict[str, Any]:
        """What computes, as `run.json` has it; empty where nothing did."""

    def predict(self, image: Pixels, zoom: float = 1.0, kept: KeptTiles | None = None) -> Prediction:
        """Raw detections of an image (H, W) or (H, W, C), 8 or 16 bit or float, in pixels of it.

        Args:
            image: the image.
            zoom: how many times larger the network is shown the image than at the weights' own scale.
            kept: where what the tiles of a large image find is kept.
        """

    def fill_tiles(self, image: Pixels, zoom: float, kept: KeptTiles, part: int, parts: int) -> int:
        """See every `parts`-th tile from number `part` on, and keep what it finds; the number of tiles, of one none is kept."""
