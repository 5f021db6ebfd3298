"""`Segmenter`: a model, or an ensemble, with its views and thresholds."""

from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from somaseg.checkpoints.checkpoint import Checkpoint, load_checkpoint
from somaseg.checkpoints.names import SUMS, known_hash, weights_files
from somaseg.config import PostprocessSettings, TtaSettings
from somaseg.errors import InputError
from somaseg.images.normalize import to_grey
from somaseg.inference.detect import bf16_is_fast, detect
from somaseg.inference.ensemble import Ensemble
from somaseg.inference.views import make_views
from somaseg.instances import Instances, Prediction
from somaseg.models.cascade import Detector
from somaseg.postprocessing.steps import postprocess


class Segmenter:
    """A trained model, or several as an ensemble, with the thresholds that go with it.

    Attributes:
        name: as it was asked for, a name or a path; several joined by " + ".
        sha256: of the weights' file; of several files, of their hashes in a row.
        provenance: what the weights' file says of itself; of several files, what the first one says.
        classes: class names.
        settings: thresholds of `segment`, those of the first model; replace them to change what it keeps.
        model_settings: of the first model.
        tta: the views in which each model sees an image, whose findings are averaged; one view at first.
    """

    def __init__(self, name: str, checkpoints: Sequence[Checkpoint], device: str | None = None) -> None:
        first, hashes = checkpoints[0], [checkpoint.sha256 for checkpoint in checkpoints]
        self.name, self.sha256 = name, hashes[0] if len(hashes) == 1 else sha256("".join(hashes).encode()).hexdigest()
        self.provenance: dict[str, Any] = first.provenance
        self.model_settings = first.config.model
        self.classes = first.config.model.classes
        self.settings: PostprocessSettings = first.config.postprocess
        self.tta = TtaSettings()
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self.bf16 = bf16_is_fast(self.device)
        self._model = first.model.to(self.device)
        self._others = [(checkpoint.model.to(self.device), checkpoint.config.model) for checkpoint in checkpoints[1:]]
        self._detector()  # an ensemble refuses models that do not fit each other

    @property
    def about(self) -> dict[str, dict[str, Any]]:
        """Settings of the network and of the views, and the thresholds, as JSON takes them."""
        settings = {"model": self.model_settings, "tta": self.tta, "postprocess": self.settings}
        return {name: given.model_dump(mode="json") for name, given in settings.items()}

    def predict(self, image: NDArray[Any]) -> Prediction:
        """Raw detections of an image (H, W) or (H, W, C), 8 or 16 bit or float (see `somaseg.images.normalize`)."""
        if not image.size:
            height, width = to_grey(image).shape
            none = np.zeros(0, np.float32)
            return Prediction(
                (height, width), none.reshape(0, 4), none, none.astype(np.int64), np.zeros((0, 28, 28), np.float16), self.classes
            )
        return detect(self._detector(), [image], self.bf16, self.device)[0]

    def _detector(self) -> Detector[NDArray[Any]]:
        """The first view of each model, which propose boxes, then the other views."""
        models = [(self._model, self.model_settings), *self._others]
        views = [make_views(model, settings, self.tta) for model, settings in models]
        # The proposals of the other views find nothing more than those of the first (docs/benchmarks.md).
        members = [of_model[0] for of_model in views] + [view for of_model in views for view in of_model[1:]]
        return members[0] if len(members) == 1 else Ensemble(members, proposers=len(models))

    def segment(self, image: NDArray[Any]) -> Instances:
        """The cells of an image (H, W) or (H, W, C), best first."""
        return postprocess(self.predict(image), self.settings)


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
        InputError: when it cannot be read, or has another hash.
    """
    checkpoint, expected = load_checkpoint(path), known_hash(path)
    if expected not in (None, checkpoint.sha256):
        raise InputError(
            f"{path}: its SHA-256 is {checkpoint.sha256}, {SUMS} beside it says {expected}: the file was changed or cut off, copy it again"
        )
    return checkpoint
