"""The folder of a run of `predict`: DIR/NAME.npz for each image, and DIR/run.json of the whole run.

While a run, of `segment` too, works on a large image, DIR/.tiles/NAME/X0_Y0_X1_Y1.npz is what a tile of it found.
"""

import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from somaseg.batch.loop import LoopResult
from somaseg.batch.names import Names
from somaseg.batch.saved.prediction_file import SUFFIX, Origin, SavedPrediction, load_origin, load_prediction, save_prediction
from somaseg.batch.summary import RunSummary
from somaseg.errors import InputError
from somaseg.files import write_whole
from somaseg.images.frame import Channels
from somaseg.instances import Pixels, Prediction
from somaseg.provenance import Manifest

TILES = ".tiles"


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

    def add(self, name: str, members: list[SavedPrediction], image: Pixels | None, begin: float, channels: Channels | None = None) -> None:
        """Save the one prediction of an image, with the seconds since `begin`; the image itself is not kept."""
        (saved,) = members
        origin = saved.origin.model_copy(update={"seconds": round(time.perf_counter() - begin, 4)})
        save_prediction(self._file(name), SavedPrediction(saved.prediction, origin))

    def finish(self, gone_through: LoopResult, settings: Mapping[str, Any], models: Mapping[str, Any], begin: float) -> RunSummary:
        """Write `run.json`.

        Args:
            gone_through: images and failures of the run.
            settings: of the network and of the views, and the thresholds that come with the weights.
            models: what `run.json` tells of the weights.
            begin: when the run began, by `time.perf_counter`.
        """
        origins = {name: load_origin(self._file(name)) for name in gone_through.names}
        manifest = Manifest(
            settings=settings,
            models=models,
            images=len(origins),
            skipped=gone_through.skipped,
            failures=gone_through.failures,
            warnings={name: list(origin.warnings) for name, origin in origins.items() if origin.warnings},
            seconds=round(time.perf_counter() - begin, 3),
            more={
                "left_out": gone_through.left_out,
                "by_image": {
                    name: origin.model_dump(include={"file", "page", "zoom", "zoom_from", "seconds"}) for name, origin in origins.items()
                },
            },
        )
        write_whole(self.out / "run.json", manifest.json())
        return RunSummary.of(manifest, self.out)

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


class TileFolder:
    """The tiles of one image; each appears whole or not at all.

    Args:
        out: the folder of the run.
        name: of the image.
        origin: what its prediction is made from; tiles that were made from something else count as not there.
    """

    def __init__(self, out: Path, name: str, origin: Origin) -> None:
        self.folder, self.origin = out / TILES / name, origin

    def load(self, box: Sequence[int]) -> tuple[Prediction, Sequence[str]] | None:
        """What the tile x0 y0 x1 y1 found, and what was warned of; None where it was not seen yet."""
        try:
            saved = load_prediction(self._file(box))
        except InputError:
            return None
        same = (saved.origin.key(), saved.origin.page) == (self.origin.key(), self.origin.page)
        return (saved.prediction, saved.origin.warnings) if same else None

    def save(self, box: Sequence[int], found: Prediction, warned: Sequence[str]) -> None:
        """Keep it."""
        save_prediction(self._file(box), SavedPrediction(found, self.origin.model_copy(update={"warnings": tuple(warned)})))

    def remove(self) -> None:
        """Forget the image's tiles, once what they make is written."""
        shutil.rmtree(self.folder, ignore_errors=True)
        if self.folder.parent.is_dir() and not any(self.folder.parent.iterdir()):
            self.folder.parent.rmdir()

    def _file(self, box: Sequence[int]) -> Path:
        return self.folder / ("_".join(map(str, box)) + SUFFIX)
