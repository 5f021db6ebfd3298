"""The folder of a run's results: what is done, the files of each image, and those of the whole run.

DIR/coco/NAME.json             the cells of an image as COCO JSON; written last, so that it stands for a finished image
DIR/labels/NAME_labels.tif     its label image
DIR/overlays/NAME_overlay.png  its picture
DIR/instances.json             the cells of all images as COCO JSON
DIR/cells.csv                  a row a cell
DIR/run.json                   how they were made, and what went wrong
"""

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import orjson
from numpy.typing import NDArray

from somaseg.batch.loop import LoopResult, Names
from somaseg.batch.prediction_file import Origin, SavedPrediction
from somaseg.batch.summary import RunSummary
from somaseg.errors import InputError
from somaseg.export import coco as export
from somaseg.export.labels import label_tiff
from somaseg.export.overlay import overlay_png
from somaseg.export.submission import submission_csv
from somaseg.export.table import cells_csv
from somaseg.files import write_atomic
from somaseg.fusion.methods import Method
from somaseg.images.normalize import to_grey
from somaseg.images.read import frame_name
from somaseg.provenance import versions


class ResultFolder:
    """Results by name of the image.

    Args:
        out: the folder; it need not be there.
        method: how cells are made.
        overlay: whether a picture belongs to the results.
    """

    def __init__(self, out: Path, method: Method, overlay: bool) -> None:
        self.out, self.method, self.overlay = out, method, overlay
        self.names = Names(self._owner)

    def is_done(self, name: str, origins: Sequence[Origin], has_image: bool = True) -> bool:
        """Whether all files of an image are there and were made from the same things; without an image there is no picture."""
        document = self._document(name)
        files = [self._labels(name), *([self._overlay(name)] if self.overlay and has_image else [])]
        return document is not None and document["info"]["made_from"] == self._result_key(origins) and all(file.exists() for file in files)

    def add(self, name: str, members: Sequence[SavedPrediction], image: NDArray[Any] | None, begin: float) -> None:
        """Make the cells of an image and write all its files.

        Args:
            name: of the image.
            members: its predictions, one or of several models.
            image: (H, W) or (H, W, C), for the picture; None draws none.
            begin: when the work on the image began, by `time.perf_counter`.
        """
        cells, steps = self.method.cells([member.prediction for member in members])
        origins = [member.origin for member in members]
        seconds = round(time.perf_counter() - begin, 4)
        warnings = list(dict.fromkeys(warning for origin in origins for warning in origin.warnings))
        if self.overlay and image is None:
            warnings.append(f"no overlay: the image {origins[0].file} is gone or was changed after the prediction")
        labels, lost = label_tiff(cells)
        write_atomic(self._labels(name), labels)
        if self.overlay and image is not None:
            write_atomic(self._overlay(name), overlay_png(to_grey(image), cells))
        info = {"made_from": self._result_key(origins), "seconds": seconds, "steps": steps, "warnings": warnings}
        info |= {"source": str(Path(origins[0].file).resolve()), "label_pixels_lost": lost}
        document = export.coco_document(cells, Path(origins[0].file).name, origins[0].page, origins[0].pixel_size)
        write_atomic(self._coco(name), orjson.dumps({"info": info, **document}))

    def finish(
        self, gathered: LoopResult, classes: Sequence[str], about: Mapping[str, Any], kaggle: Path | None, begin: float
    ) -> RunSummary:
        """Make the files of the whole run from those of its images, which are read one at a time.

        Args:
            gathered: what the run went through.
            classes: class names.
            about: what else belongs into `run.json`, such as the weights.
            kaggle: where to write a `submission.csv`; its ids are the stems of the files, with the page of a stack.
            begin: when the run began, by `time.perf_counter`.
        """
        names = gathered.names
        write_atomic(self.out / "instances.json", export.merge_coco(self._documents(names), gathered.file_names(), classes))
        write_atomic(self.out / "cells.csv", cells_csv(self._documents(names), names))
        if kaggle is not None:
            ids = [frame_name(path, done.page) for path, done in gathered.images]
            cells_by_id = zip(ids, map(export.cells_of, self._documents(names)), strict=True)
            write_atomic(kaggle, submission_csv(cells_by_id))

        by_image = {}
        cells: Counter[int] = Counter()
        steps: Counter[str] = Counter()
        for (path, done), document in zip(gathered.images, self._documents(names), strict=True):
            by_image[done.name] = {**document["info"], "file": str(path.resolve())}
            cells.update(a["category_id"] for a in document["annotations"])
            steps.update(document["info"]["steps"])
        warnings = {name: info["warnings"] for name, info in by_image.items() if info["warnings"]}
        of_class = {category["name"]: cells[category["id"]] for category in export.categories(classes)}
        seconds = round(time.perf_counter() - begin, 3)
        manifest = {
            "settings": {**self.method.settings, "overlay": self.overlay},
            **about,
            "versions": versions(),
            "images": len(names),
            "skipped": gathered.skipped,
            "cells": of_class,
            "failures": gathered.failures,
            "warnings": warnings,
            "seconds": seconds,
            "steps": dict(steps),
            "by_image": {
                name: {key: info[key] for key in ("file", "seconds", "steps", "label_pixels_lost")} for name, info in by_image.items()
            },
        }
        write_atomic(self.out / "run.json", orjson.dumps(manifest, option=orjson.OPT_INDENT_2))
        return RunSummary(self.out, len(names), gathered.skipped, of_class, gathered.failures, warnings, seconds)

    def _result_key(self, origins: Sequence[Origin]) -> dict[str, Any]:
        keys = [origin.key() for origin in origins]
        return {"predictions": keys, "settings": self.method.settings, "somaseg": version("somaseg")}

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
        """The COCO document of an image; None where there is none that `add` made."""
        try:
            document = orjson.loads(self._coco(name).read_bytes())
        except (OSError, orjson.JSONDecodeError):
            return None
        info = document.get("info") if isinstance(document, dict) else None
        return dict(document) if isinstance(info, dict) and {"made_from", "source"} <= set(info) else None

    def _coco(self, name: str) -> Path:
        return self.out / "coco" / f"{name}.json"

    def _labels(self, name: str) -> Path:
        return self.out / "labels" / f"{name}_labels.tif"

    def _overlay(self, name: str) -> Path:
        return self.out / "overlays" / f"{name}_overlay.png"
