"""From an image file to what a run keeps of its images, here or, with Ray, by workers in processes of their own."""

import os
import time
import warnings
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from somaseg.batch.loop import ImageDone, go_through
from somaseg.batch.names import Names
from somaseg.batch.saved.prediction_file import Origin, SavedPrediction
from somaseg.batch.saved.prediction_folder import TileFolder
from somaseg.config import MagnificationSettings, TrainedSize
from somaseg.errors import InputError
from somaseg.images.depths import ALL
from somaseg.images.frame import Channels
from somaseg.images.read import Frame, image_sha256, image_stem, read_frames
from somaseg.instances import Pixels, Predictor
from somaseg.magnification.choose import choose_magnification, predict_magnified
from somaseg.parallel.run import run_tasks
from somaseg.parallel.task import Task
from somaseg.provenance import own_version

LARGE = 8_000_000  # bytes of a file from which on its tiles are spread, too
CHUNK = 8  # files that a worker takes at once, at most
CHUNKS = 4  # tasks for each worker, at least, so that all of them end at about one time


class RunFolder(Protocol):
    """Where the run puts what it makes of an image."""

    @property
    def out(self) -> Path:
        """The folder."""

    @property
    def names(self) -> Names:
        """What images are called."""

    def is_done(self, name: str, origins: Sequence[Origin]) -> bool:
        """Whether an image's files are there and were made from the same things."""

    def add(self, name: str, members: list[SavedPrediction], image: Pixels | None, begin: float, channels: Channels | None = None) -> None:
        """Make and write an image's files; `members` may be emptied."""


@dataclass(frozen=True)
class Images:
    """What a run does with image files.

    Attributes:
        folder: keeps what comes of them.
        predictor: gives the raw detections.
        channel: that shows the cells, by name or number; None takes images of one to four channels as they are.
        depth: of each stack, see `somaseg.images.read.read_frames`.
    """

    folder: RunFolder
    predictor: Predictor
    channel: str | None
    depth: str = ALL

    def of_file(self, path: Path) -> Iterator[ImageDone]:
        """Predict the images of a file, and have the folder keep what comes of each."""
        origin = self._origin(path)
        name = self.folder.names.find(path, None)
        if self.folder.is_done(name, [origin]):
            self.folder.names.take(name)
            yield ImageDone(name, None, True)
            return
        begin = time.perf_counter()
        for frame in read_frames(path, self.channel, self.depth):
            name = self.folder.names.find(path, frame.page, frame.place)
            self.folder.names.take(name)
            done = self.folder.is_done(name, [origin])
            if not done:
                self._make(name, frame, origin, begin)
            yield ImageDone(name, frame.page, done, frame.place)
            begin = time.perf_counter()

    def fill(self, path: Path, part: int, parts: int) -> None:
        """Of a file, do the share of one of several workers: every `parts`-th tile of large images, and every `parts`-th small image."""
        origin = self._origin(path)
        for number, frame in enumerate(read_frames(path, self.channel, self.depth)):
            name = self.folder.names.find(path, frame.page, frame.place)
            if self.folder.is_done(name, [origin]) or not frame.array.size:
                continue
            kept = self._kept(name, frame, origin)
            with warnings.catch_warnings(action="ignore", category=UserWarning):  # whoever joins the tiles tells of them
                shown, _ = choose_magnification(self.predictor, frame.picture, *self.sizes, frame.pixel_size)
                tiles = self.predictor.fill_tiles(frame.picture, shown.zoom, kept, part, parts)
            if tiles == 1 and number % parts == part:
                self._make(name, frame, origin, time.perf_counter())

    @property
    def sizes(self) -> tuple[MagnificationSettings, TrainedSize]:
        """How the size of an image is to be found, and what the weights know of sizes."""
        about = self.predictor.about
        asked, known = about.get("magnification", {}), about["model"].get("trained_at", {})
        return MagnificationSettings.model_validate(asked), TrainedSize.model_validate(known)

    def _make(self, name: str, frame: Frame, origin: Origin, begin: float) -> None:
        if not frame.array.size:
            raise InputError(f"{frame.path}: image of shape {frame.array.shape} has no pixel: leave it out")
        kept = self._kept(name, frame, origin)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", UserWarning)
            prediction, shown = predict_magnified(self.predictor, frame.picture, *self.sizes, frame.pixel_size, kept)
        told_by = dict.fromkeys((*frame.warnings, *(str(w.message) for w in caught)))  # each once
        told: dict[str, Any] = {"page": frame.page, "place": frame.place, "pixel_size": frame.pixel_size, "warnings": tuple(told_by)}
        told |= {"zoom": shown.zoom, "zoom_from": shown.source}
        members = [SavedPrediction(prediction, origin.model_copy(update=told))]
        del prediction  # the folder lets go of it when cells are made: of a large image it is a gigabyte
        self.folder.add(name, members, frame.picture, begin, frame.measured)
        kept.remove()

    def _kept(self, name: str, frame: Frame, origin: Origin) -> TileFolder:
        return TileFolder(self.folder.out, name, origin.model_copy(update={"page": frame.page}))

    def _origin(self, path: Path) -> Origin:
        predictor, about = self.predictor, self.predictor.about
        return Origin(
            file=str(path.absolute()),
            sha256=image_sha256(path),
            classes=predictor.classes,
            weights=predictor.name,
            weights_sha256=predictor.sha256,
            somaseg=own_version(),
            model=about["model"],
            magnification=about.get("magnification", {}),
            tta=about["tta"],
            tiles=about.get("tiles", {}),
            postprocess=about["postprocess"],
            channel=self.channel,
            depth=self.depth,
        )


