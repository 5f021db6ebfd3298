"""What an exporter is given, and what it gives back."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from numpy.typing import NDArray

from somaseg.instances import Instances


@dataclass(frozen=True)
class ImageResult:
    """The result of one image.

    Attributes:
        cells: best first.
        image: (H, W) or (H, W, C) as it was read; None where the file is gone or was changed, or nobody needs it.
        file_name: of the image, without its folder.
        page: number of the page in a stack; None where the file holds one image.
        pixel_size: edge of a pixel in µm; None where it is not known.
        info: how the result was made, as JSON takes it.
    """

    cells: Instances
    image: NDArray[Any] | None
    file_name: str
    page: int | None = None
    pixel_size: float | None = None
    info: Mapping[str, Any] = field(default_factory=dict)


class Exported(NamedTuple):
    """A file's content, and the pixels of cells that its format could not hold.

    Attributes:
        data: the content.
        pixels_lost: see above.
        beside: contents of further files, by their paths from the folder of the file on; formats that are folders have such.
    """

    data: bytes
    pixels_lost: int = 0
    beside: Mapping[str, bytes] = MappingProxyType({})

    def files(self, path: Path) -> Iterator[tuple[Path, bytes]]:
        """All files and their contents; the file itself, at `path`, comes last, so that it stands for all of them."""
        yield from ((path.parent / name, data) for name, data in self.beside.items())
        yield path, self.data
