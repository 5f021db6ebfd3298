"""A finished result once more, in other formats, for other programs."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import orjson
from rich.console import Console

from somaseg.batch.loop import ImageDone, go_through
from somaseg.batch.saved.saved_runs import is_still
from somaseg.batch.summary import counted
from somaseg.errors import InputError
from somaseg.export.coco import cells_of
from somaseg.export.formats import FORMATS, RECORD
from somaseg.export.image_result import ImageResult
from somaseg.files import check_folder, only_run, write_whole
from somaseg.images.read import read_frames
from somaseg.instances import Pixels
from somaseg.measure.cells import measurements_of


@dataclass(frozen=True)
class ExportSummary:
    """What an export did.

    Attributes:
        out: the folder with a folder a format.
        formats: names of the formats.
        images: how many images were exported.
        lost: pixels of cells that a format could not hold, by file.
        failures: what was not written, and why, by file.
    """

    out: Path
    formats: tuple[str, ...]
    images: int
    lost: Mapping[str, int]
    failures: Mapping[str, str]

    def text(self) -> str:
        """The same for people, a line a fact."""
        lines = [f"{file}: {pixels} pixels lost where cells overlap" for file, pixels in self.lost.items()]
        lines += [f"failed: {reason}" for reason in self.failures.values()]
        places = ", ".join(str(self.out / name) for name in self.formats)
        return "\n".join([*lines, f"wrote {counted(self.images, 'image')} to {places}"])


def export_folder(
    result: Path, formats: Sequence[str], out: Path | None = None, overwrite: bool = False, console: Console | None = None
) -> ExportSummary:
    """Write the cells of a result in other formats, `OUT/FORMAT/NAME...`, from the records `coco/NAME.json` alone.

    In another folder than the result the records are written too, so that corrected files are read with the size, the classes and the
    image that they are of. A file that is there with other content was corrected, or is of another run: it is kept, which is a failure.

    Args:
        result: folder of `segment`, `postprocess` or `fuse`.
        formats: names in `somaseg.export.formats.FORMATS`.
        out: where to; None for the result itself.
        overwrite: whether files with other content are replaced.
        console: where to show a progress bar; None shows none.

    Raises:
        InputError: when the folder is no result.
        OutputError: when files cannot be written, or another run writes there.
    """
    records = sorted(path for path in (result / RECORD).glob("*.json") if not path.name.startswith("."))
    if not records:
        raise InputError(f"{result}: is no result, expected {RECORD}/NAME.json in it: give the folder of `somaseg segment`")
    run = _Export(result if out is None else out, tuple(dict.fromkeys(formats)), overwrite)
    with only_run(run.out):
        for name in run.formats:
            check_folder(run.out / name)
        gone_through = go_through(records, run.image, console)
    return ExportSummary(run.out, run.formats, len(gone_through.images), run.lost, {**run.kept, **gone_through.failures})


class _Export:
    """What an export writes of each image."""

    def __init__(self, out: Path, formats: tuple[str, ...], overwrite: bool) -> None:
        self.out, self.formats, self.overwrite = out, formats, overwrite
        self.lost: dict[str, int] = {}
        self.kept: dict[str, str] = {}

    def image(self, record: Path) -> Iterator[ImageDone]:
        """Write the files of an image, the record first: without it nobody knows what they are of."""
        document = _document(record)
        result = _result(record, document)
        wanted = any(FORMATS[name].needs_image for name in self.formats)
        image = _image(document["info"], result.page) if wanted else None
        place = self.out / RECORD / record.name
        if not (place.exists() and record.samefile(place)):
            write_whole(place, record.read_bytes())
        for name in self.formats:
            if name != RECORD:
                self._write(name, record.stem, replace(result, image=image))
        yield ImageDone(record.stem, result.page, False)

    def _write(self, name: str, stem: str, result: ImageResult) -> None:
        entry = FORMATS[name]
        file = self.out / name / f"{stem}{entry.suffix}"
        if entry.needs_image and result.image is None:
            self.kept[str(file)] = f"{file}: is not written, since it shows the image, which is gone or was changed"
            return
        exported = entry.export(result)
        if not self.overwrite and exported.differs(file):
            self.kept[str(file)] = f"{file}: is there and differs, as after a correction, so it is kept: --overwrite replaces it"
            return
        saved = exported.save(file)
        if saved.pixels_lost:
            self.lost[str(file)] = saved.pixels_lost


def _document(record: Path) -> dict[str, Any]:
    """A record of a result.

    Raises:
        InputError: when it is none.
    """
    try:
        document = orjson.loads(record.read_bytes())
    except (OSError, orjson.JSONDecodeError) as error:
        raise InputError(f"{record}: cannot be read ({error}): segment the image again") from error
    if not isinstance(document, dict) or not isinstance(document.get("info"), dict):
        raise InputError(f"{record}: is no record of a result, `info` is missing: give the folder of `somaseg segment`")
    return document


def _result(record: Path, document: Mapping[str, Any]) -> ImageResult:
    """What a record tells of its image."""
    try:
        image = document["images"][0]
        cells = cells_of(document)
        measured = measurements_of(document["measurements"])
        about = (image["file_name"], image.get("page"), image.get("pixel_size"), measured, document["info"])
        return ImageResult(cells, None, *about, place=image.get("place", ""))
    except (LookupError, TypeError, AttributeError) as error:
        raise InputError(f"{record}: is no record of a result ({error!r}): segment the image again") from error


def _image(info: Mapping[str, Any], page: int | None) -> Pixels | None:
    """The image that a result was made from; None where it is gone or was changed."""
    source = Path(info["source"])
    made_from = info["made_from"]["predictions"][0]
    if not is_still(source, made_from["image"]):
        return None
    frames = read_frames(source, made_from["channel"], made_from["depth"])
    return next((frame.picture for frame in frames if frame.page == page), None)
