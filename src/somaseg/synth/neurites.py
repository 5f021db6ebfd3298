"""What lies between the synthetic cells: neurites and debris, as optical delays."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from somaseg.synth.cells import Floats, Random

STEP = 0.8  # px between two points of a neurite
FINE, BROAD = 0.4, 0.75  # px, sigmas of thin and thick neurites


def grow(start: Floats, target: Floats, length: Floats, wander: float, rng: Random) -> tuple[Floats, NDArray[np.int64], Floats]:
    """Points along wandering paths.

    Args:
        start: (N, 3) x, y and heading (rad) of the first point of each path.
        target: (N, 2) point that each path bends towards; NaN for none.
        length: (N,) px.
        wander: deviation of the change of heading from step to step, rad.
        rng: source of the curves.

    Returns:
        Points (M, 2) of x, y, one every `STEP` px, the number of the path (M,) that each is on, and how far along it lies, 0 to 1.
    """
    steps = np.maximum((length / STEP).astype(int), 1)
    most = int(steps.max(initial=0))
    position, heading = start[:, :2].copy(), start[:, 2].copy()
    turns = ndimage.gaussian_filter1d(rng.standard_normal((most, len(start)), np.float32), 1.5, axis=0) if most else ()
    track = np.empty((most, len(start), 2), np.float32)
    for i, turn in enumerate(turns):
        offset = target - position
        error = np.angle(np.exp(1j * (np.arctan2(offset[:, 1], offset[:, 0]) - heading)))
        heading += wander * turn + 0.05 * np.nan_to_num(error)
        position += STEP * np.stack([np.cos(heading), np.sin(heading)], axis=1)
        track[i] = position
    step, path = np.nonzero(np.arange(most)[:, None] < steps)
    return track[step, path], path, (step / steps[path]).astype(np.float32)


def splat(points: Floats, weight: Floats, size: tuple[int, int]) -> Floats:
    """Spread point weights over the four nearest pixels of a frame (H, W); points outside are left out."""
    height, width = size
    corner = np.floor(points).astype(np.int64)
    part = points - corner
    frame = np.zeros(height * width)
    for dx in (0, 1):
        for dy in (0, 1):
            x, y = corner[:, 0] + dx, corner[:, 1] + dy
            share = weight * np.abs(1 - dx - part[:, 0]) * np.abs(1 - dy - part[:, 1])
            inside = (x >= 0) & (y >= 0) & (x < width) & (y < height)
            frame += np.bincount(y[inside] * width + x[inside], share[inside], height * width)
    return frame.reshape(size).astype(np.float32)


def neurites(
    start: Floats, target: Floats, length: Floats, delay: Floats, beads: float, wander: float, size: tuple[int, int], rng: Random
) -> Floats:
    """Optical delay (H, W) of thin processes that fade towards their ends.

    Args:
        start: (N, 3) x, y and heading (rad) of each.
        target: (N, 2) see `grow`.
        length: (N,) px.
        delay: (N,) optical delay at the start, rad.
        beads: share of points that carry a bead.
        wander: see `grow`.
        size: (height, width), px.
        rng: source of curves and beads.
    """
    points, path, part = grow(start, target, length, wander, rng)
    if not len(points):
        return np.zeros(size, np.float32)
    beaded = rng.random(len(points)) < beads
    weight = delay[path] * np.minimum(0.4 + 6 * part, 1) * (1 - 0.7 * part) * np.where(beaded, rng.uniform(2, 6, len(points)), 1)
    thick = (delay[path] > np.quantile(delay, 0.8)) & (part < 0.5)
    fine = ndimage.gaussian_filter(splat(points[~thick], weight[~thick], size), FINE)
    broad = ndimage.gaussian_filter(splat(points[thick], weight[thick], size), BROAD)
    # A line of points STEP apart, blurred by sigma s, peaks at 1 / (STEP * s * sqrt(2 pi)) of a point's weight.
    return np.asarray(STEP * np.sqrt(2 * np.pi) * (FINE * fine + BROAD * broad), np.float32)


def sphere(phase: Floats, x: float, y: float, radius: float, delay: float) -> None:
    """Lay a ball of `radius` px and central optical `delay` (rad) at x, y onto `phase` (H, W), in place."""
    height, width = phase.shape
    x0, x1 = max(int(x - radius), 0), min(int(x + radius) + 2, width)
    y0, y1 = max(int(y - radius), 0), min(int(y + radius) + 2, height)
    if x0 >= x1 or y0 >= y1:
        return
    rows, columns = np.ogrid[y0:y1, x0:x1]
    depth = 1 - ((columns - x) ** 2 + (rows - y) ** 2) / radius**2
    window = phase[y0:y1, x0:x1]
    np.maximum(window, delay * np.sqrt(np.clip(depth, 0, None)), out=window)
