"""The picture of a result: the image, stretched, with a thin outline around each cell and its number on it."""

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageColor

from somaseg.export.image_result import Exported, ImageResult
from somaseg.export.legend import Legend
from somaseg.export.numbers import draw_numbers
from somaseg.images.levels import is_large, levels_of
from somaseg.images.normalize import to_grey
from somaseg.images.regions.lazy import LazyImage
from somaseg.images.regions.shrink import shrink
from somaseg.instances import Instances, Pixels
from somaseg.masks.crops import Size
from somaseg.masks.pairs import meeting_boxes

COLOURS = np.array([ImageColor.getrgb(c) for c in ("#00e5ff", "#ffd400", "#ff5fae", "#8cff4f", "#ff9430", "#b794ff")]) / 255
FAINTEST = 0.35  # opacity of an outline at score 0; at score 1 it is 1
LINE = 2.0  # width of an outline in pixels of the picture
NEAR = 4  # px between boxes up to which two cells get different colours
STRETCH = (0.3, 99.7)  # percentiles that become black and white
ENLARGE = ((256, 4), (1024, 2))  # longest side in px up to which an image is enlarged, and how many times
LARGEST = 4096  # longest side of the picture in px; larger images are reduced to it
AT_ONCE = 5000  # cells whose outlines are in memory at once
DPI = 72  # makes a point of matplotlib one pixel


def overlay_file(result: ImageResult) -> Exported:
    """The picture of a result as PNG; it needs the image. See `overlay`."""
    return _file(result, numbers=True)


def outline_file(result: ImageResult) -> Exported:
    """The same without numbers."""
    return _file(result, numbers=False)


def _file(result: ImageResult, numbers: bool) -> Exported:
    image = result.image
    assert image is not None
    if isinstance(image, LazyImage) or is_large(image):
        return Exported(png(_overlay_of_regions(image, result.cells, result.pixel_size, numbers)))
    return Exported(png(overlay(to_grey(np.asarray(image)), result.cells, result.pixel_size, numbers)))


def _overlay_of_regions(image: Pixels, cells: Instances, pixel_size: float | None, numbers: bool) -> Image.Image:
    """`overlay` of an image that is not in memory; black and white are those of its levels."""
    levels = levels_of(image)

    def grey(region: NDArray[Any]) -> NDArray[np.uint8]:
        share = (to_grey(region, levels) - np.float32(levels.low)) * np.float32(levels.scale)
        return np.asarray(np.clip(share, 0, 255) + np.float32(0.5), np.uint8)

    return _with_outlines(shrink(image, grey, _shape(cells.size)), cells, pixel_size, numbers)


def png(picture: Image.Image) -> bytes:
    """A picture as PNG, quickly: higher levels of compression take four times as long for a tenth less."""
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def overlay(grey: NDArray[np.float32], cells: Instances, pixel_size: float | None = None, numbers: bool = True) -> Image.Image:
    """The image with outlines, numbers and a legend below.

    Small images are enlarged two or four times so that outlines stay thin, very large ones reduced. Colours tell classes
    apart where the image has several, else neighbours. The fainter an outline the lower its score. Numbers are those of the table;
    where they would hide each other those of the best cells are written.

    Args:
        grey: (H, W), finite, any range.
        cells: the cells of the image.
        pixel_size: edge of a pixel of the image in µm, for a scale bar; None draws none.
        numbers: whether to write the cells' numbers.
    """
    height, width = grey.shape
    picture = Image.fromarray(stretched(grey)).resize(_shape((height, width)), Image.Resampling.BICUBIC)
    return _with_outlines(picture, cells, pixel_size, numbers)


def _shape(size: Size) -> tuple[int, int]:
    """Width and height of the picture of an image of `size`."""
    scale = _scale(size)
    return max(1, round(size[1] * scale)), max(1, round(size[0] * scale))


def _scale(size: Size) -> float:
    """Pixels of the picture of an image of `size` over its own."""
    return next((factor for limit, factor in ENLARGE if max(size) <= limit), min(1.0, LARGEST / max(size)))


