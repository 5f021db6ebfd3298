"""Images at another size."""

import numpy as np
from numpy.typing import NDArray

from somaseg.masks.crops import Size

Floats = NDArray[np.float32]
HALF, ONE = np.float32(0.5), np.float32(1)


def size_by_edge(size: Size, edge: int, longest: int | None = None) -> Size:
    """The size (height, width) of an image whose shorter edge becomes `edge` pixels and whose longer one at most `longest`.

    Detectron2's rule: sides stay floats until both limits are met, halves round up.
    """
    height, width = size
    shorter = min(size)
    sides = (float(edge), edge / shorter * width) if height <= width else (edge / shorter * height, float(edge))
    if longest is not None and max(sides) > longest:
        sides = (sides[0] * (longest / max(sides)), sides[1] * (longest / max(sides)))
    return max(1, int(sides[0] + 0.5)), max(1, int(sides[1] + 0.5))


def resize(plane: Floats, size: Size) -> Floats:
    """A plane (H, W) at another size, bilinear, corners not aligned; where a side shrinks, smoothed first by a triangle.

    The pixels are those of PyTorch's `interpolate(mode="bilinear", align_corners=False, antialias=SHRINKS)`: equal where no side
    shrinks, on processors that multiply and add in one step, else within rounding.
    """
    if plane.shape == size:
        return np.ascontiguousarray(plane)
    smooth = size[0] < plane.shape[0] or size[1] < plane.shape[1]
    weigh = _triangle if smooth else _linear
    wide = _along_rows(np.ascontiguousarray(plane.T), *weigh(plane.shape[1], size[1]))
    return _along_rows(np.ascontiguousarray(wide.T), *weigh(plane.shape[0], size[0]))


def _linear(before: int, after: int) -> tuple[NDArray[np.int64], Floats]:
    """The two pixels that each of `after` new ones lies between, (2, after), and their weights."""
    # In float64 the product is exact, so that there is one rounding, as in a fused multiply-add.
    place = (np.float64(np.float32(before / after)) * (np.arange(after) + 0.5) - 0.5).astype(np.float32).clip(min=0)
    first = np.minimum(place.astype(np.int64), before - 1)
    share = (place - first.astype(np.float32)).clip(0, 1)
    return np.stack([first, np.minimum(first + 1, before - 1)]), np.stack([ONE - share, share])


def _triangle(before: int, after: int) -> tuple[NDArray[np.int64], Floats]:
    """The pixels under a triangle about each of `after` new ones, (taps, after), as wide as a step, and their weights."""
    step = np.float32(before / after)
    reach = max(step, ONE)
    centre = step * (np.arange(after, dtype=np.float32) + HALF)
    low = (centre - reach + HALF).astype(np.int64).clip(min=0)
    high = (centre + reach + HALF).astype(np.int64).clip(max=before)
    pixels = low + np.arange((high - low).max())[:, None]
    weights = (1 - np.abs((pixels.astype(np.float32) - centre + HALF) / reach)).clip(min=0)
    weights[pixels >= high] = 0
    return np.minimum(pixels, before - 1), (weights / weights.sum(axis=0)).astype(np.float32)


def _along_rows(plane: Floats, pixels: NDArray[np.int64], weights: Floats) -> Floats:
    """Weighted sums of rows: row i of the result is that of rows `pixels[:, i]`."""
    total: Floats = plane[pixels[-1]] * weights[-1][:, None]
    for rows, share in zip(pixels[-2::-1], weights[-2::-1], strict=True):
        total = (plane[rows] * share.astype(np.float64)[:, None] + total).astype(np.float32)
    return total
