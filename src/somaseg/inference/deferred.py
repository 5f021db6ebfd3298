"""A segmenter that builds its network when the first image asks for it: a run with nothing to do never loads torch."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from somaseg.checkpoints.header import read_header
from somaseg.checkpoints.names import check_hash, weights_files
from somaseg.config import PredictSettings
from somaseg.errors import InputError, MissingExtraError, WeightsError
from somaseg.files import file_sha256
from somaseg.images.normalize import doubts
from somaseg.inference.description import ModelDescription
from somaseg.instances import Prediction
from somaseg.runtimes.choice import PrecisionName, RuntimeName

if TYPE_CHECKING:
    from somaseg.inference.segmenter import Segmenter


class DeferredSegmenter(ModelDescription):
    """A `Segmenter` to be, see `ModelDescription`; settings that are changed before the first image hold for it.

    Args:
        weights: names, files and folders, as `somaseg.load` takes them.
        runtime, precision: as `somaseg.load` takes them.

    Raises:
        InputError: when there are no such weights, or a file is not what SHA256SUMS beside it says.
    """

    def __init__(self, weights: Sequence[str | Path], runtime: RuntimeName = "auto", precision: PrecisionName = "auto") -> None:
        if not weights:
            raise InputError("weights: found none: give a name, a file or a folder")
        self.weights, self._asked = weights, (runtime, precision)
        files = [file for name in weights for file in weights_files(name)]
        headers, hashes = [read_header(file) for file in files], [file_sha256(file) for file in files]
        for file, digest in zip(files, hashes, strict=True):
            check_hash(file, digest)
        super().__init__(" + ".join(map(str, weights)), [header.config for header in headers], hashes, headers[0].provenance)
        self._segmenter: Segmenter | None = None

    @property
    def runtime(self) -> dict[str, Any]:
        """What the network computes on, as `run.json` has it; empty before the first image."""
        return {} if self._segmenter is None else self._segmenter.runtime

    def predict(self, image: NDArray[Any]) -> Prediction:
        """Raw detections of an image (H, W) or (H, W, C), 8 or 16 bit or float (see `somaseg.images.normalize`).

        Warns of an image that is mostly one value, or in part without data.

        Raises:
            WeightsError: when the network cannot be built from the files, or what computes it is not installed.
        """
        if self._segmenter is None:
            from somaseg.inference.segmenter import load

            try:
                self._segmenter = load(self.weights, None, *self._asked)
            except (InputError, MissingExtraError) as error:
                raise WeightsError(str(error)) from error
            self._segmenter.configure(PredictSettings(tta=self.tta, detect=self.model_settings.detect, tiles=self.tiles))
        self._segmenter.drawn_for = self.drawn_for
        for doubt in doubts(image):
            warnings.warn(doubt, UserWarning, stacklevel=2)
        return self._segmenter.predict(image)
