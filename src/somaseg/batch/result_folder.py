"""The folder of a run's results: what is done, the files of each image, and those of the whole run.

DIR/FORMAT/NAME...             a file of each image in each format, see `somaseg.export.formats`
DIR/coco/NAME.json             one of them: its cells as COCO JSON; written last, so that it stands for a finished image
DIR/instances.json             the cells of all images as COCO JSON
DIR/cells.csv                  a row a cell, and DIR/cells.parquet where pyarrow is installed
DIR/images.csv                 a row an image
DIR/run.json                   how they were made, and what went wrong
"""

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import orjson

from somaseg.batch.loop import LoopResult
from somaseg.batch.names import Names
from somaseg.batch.saved.prediction_file import Origin, SavedPrediction
from somaseg.batch.summary import RunSummary
from somaseg.errors import InputError
from somaseg.export import coco
from somaseg.export.formats import DEFAULT, FORMATS, RECORD
from somaseg.export.image_result import ImageResult
from somaseg.export.saved import PARTS
from somaseg.export.submission import submission_csv
from somaseg.export.table import Tables
from somaseg.files import check_folder, write_whole
from somaseg.fusion.methods import Method
from somaseg.images.frame import Channels
from somaseg.images.read import frame_name
from somaseg.instances import Pixels
from somaseg.measure.cells import measure
from somaseg.provenance import Manifest, own_version


