"""What an exporter is given, and what it gives back."""

import filecmp
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, BinaryIO, NamedTuple

from somaseg.files import whole, write_whole
from somaseg.instances import Instances, Pixels
from somaseg.measure.cells import Measurements


@dataclass(frozen=True)
class ImageResult:
    """The result of one image.

    Attributes:
        cells: best first.
        image: (H, W) or (H, W, C) as it was read; None where the file is gone or was changed, or nobody needs it.
        file_name: of the image, without its folder.
        page: number of the page in a stack; None where the file holds one image.
        pixel_size: edge of a pixel in µm; None where it is not known.
        measurements: of the cells; None where nobody measured them.
        place: of the image in a file with several axes, such as t003_z012; empty where there is none.
        info: how the result was made, as JSON takes it.
    """

    cells: Instances
    image: Pixels | None
    file_name: str
    page: int | None = None
    pixel_size: float | None = None
    measurements: Measurements | None = None
    info: Mapping[str, Any] = field(default_factory=dict)
    place: str = ""


class Exported(NamedTuple):
    """A file's content, and the pixels of cells that its format could not hold.

    Attributes:
        data: the content; where it may be too large for the memory, what writes it into an empty file, open for reading and writing,
            and gives the pixels that were lost.
        pixels_lost: beside those that writing gives.
        beside: contents of further files, by their paths from the folder of the file on; formats that are folders have such.
    """

    data: bytes | Callable[[BinaryIO], int]
    pixels_lost: int = 0
    beside: Mapping[str, bytes] = MappingProxyType({})

    def save(self, path: Path) -> "Saved":
        """Write all files whole, see `somaseg.files.whole`; the one at `path` comes last, so that it stands for all of them."""
        for name, data in self.beside.items():
            write_whole(path.parent / name, data)
        if isinstance(self.data, bytes):
            write_whole(path, self.data)
            return Saved(len(self.data), self.pixels_lost)
        with whole(path) as part:
            with part.open("w+b") as file:
                lost = self.pixels_lost + self.data(file)
            return Saved(part.stat().st_size, lost)

    def differs(self, path: Path) -> bool:
        """Whether any of the files is there with another content."""
        files = {path.parent / name: data for name, data in self.beside.items()}
        if isinstance(self.data, bytes):
            files[path] = self.data
        elif path.exists():
            with tempfile.TemporaryDirectory(dir=path.parent) as folder:
                Exported(self.data).save(Path(folder) / path.name)
                if not filecmp.cmp(Path(folder) / path.name, path, shallow=False):
                    return True
        return any(place.exists() and place.read_bytes() != data for place, data in files.items())


class Saved(NamedTuple):
    """Bytes of a file that was written, and the pixels of cells that it could not hold."""

    size: int
    pixels_lost: int