def _with_outlines(image: Image.Image, cells: Instances, pixel_size: float | None, numbers: bool) -> Image.Image:
    """Outlines and numbers over the picture of an image, and a legend below."""
    picture, shape, scale = image.convert("RGBA"), image.size, _scale(cells.size)
    by_class = len(set(cells.labels.tolist())) > 1
    colours = COLOURS[(cells.labels if by_class else _apart(cells.boxes)) % len(COLOURS)]
    hidden = 0
    if len(cells):
        opacity = FAINTEST + (1 - FAINTEST) * np.clip(cells.scores, 0, 1)
        picture.alpha_composite(outlines(cells, np.column_stack([colours, opacity]), LINE, shape))
    drawn = picture.convert("RGB")
    if len(cells) and numbers:
        pixels = np.array(drawn)
        hidden = draw_numbers(pixels, cells, scale)
        drawn = Image.fromarray(pixels)
    counts = np.bincount(cells.labels, minlength=1)
    legend = Legend(
        [(cells.classes[i], int(counts[i]), _rgb(COLOURS[i % len(COLOURS)]) if by_class else None) for i in np.flatnonzero(counts)],
        None if pixel_size is None else pixel_size / scale,
        _rgb(COLOURS[0] * FAINTEST),
        _rgb(COLOURS[0]),
        f"{hidden} number{'' if hidden == 1 else 's'} left out" if hidden else "",
    )
    return legend.below(drawn)


def stretched(grey: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Grey values (H, W) in which all but the darkest and the brightest pixels take the whole range."""
    low, high = np.percentile(grey, STRETCH)
    spread = max(float(high - low), 1e-6)
    return np.asarray(np.clip((grey - low) / spread, 0, 1) * 255 + 0.5, np.uint8)


def _apart(boxes: NDArray[np.int32]) -> NDArray[np.int64]:
    """A colour number a box (N,), so that near boxes differ; of those free the one used least."""
    colour = np.full(len(boxes), -1, np.int64)
    used = np.zeros(len(COLOURS), np.int64)
    before, after = meeting_boxes(boxes + np.array([0, 0, NEAR + 1, NEAR + 1]))
    order = np.argsort(after, kind="stable")
    near = np.split(before[order], np.searchsorted(after[order], np.arange(1, len(boxes))))
    for i in range(len(boxes)):
        taken = np.bincount(colour[near[i]], minlength=len(COLOURS))
        colour[i] = np.lexsort((used, taken))[0]
        used[colour[i]] += 1
    return colour


def outlines(
    cells: Instances,
    colours: NDArray[np.float64],
    width: float | NDArray[np.float64],
    shape: tuple[int, int],
    part: tuple[int, int, int, int] | None = None,
) -> Image.Image:
    """Anti-aliased outlines on a transparent canvas.

    Args:
        cells: the cells of an image.
        colours: red, green, blue and opacity of each (N, 4), in [0, 1].
        width: of the lines in pixels of the canvas; one, or one a cell (N,).
        shape: (width, height) of the canvas in pixels.
        part: x0 y0 x1 y1, half-open, the part of the image that the canvas shows; None for all of it.
    """
    # Imported when a picture is drawn: it takes half of the time that a run with nothing to do takes.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.collections import LineCollection
    from matplotlib.figure import Figure
    from matplotlib.transforms import Affine2D

    x0, y0, x1, y1 = part or (0, 0, cells.size[1], cells.size[0])
    figure = Figure(figsize=(shape[0] / DPI, shape[1] / DPI), dpi=DPI)
    figure.patch.set_alpha(0)
    # From centres of pixels, y down, to the canvas, y up. Axes would do the same in ten times as long.
    to_canvas = Affine2D().translate(0.5 - x0, 0.5 - y0).scale(shape[0] / (x1 - x0), -shape[1] / (y1 - y0)).translate(0, shape[1])
    widths = np.broadcast_to(width, len(cells))
    canvas = FigureCanvasAgg(figure)
    canvas.draw()  # type: ignore[no-untyped-call]
    for first in range(0, len(cells), AT_ONCE):
        rings = cells[first : first + AT_ONCE].to_polygons()
        owner = first + np.repeat(np.arange(len(rings)), [len(pieces) for pieces in rings])
        lines = [_smooth(piece) for pieces in rings for piece in pieces]
        drawn = figure.add_artist(LineCollection(lines, colors=colours[owner], linewidths=widths[owner], transform=to_canvas))
        drawn.draw(canvas.get_renderer())  # type: ignore[no-untyped-call]
        drawn.remove()
    return Image.fromarray(np.asarray(canvas.buffer_rgba()))  # type: ignore[no-untyped-call]


def _smooth(closed: NDArray[np.float64]) -> NDArray[np.float64]:
    """A closed line (n, 2) without the staircase of its pixels: each point the 1-2-2-2-1 mean of its neighbours."""
    points = closed[:-1]
    if len(points) < 8:
        return closed
    ring = np.concatenate([points[-2:], points, points[:2]])
    smooth = (ring[:-4] + ring[4:] + 2 * (ring[1:-3] + ring[2:-2] + ring[3:-1])) / 8
    return np.concatenate([smooth, smooth[:1]])


def _rgb(colour: NDArray[np.float64]) -> tuple[int, int, int]:
    red, green, blue = (round(255 * float(value)) for value in colour)
    return red, green, blue
