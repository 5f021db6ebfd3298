"""What every batch command shares: image files one by one, names for their results, failures that stop nothing."""

import logging
import os
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from somaseg.errors import InputError, MissingExtraError, RunError
from somaseg.files import check_file
from somaseg.images.find import Found, list_images
from somaseg.images.read import image_stem

LOGGER = logging.getLogger(__name__)


class ImageDone(NamedTuple):
    """An image with results: its name in them, its page in a stack, whether they were made before, and its place, see `Frame`."""

    name: str
    page: int | None
    skipped: bool
    place: str = ""


@dataclass
class LoopResult:
    """What a run went through.

    Attributes:
        images: each image with results, and its file.
        failures: what went wrong, by image file.
        left_out: why what looked like an image was none of the run, by file or folder.
    """

    images: list[tuple[Path, ImageDone]] = field(default_factory=list)
    failures: dict[str, str] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)

    @property
    def names(self) -> list[str]:
        """Names of the images."""
        return [done.name for _, done in self.images]

    @property
    def skipped(self) -> int:
        """How many images had their results before."""
        return sum(done.skipped for _, done in self.images)

    def file_names(self) -> list[str]:
        """The files of the images, below the folder that they have in common."""
        files = [path.resolve() for path, _ in self.images]
        root = Path(os.path.commonpath([path.parent for path in files])) if files else Path()
        return [path.relative_to(root).as_posix() for path in files]


def go_through(files: Sequence[Path] | Found, work: Callable[[Path], Iterable[ImageDone]], console: Console | None = None) -> LoopResult:
    """Do the work of each image file; what it cannot do is noted, and the others go on.

    Args:
        files: the image files; with what was left out where they were searched for.
        work: makes the results of the images of a file, one after the other.
        console: where to show a progress bar; None shows none.
    """
    result = LoopResult()
    if isinstance(files, Found):
        result = LoopResult(left_out=files.left_out, failures=dict(files.failures))
        files = files.files
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), _Rate(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=console is None) as bar:
        task = bar.add_task("", total=len(files))
        for path in files:
            try:
                for done in work(path):
                    result.images.append((path, done))
                    bar.update(task, description=done.name)
            except RunError:
                raise
            except Exception as error:  # a file's failure is that file's, whatever it was
                LOGGER.debug("%s", path, exc_info=True)
                result.failures[str(path)] = _reason(path, error)
            bar.advance(task)
    return result


def _reason(path: Path, error: Exception) -> str:
    """What went wrong with a file, in a line that names it."""
    if isinstance(error, InputError | MissingExtraError):
        reason = str(error)
    elif isinstance(error, OSError | MemoryError | RuntimeError):
        reason = f"{type(error).__name__}: {error}"
    else:
        reason = f"{type(error).__name__}: {error}; this is a fault of somaseg: run `somaseg --debug ...` and report what it prints"
    reason = " ".join(reason.splitlines())
    return reason if str(path) in reason else f"{path}: {reason}"


def images_outside(paths: Sequence[str | Path], out: Path) -> Found:
    """The image files of a run, and what was left out; what lies in `out` is left aside.

    Raises:
        InputError: when there is none.
    """
    found, place = list_images(paths), out.resolve()
    files = [path for path in found.files if not path.resolve().is_relative_to(place)]
    if not files:
        raise InputError(f"{', '.join(map(str, paths))}: all images lie in {out}, the folder of the results: give the folder of the images")
    return Found(
        files, {name: why for name, why in found.left_out.items() if not Path(name).absolute().is_relative_to(place)}, found.failures
    )


def check_submission(kaggle: Path, files: Iterable[Path]) -> None:
    """Raise InputError when the submission cannot be written, or two image files have one name."""
    check_file(kaggle)
    twice = [stem for stem, count in Counter(map(image_stem, files)).items() if count > 1]
    if twice:
        raise InputError(f"{kaggle}: several images are called {twice[0]!r}, a submission needs unique ids: rename all but one")


class _Rate(ProgressColumn):
    """Image files a second."""

    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:.2f}/s" if task.speed else "")
