"""`Segmenter`: a model, or an ensemble, with its views and thresholds."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from somaseg.checkpoints.header import read_header
from somaseg.checkpoints.names import weights_files
from somaseg.errors import InputError
from somaseg.images.normalize import to_grey
from somaseg.inference.description import ModelDescription
from somaseg.inference.detect import detect
from somaseg.inference.ensemble import Ensemble
from somaseg.inference.networks import Network, load_networks
from somaseg.inference.views import make_views, shown_at
from somaseg.instances import Instances, Pixels, Prediction
from somaseg.postprocessing.steps import postprocess
from somaseg.runtimes.choice import PrecisionName, Runtime, RuntimeName, choose
from somaseg.runtimes.detector import Detector
from somaseg.tiling.predict import Sight, predict_tiled


class Segmenter(ModelDescription):
    """A trained model, or several as an ensemble, with the thresholds that go with it; see `ModelDescription`.

    Args:
        name: what to call it.
        networks: one a model; the first leads.
        runtime: that they compute on.
    """

    def __init__(self, name: str, networks: Sequence[Network], runtime: Runtime) -> None:
        first = networks[0]
        super().__init__(name, [one.config for one in networks], [one.sha256 for one in networks], first.provenance)
        self._runtime, self._models = runtime, [one.detector for one in networks]
        self._detector()  # an ensemble refuses models that do not fit each other

    @property
    def runtime(self) -> dict[str, Any]:
        """What the networks compute on, as `run.json` has it."""
        return self._runtime.about

    def see(self, image: NDArray[Any], sight: Sight) -> Prediction:
        """Raw detections of an image or a tile (H, W) or (H, W, C) that is seen whole."""
        if not image.size:
            height, width = to_grey(image).shape
            none, grids = np.zeros(0, np.float32), np.zeros((0, 28, 28), np.float16)
            return Prediction((height, width), none.reshape(0, 4), none, none.astype(np.int64), grids, self.classes, sight.zoom)
        (found,) = detect(self._detector(sight.zoom), [image], sight.drawn_for, sight.levels, sight.fields)
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
        sight = Sight(self._levels(image), zoom, drawn_for=self.settings)
        return postprocess(predict_tiled(self.see, image, sight, self.tiles), self.settings)


def load(
    weights: str | Path | Sequence[str | Path] = "default",
    device: str | None = None,
    runtime: RuntimeName = "auto",
    precision: PrecisionName = "auto",
) -> Segmenter:
    """A segmenter from weights: a name that comes with somaseg, a file of `somaseg train`, or a folder of such files.

    Several weights, and the files of a folder in the order of their names, are one ensemble; the first of them leads.

    Args:
        weights: which.
        device: torch's name of the device; else CUDA where there is one.
        runtime: "torch", "onnx", or "auto", which takes torch where it is installed and faster.
        precision: "float32", "bfloat16", or "auto", which takes bfloat16 where the device computes in it natively.

    Raises:
        InputError: when there are no such weights, a file is not what SHA256SUMS beside it says, the classes of several differ, or
            runtime, precision and device do not go together.
        MissingExtraError: when torch is needed but not installed.
    """
    names = [weights] if isinstance(weights, str | Path) else list(weights)
    if not names:
        raise InputError("weights: found none: give a name, a file or a folder")
    files = [file for name in names for file in weights_files(name)]
    chosen = choose(runtime, precision, device, all(read_header(file).graphs for file in files))
    return Segmenter(" + ".join(map(str, names)), load_networks(files, chosen), chosen)
