"""What an exporter is given, and what it gives back."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from numpy.typing import NDArray

from somaseg.instances import Instances
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
        info: how the result was made, as JSON takes it.
    """

    cells: Instances
    image: NDArray[Any] | None
    file_name: str
    page: int | None = None
    pixel_size: float | None = None
    measurements: Measurements | None = None
    info: Mapping[str, Any] = field(default_factory=dict)


class Exported(NamedTuple):
    """A file's content, and the pixels of cells that its format could not hold."""

    data: bytes
    pixels_lost: int = 0
