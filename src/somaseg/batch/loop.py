"""What every batch command shares: image files one by one, names for their results, failures that stop nothing."""

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from somaseg.errors import InputError, MissingExtraError, WeightsError
from somaseg.images.read import find_images, image_stem


class ImageDone(NamedTuple):
    """An image with results: its name in them, its page in a stack, and whether they were made before."""

    name: str
    page: int | None
    skipped: bool


@dataclass
class LoopResult:
    """What a run went through.

    Attributes:
        images: each image with results, and its file.
        failures: what went wrong, by image file.
    """

    images: list[tuple[Path, ImageDone]] = field(default_factory=list)
    failures: dict[str, str] = field(default_factory=dict)

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


class Names:
    """What images are called in a folder; a name belongs to the first image that has it.

    Args:
        owner: the resolved image file that a name belongs to from an earlier run; None where there is none.
    """

    def __init__(self, owner: Callable[[str], str | None]) -> None:
        self._owner = owner
        self._taken: set[str] = set()

    def find(self, path: Path, page: int | None) -> str:
        """What to call an image: stem and page, and a suffix where that name belongs to the image of another file.

        The suffix comes from the path alone, and a name goes to the file that had it in an earlier run, so names stay.
        """
        source = str(path.resolve())
        tail = "" if page is None else f"_p{page:03d}"
        name = image_stem(path) + tail
        if name not in self._taken:
            owner = self._owner(name)
            if owner is None or owner == source or not Path(owner).exists():
                return name
        return f"{image_stem(path)}-{hashlib.sha256(source.encode()).hexdigest()[:6]}{tail}"

    def take(self, name: str) -> None:
        """Let no other image of this run have the name."""
        self._taken.add(name)


def go_through(files: Sequence[Path], work: Callable[[Path], Iterable[ImageDone]], console: Console | None = None) -> LoopResult:
    """Do the work of each image file; what it cannot do is noted, and the others go on.

    Args:
        files: the image files.
        work: makes the results of the images of a file, one after the other.
        console: where to show a progress bar; None shows none.
    """
    result = LoopResult()
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), _Rate(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=console is None) as bar:
        task = bar.add_task("", total=len(files))
        for path in files:
            try:
                for done in work(path):
                    result.images.append((path, done))
                    bar.update(task, description=done.name)
            except WeightsError:  # what is wrong with the weights is wrong for every file
                raise
            except (InputError, MissingExtraError, RuntimeError, MemoryError) as error:
                reason = str(error) if isinstance(error, InputError | MissingExtraError) else f"{type(error).__name__}: {error}"
                result.failures[str(path)] = reason if str(path) in reason else f"{path}: {reason}"
            bar.advance(task)
    return result


def check_out(out: Path) -> None:
    """Raise InputError when the folder of the results is a file."""
    if out.exists() and not out.is_dir():
        raise InputError(f"{out}: is a file, expected a folder for the results: choose another one")


def images_outside(paths: Sequence[str | Path], out: Path) -> list[Path]:
    """The image files of a run; what lies in `out` is left aside.

    Raises:
        InputError: when there is none.
    """
    files = [path for path in find_images(paths) if not path.resolve().is_relative_to(out.resolve())]
    if not files:
        raise InputError(f"{', '.join(map(str, paths))}: all images lie in {out}, the folder of the results: give the folder of the images")
    return files


def check_submission(kaggle: Path, files: Iterable[Path]) -> None:
    """Raise InputError when the submission is a folder, or two image files have one name."""
    if kaggle.is_dir():
        raise InputError(f"{kaggle}: is a folder, expected the name of a CSV file for the submission")
    twice = [stem for stem, count in Counter(map(image_stem, files)).items() if count > 1]
    if twice:
        raise InputError(f"{kaggle}: several images are called {twice[0]!r}, a submission needs unique ids: rename all but one")


class _Rate(ProgressColumn):
    """Image files a second."""

    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:.2f}/s" if task.speed else "")