class ResultFolder:
    """Results by name of the image.

    Args:
        out: the folder; it need not be there.
        method: how cells are made.
        formats: names in `somaseg.export.formats.FORMATS` of the files that an image gets beside its COCO JSON.
    """

    def __init__(self, out: Path, method: Method, formats: Sequence[str] = DEFAULT) -> None:
        self.out, self.method = out, method
        self.formats = {name: FORMATS[name] for name in formats if name != RECORD}
        self.names = Names(self._owner)
        self._last: tuple[bytes, Any] = b"", None

    def prepare(self, files: Sequence[Path]) -> None:
        """Find names for the images of these files, and find out whether results can be written.

        Raises:
            OutputError: when they cannot.
        """
        self.names.tell_apart(files)
        for form in (*self.formats, RECORD):
            check_folder(self.out / form)

    def is_done(self, name: str, origins: Sequence[Origin], has_image: bool = True) -> bool:
        """Whether all files of an image are there and were made from the same things; without an image none is due that shows it."""
        document = self._document(name)
        if document is None or document["info"]["made_from"] != self._result_key(origins):
            return False
        if has_image and document["measurements"]["channels"] is None:
            return False
        due = [form for form, entry in self.formats.items() if has_image or not entry.needs_image]
        written = document["info"]["bytes"]
        return all(form in written and _size(self._file(form, name)) == written[form] for form in due)

    def add(self, name: str, members: list[SavedPrediction], image: Pixels | None, begin: float, channels: Channels | None = None) -> None:
        """Make the cells of an image and write all its files.

        Args:
            name: of the image.
            members: its predictions, one or of several models; emptied once cells are made, since those of a large image take a gigabyte.
            image: (H, W) or (H, W, C); without it there is no file that shows it.
            begin: when the work on the image began, by `time.perf_counter`.
            channels: whose intensities are measured; without them there are none.
        """
        cells, steps = self.method.cells([member.prediction for member in members])
        origins = [member.origin for member in members]
        members.clear()
        first = origins[0]
        seconds = round(time.perf_counter() - begin, 4)
        warnings = list(dict.fromkeys(warning for origin in origins for warning in origin.warnings))
        about = (Path(first.file).name, first.page, first.pixel_size, measure(cells, channels))
        result = ImageResult(cells, image, *about, place=first.place)
        if channels is None:
            warnings.append(f"no intensities: {_gone(first)}")
        lost, written = {}, {}
        for form, entry in self.formats.items():
            if entry.needs_image and image is None:
                warnings.append(f"no {form}: {_gone(first)}")
                continue
            saved = entry.export(result).save(self._file(form, name))
            lost[form], written[form] = saved.pixels_lost, saved.size
        info = {"made_from": self._result_key(origins), "seconds": seconds, "steps": steps, "warnings": warnings}
        info |= {"zoom": first.zoom, "zoom_from": first.zoom_from}
        info |= {"source": str(Path(first.file).resolve()), "label_pixels_lost": lost.get("labels", 0), "bytes": written}
        FORMATS[RECORD].export(replace(result, info=info)).save(self._file(RECORD, name))

    def finish(
        self, gone_through: LoopResult, classes: Sequence[str], models: Mapping[str, Any], kaggle: Path | None, begin: float
    ) -> RunSummary:
        """Make the files of the whole run from those of its images, which are read one at a time.

        Args:
            gone_through: images and failures of the run.
            classes: class names.
            models: what `run.json` tells of the weights.
            kaggle: where to write a `submission.csv`; its ids are the stems of the files, with the page of a stack.
            begin: when the run began, by `time.perf_counter`.
        """
        names = gone_through.names
        by_image = {}
        tables = Tables(classes)
        cells: Counter[int] = Counter()
        steps: Counter[str] = Counter()

        def noted() -> Iterator[dict[str, Any]]:
            """The documents, which are read once for all files of the run."""
            for (path, done), document in zip(gone_through.images, self._documents(names), strict=True):
                by_image[done.name] = {**document["info"], "file": str(path.resolve())}
                tables.add(done.name, document)
                cells.update(a["category_id"] for a in document["annotations"])
                steps.update(document["info"]["steps"])
                yield document

        coco.merge_coco(noted(), gone_through.file_names(), classes).save(self.out / "instances.json")
        self._write_tables(tables, gone_through.failures)
        if kaggle is not None:
            ids = [frame_name(path, done.page, done.place) for path, done in gone_through.images]
            cells_by_id = zip(ids, map(coco.cells_of, self._documents(names)), strict=True)
            write_whole(kaggle, submission_csv(cells_by_id))
        told = ("file", "zoom", "zoom_from", "seconds", "steps", "label_pixels_lost")
        manifest = Manifest(
            settings={**self.method.settings, "overlay": "overlays" in self.formats},
            models=models,
            images=len(names),
            skipped=gone_through.skipped,
            cells={category["name"]: cells[category["id"]] for category in coco.categories(classes)},
            failures=gone_through.failures,
            warnings={name: info["warnings"] for name, info in by_image.items() if info["warnings"]},
            seconds=round(time.perf_counter() - begin, 3),
            more={
                "left_out": gone_through.left_out,
                "steps": dict(steps),
                "medians": tables.medians(),
                "by_image": {name: {key: info[key] for key in told} for name, info in by_image.items()},
            },
        )
        write_whole(self.out / "run.json", manifest.json())
        return RunSummary.of(manifest, self.out)

    def _write_tables(self, tables: Tables, failures: Mapping[str, str]) -> None:
        write_whole(self.out / "cells.csv", tables.cells_csv())
        write_whole(self.out / "images.csv", tables.images_csv(failures))
        parquet = self.out / "cells.parquet"
        if find_spec("pyarrow") is not None:
            write_whole(parquet, tables.cells_parquet())
        else:
            parquet.unlink(missing_ok=True)  # of an earlier run, of other cells

    def _result_key(self, origins: Sequence[Origin]) -> dict[str, Any]:
        keys = [origin.key() for origin in origins]
        return {"predictions": keys, "settings": self.method.settings, "somaseg": own_version()}

    def _owner(self, name: str) -> str | None:
        document = self._document(name)
        return None if document is None else str(document["info"]["source"])

    def _documents(self, names: Sequence[str]) -> Iterator[dict[str, Any]]:
        for name in names:
            document = self._document(name)
            if document is None:
                raise InputError(f"{self.out}: the result of {name} disappeared during the run: run again")
            yield document

    def _document(self, name: str) -> dict[str, Any] | None:
        """The COCO document of an image; None where there is none that `add` made. The last one is remembered: it is asked for twice."""
        try:
            data = self._file(RECORD, name).read_bytes()
            if data != self._last[0]:
                self._last = data, orjson.loads(data)
        except (OSError, orjson.JSONDecodeError):
            return None
        document = self._last[1]
        info = document.get("info") if isinstance(document, dict) else None
        is_whole = isinstance(info, dict) and {"made_from", "source", "bytes"} <= info.keys() and document.keys() >= PARTS
        return dict(document) if is_whole else None

    def _file(self, form: str, name: str) -> Path:
        return self.out / form / f"{name}{FORMATS[form].suffix}"


def _gone(origin: Origin) -> str:
    return f"the image {origin.file} is gone or was changed after the prediction"


def _size(file: Path) -> int | None:
    """Bytes of a file; None where there is none."""
    try:
        return file.stat().st_size
    except OSError:
        return None