def spread(files: Sequence[Path], images: Images, ray: str, console: Console | None) -> None:
    """Have workers do what a run does with files, and with tiles of large ones; what they cannot do is left for the run itself.

    Args:
        files: of the run.
        images: what to do with them.
        ray: where the workers are, see `somaseg.parallel.run.run_tasks`.
        console: where to show a progress bar; None shows none.
    """
    workers = (os.cpu_count() or 1) if ray == "local" else CHUNK
    tasks = []
    for number, chunk in enumerate(_chunks([file for file in files if not _is_large(file)], workers)):
        tasks.append(Task(f"files {number}", f"{__name__}:do_files", {"images": images, "files": chunk}))
    for number, file in enumerate(filter(_is_large, files)):
        for part in range(workers):
            share = {"images": images, "file": file, "part": part, "parts": workers}
            tasks.append(Task(f"large file {number}, part {part}", f"{__name__}:do_part", share))
    columns = (TextColumn("on Ray"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=console is None) as bar:
        shown = bar.add_task("", total=len(tasks))
        run_tasks(tasks, ray, ended=lambda task: bar.advance(shown))


def do_files(images: Images, files: Sequence[Path]) -> None:
    """Do the work of some files; what fails is left for the run that asked, which tells of it."""
    go_through(files, _with_loaded(images).of_file)


def do_part(images: Images, file: Path, part: int, parts: int) -> None:
    """Do a part of the work of a large file."""
    _with_loaded(images).fill(file, part, parts)


_loaded: list[Predictor] = []
"""The predictor of the task before, in a worker: its network is not built anew for each task."""


def _with_loaded(images: Images) -> Images:
    asked = images.predictor
    if not _loaded or (_loaded[0].sha256, _loaded[0].about) != (asked.sha256, asked.about):
        _loaded[:] = [asked]
    return replace(images, predictor=_loaded[0])


def _chunks(files: Sequence[Path], workers: int) -> list[list[Path]]:
    """Files in chunks of about one size; those of one name stay together in their order, so that their results are named as in one run."""
    alike: defaultdict[str, list[Path]] = defaultdict(list)
    for file in files:
        alike[image_stem(file).casefold()].append(file)
    most = min(CHUNK, max(1, len(files) // (workers * CHUNKS)))
    chunks: list[list[Path]] = [[]]
    for several in alike.values():
        if len(chunks[-1]) + len(several) > most and chunks[-1]:
            chunks.append([])
        chunks[-1] += several
    return chunks if files else []


def _is_large(file: Path) -> bool:
    try:
        return file.is_dir() or file.stat().st_size >= LARGE
    except OSError:
        return False
