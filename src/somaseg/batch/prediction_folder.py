"""The folder of a run of `predict`: DIR/NAME.npz for each image, and DIR/run.json of the whole run."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson
from numpy.typing import NDArray

from somaseg.batch.loop import LoopResult, Names
from somaseg.batch.prediction_file import SUFFIX, Origin, SavedPrediction, load_origin, save_prediction
from somaseg.batch.summary import RunSummary
from somaseg.errors import InputError
from somaseg.files import write_atomic
from somaseg.provenance import versions


class PredictionFolder:
    """Saved predictions by name of the image.

    Args:
        out: the folder; it need not be there.
    """

    def __init__(self, out: Path) -> None:
        self.out = out
        self.names = Names(self._owner)

    def is_done(self, name: str, origins: Sequence[Origin]) -> bool:
        """Whether the prediction of an image is there and was made from the same things."""
        found = self._origin(name)
        return found is not None and [found.key()] == [origin.key() for origin in origins]

    def add(self, name: str, members: Sequence[SavedPrediction], image: NDArray[Any] | None, begin: float) -> None:
        """Save the one prediction of an image, with the seconds since `begin`; the image itself is not kept."""
        (saved,) = members
        origin = saved.origin.model_copy(update={"seconds": round(time.perf_counter() - begin, 4)})
        save_prediction(self._file(name), SavedPrediction(saved.prediction, origin))

    def finish(self, gathered: LoopResult, about: Mapping[str, Any], begin: float) -> RunSummary:
        """Write `run.json`.

        Args:
            gathered: what the run went through.
            about: what else belongs into it, such as the weights.
            begin: when the run began, by `time.perf_counter`.
        """
        origins = {name: load_origin(self._file(name)) for name in gathered.names}
        warnings = {name: list(origin.warnings) for name, origin in origins.items() if origin.warnings}
        seconds = round(time.perf_counter() - begin, 3)
        manifest = {
            **about,
            "versions": versions(),
            "images": len(origins),
            "skipped": gathered.skipped,
            "failures": gathered.failures,
            "warnings": warnings,
            "seconds": seconds,
            "by_image": {name: origin.model_dump(include={"file", "page", "seconds"}) for name, origin in origins.items()},
        }
        write_atomic(self.out / "run.json", orjson.dumps(manifest, option=orjson.OPT_INDENT_2))
        return RunSummary(self.out, len(origins), gathered.skipped, None, gathered.failures, warnings, seconds)

    def _origin(self, name: str) -> Origin | None:
        try:
            return load_origin(self._file(name))
        except InputError:
            return None

    def _owner(self, name: str) -> str | None:
        origin = self._origin(name)
        return None if origin is None else str(Path(origin.file).resolve())

    def _file(self, name: str) -> Path:
        return self.out / f"{name}{SUFFIX}"
