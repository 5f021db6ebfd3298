"""`Segmenter`: a model, or an ensemble, with its views and thresholds."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from somaseg.checkpoints.checkpoint import Checkpoint, load_checkpoint
from somaseg.checkpoints.names import check_hash, weights_files
from somaseg.errors import InputError
from somaseg.images.normalize import to_grey
from somaseg.inference.description import ModelDescription
from somaseg.inference.detect import detect
from somaseg.inference.ensemble import Ensemble
from somaseg.inference.views import make_views, shown_at
from somaseg.instances import Instances, Pixels, Prediction
from somaseg.postprocessing.steps import postprocess
from somaseg.runtimes.detector import Detector
from somaseg.runtimes.torch_detector import TorchDetector
from somaseg.runtimes.torch_precision import bf16_is_fast
from somaseg.tiling.predict import Sight


class Segmenter(ModelDescription):
    """A trained model, or several as an ensemble, with the thresholds that go with it; see `ModelDescription`.

    Args:
        name: what to call it.
        checkpoints: one a model; the first leads.
        device: torch's name of the device; else CUDA where there is one.
    """

    def __init__(self, name: str, checkpoints: Sequence[Checkpoint], device: str | None = None) -> None:
        first = checkpoints[0]
        super().__init__(name, [one.config for one in checkpoints], [one.sha256 for one in checkpoints], first.provenance)
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self.bf16 = bf16_is_fast(self.device)
        self._models = [TorchDetector(checkpoint.model.to(self.device), self.bf16) for checkpoint in checkpoints]
        self._detector()  # an ensemble refuses models that do not fit each other

    def see(self, image: NDArray[Any], sight: Sight) -> Prediction:
        """Raw detections of an image or a tile (H, W) or (H, W, C) that is seen whole."""
        if not image.size:
            height, width = to_grey(image).shape
            none, grids = np.zeros(0, np.float32), np.zeros((0, 28, 28), np.float16)
            return Prediction((height, width), none.reshape(0, 4), none, none.astype(np.int64), grids, self.classes, sight.zoom)
        (found,) = detect(self._detector(sight.zoom), [image], sight.levels, sight.fields)
        return replace(found, zoom=sight.zoom)

    def _detector(self, zoom: float = 1.0) -> Detector[NDArray[Any]]:
        """The first view of each model, which propose boxes, then the other views."""
        settings = [self.model_settings, *self.other_settings]
        views = [make_views(model, shown_at(own, zoom), self.tta) for model, own in zip(self._models, settings, strict=True)]
        # The proposals of the other views find nothing more than those of the first (docs/benchmarks.md).
        members = [of_model[0] for of_model in views] + [view for of_model in views for view in of_model[1:]]
        return members[0] if len(members) == 1 else Ensemble(members, proposers=len(self._models))

    def segment(self, image: Pixels, zoom: float = 1.0) -> Instances:
        """The cells of an image (H, W) or (H, W, C), best first; see `predict` for `zoom`."""
        return postprocess(self.predict(image, zoom), self.settings)


def load(weights: str | Path | Sequence[str | Path] = "default", device: str | None = None) -> Segmenter:
    """A segmenter from weights: a name that comes with somaseg, a file of `somaseg train`, or a folder of such files.

    Several weights, and the files of a folder in the order of their names, are one ensemble; the first of them leads.

    Raises:
        InputError: when there are no such weights, a file is not what SHA256SUMS beside it says, or the classes of several differ.
    """
    names = [weights] if isinstance(weights, str | Path) else list(weights)
    if not names:
        raise InputError("weights: found none: give a name, a file or a folder")
    files = [file for name in names for file in weights_files(name)]
    return Segmenter(" + ".join(map(str, names)), [load_whole(file) for file in files], device)


def load_whole(path: Path) -> Checkpoint:
    """A checkpoint whose hash is the one in SHA256SUMS beside it, if it stands there.

    Raises:
        InputError: when it cannot be read, has another hash, or holds what is no number.
    """
    checkpoint = load_checkpoint(path)
    check_hash(path, checkpoint.sha256)
    bad = next((name for name, tensor in checkpoint.model.state_dict().items() if not torch.isfinite(tensor).all()), None)
    if bad is not None:
        raise InputError(f"{path}: {bad} holds values that are not finite, and would find no cell: take weights of an earlier step")
    return checkpoint
