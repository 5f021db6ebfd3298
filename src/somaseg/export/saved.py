"""A finished folder of results, read back image by image."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from somaseg.errors import InputError
from somaseg.export.formats import FORMATS, RECORD
from somaseg.measure.cells import LENGTHS

PARTS = {"images", "annotations", "categories", "measurements"}  # of the document of an image


@dataclass(frozen=True)
class SavedImage:
    """An image of a folder of results.

    Attributes:
        name: in the results.
        file: the image file.
        document: its COCO document with measurements, as `somaseg.export.coco` made it.
    """

    name: str
    file: Path
    document: Mapping[str, Any]

    @property
    def page(self) -> int | None:
        """Page of a stack."""
        page = self.document["images"][0].get("page")
        return None if page is None else int(page)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        image = self.document["images"][0]
        return image["height"], image["width"]

    @property
    def pixel_size(self) -> float | None:
        """Edge of a pixel in µm, where it is known."""
        pixel_size = self.document["images"][0].get("pixel_size")
        return None if pixel_size is None else float(pixel_size)

    @property
    def covered(self) -> int:
        """Pixels that cells cover."""
        return int(self.document["measurements"]["covered"])

    def classes(self) -> list[str]:
        """Class name of each cell."""
        names = {category["id"]: category["name"] for category in self.document["categories"]}
        return [names[cell["category_id"]] for cell in self.document["annotations"]]

    def columns(self) -> dict[str, NDArray[np.float64]]:
        """What is measured of each cell by name, (N,), NaN where there is nothing; in µm too where the pixel size is known."""
        cells = self.document["annotations"]
        columns = {"area": np.array([cell["area"] for cell in cells], np.float64)}
        columns |= {name: np.array(values, np.float64) for name, values in self.document["measurements"]["cells"].items()}
        if self.pixel_size is not None:
            columns["area_um2"] = columns["area"] * self.pixel_size**2
            columns |= {f"{name}_um": columns[name] * self.pixel_size for name in LENGTHS if name in columns}
        return columns


@dataclass(frozen=True)
class SavedResult:
    """A folder of results.

    Attributes:
        folder: the folder.
        run: what its `run.json` says.
    """

    folder: Path
    run: Mapping[str, Any]

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names."""
        return tuple(self.run["cells"])

    @property
    def failures(self) -> Mapping[str, str]:
        """What went wrong, by image file; these have no result."""
        return dict(self.run.get("failures", {}))

    @property
    def files(self) -> dict[str, Path]:
        """The image files by name in the results."""
        return {name: Path(about["file"]) for name, about in self.run["by_image"].items()}

    def images(self) -> Iterator[SavedImage]:
        """The images, read one at a time.

        Raises:
            InputError: when the record of one is missing, damaged, or of an earlier version of somaseg.
        """
        for name, file in self.files.items():
            record = self.folder / RECORD / f"{name}{FORMATS[RECORD].suffix}"
            document = _json(record)
            if not isinstance(document, dict) or not document.keys() >= PARTS:
                raise InputError(f"{record}: measurements: missing, the result is of an earlier version: run `somaseg segment` again")
            yield SavedImage(name, file, document)


def read_result(folder: Path) -> SavedResult:
    """Find a folder of results of `segment`, `postprocess` or `fuse`.

    Raises:
        InputError: when it is none.
    """
    file = folder / "run.json"
    if not file.is_file():
        raise InputError(f"{folder}: has no run.json, expected the folder of results of `somaseg segment`: give that folder")
    run = _json(file)
    if not isinstance(run, dict) or not isinstance(run.get("cells"), dict) or not isinstance(run.get("by_image"), dict):
        raise InputError(f"{file}: cells, by_image: missing, expected the folder of results of `somaseg segment`, postprocess or fuse")
    return SavedResult(folder, run)


def _json(path: Path) -> Any:
    try:
        return orjson.loads(path.read_bytes())
    except (OSError, orjson.JSONDecodeError) as error:
        raise InputError(f"{path}: cannot be read ({error}): run `somaseg segment` again") from error
