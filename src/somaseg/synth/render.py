"""Synthetic cultures: phase-contrast images of neuronal cells whose masks are known to the pixel."""

from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy import ndimage
from scipy.spatial import KDTree

from somaseg.config import Settings
from somaseg.instances import Instances
from somaseg.masks import crops as mk
from somaseg.synth.cells import CELLS, Floats, Random, Shape
from somaseg.synth.cultures import CULTURES, Culture
from somaseg.synth.neurites import neurites, sphere, splat
from somaseg.synth.optics import band, expose, phase_contrast

CLASSES = ("shsy5y", "astro", "cort")
FULL_AREA = 520 * 704  # px; counts below are for a frame of this area
MIN_AREA = 40  # px; a smaller rest of a cell, at the border or beside a neighbour, is not drawn at all
MAX_HIDDEN = 0.45  # a cell that would share more of its area with others is tried elsewhere
CLUMP = 28.0  # px; Gaussian sigma of the density of cells
SEAM = 1.0  # px; cells that touch are this much thicker at the seam than at a free outline
LOOSE = 0.6  # neurites from cells out of the picture are this much thinner: only their far ends are seen
TRIES = 6  # places tried for a cell before it is left out


class SynthSettings(Settings):
    """One synthetic image.

    Attributes:
        cell_type: the culture to imitate.
        size: (height, width) of the image in pixels.
        cells: number of cells to place; None draws it from the real distribution of the cell type (docs/method.md),
            in proportion to the area of the image. Cells that find no room are left out.
        neurites: number of thin processes between the cells, as a factor of the usual number.
        debris: number of dead cells and specks, as a factor of the usual number.
        halo: strength of the bright rim round thick objects, 0 to 1; 1 is that of the real microscope.
        noise: standard deviation of the sensor noise in grey levels.
        unevenness: standard deviation of the slow drift of brightness over the field in grey levels; the real images are
            corrected for it and keep about .1.
    """

    cell_type: Literal["shsy5y", "astro", "cort"] = "shsy5y"
    size: tuple[Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)]] = (520, 704)
    cells: Annotated[int, Field(ge=0)] | None = None
    neurites: Annotated[float, Field(ge=0)] = 1.0
    debris: Annotated[float, Field(ge=0)] = 1.0
    halo: Annotated[float, Field(ge=0, le=1)] = 1.0
    noise: Annotated[float, Field(ge=0)] = 1.1
    unevenness: Annotated[float, Field(ge=0)] = 0.1


def render(settings: SynthSettings, seed: int) -> tuple[NDArray[np.uint8], Instances]:
    """Draw one synthetic culture.

    Args:
        settings: what to draw.
        seed: the same settings and seed give the same image and masks, bit for bit.

    Returns:
        The image (H, W) and its cells, with classes `CLASSES`. A mask is the whole support of its cell: the bright rim lies
        inside, as in masks drawn by hand, thin neurites do not.
    """
    rng = np.random.default_rng(seed)
    culture = CULTURES[settings.cell_type]
    share = settings.size[0] * settings.size[1] / FULL_AREA
    phase, cells, tips = _cells(settings, culture, share, rng)
    covered = np.clip(phase * 20, 0, 1)
    phase += (1 - 0.75 * covered) * _neurites(settings, culture, share, tips, rng)
    phase += _debris(settings, culture, share, tips, rng)
    image = expose(phase_contrast(phase, settings.halo), settings.noise, settings.unevenness, rng)
    return image, Instances.build(settings.size, cells, CLASSES, np.full(len(cells), CLASSES.index(settings.cell_type)))


def _cells(
    settings: SynthSettings, culture: Culture, share: float, rng: Random
) -> tuple[Floats, list[tuple[tuple[int, int, int, int], mk.Mask]], Floats]:
    """Place the cells; returns their optical delay (H, W), (box, crop) of each, and x, y, heading (N, 3) of all tips."""
    size = settings.size
    drawn = min(culture.count * np.exp(rng.normal(0, culture.count_spread)), culture.most) * share
    wanted = max(round(drawn), 1) if settings.cells is None else settings.cells
    places = _places(size, culture.clumping, wanted * TRIES, rng)
    texture = band(rng, (256, 256), 0.6, 1.5)
    phase, nearest = np.zeros(size, np.float32), np.full(size, 1e3, np.float32)
    cells, tips = [], [np.zeros((0, 3), np.float32)]
    middles: list[Floats] = []
    for tries in places.reshape(wanted, TRIES, 2):
        shape = CELLS[settings.cell_type](rng)
        crossing = bool(rng.random() < culture.crossing)
        if middles and rng.random() < culture.touching:
            turn = rng.uniform(0, 2 * np.pi, (TRIES, 1))
            tries = middles[rng.integers(len(middles))] + np.float32(culture.spacing) * np.hstack([np.cos(turn), np.sin(turn)]).astype(
                np.float32
            )
        for place in tries:
            cell = _draw(shape, place, crossing, texture, phase, nearest)
            if cell is not None:
                cells.append(cell)
                middles.append(place)
                tips.append(shape.tips + np.array([*place, 0], np.float32))
                break
    return phase, cells, np.concatenate(tips)


def _places(size: mk.Size, clumping: float, count: int, rng: Random) -> Floats:
    """Points (N, 2) of x, y, drawn from a smooth random density."""
    field = ndimage.gaussian_filter(rng.standard_normal(size), CLUMP, mode="wrap").ravel()
    # White noise blurred by sigma s has a deviation of 1 / (2 s sqrt(pi)).
    density = np.exp(clumping * 2 * CLUMP * np.sqrt(np.pi) * (field - field.max()))
    pixels = rng.choice(len(density), count, p=density / density.sum())
    return (np.stack([pixels % size[1], pixels // size[1]], axis=1) + rng.uniform(-0.5, 0.5, (count, 2))).astype(np.float32)


def _draw(
    shape: Shape, place: Floats, crossing: bool, texture: Floats, phase: Floats, nearest: Floats
) -> tuple[tuple[int, int, int, int], mk.Mask] | None:
    """Add one cell to `phase` and `nearest` (distance to the nearest outline), in place; None where it finds no room.

    A cell that meets others lies over them (`crossing`) or yields to them, so that the two touch along a line.
    """
    height, width = phase.shape
    low_x, low_y, high_x, high_y = shape.bounds()
    x0, x1 = max(int(place[0] + low_x), 0), min(int(place[0] + high_x) + 2, width)
    y0, y1 = max(int(place[1] + low_y), 0), min(int(place[1] + high_y) + 2, height)
    if x0 >= x1 or y0 >= y1:
        return None
    x = np.arange(x0, x1, dtype=np.float32)[None, :] - place[0]
    y = np.arange(y0, y1, dtype=np.float32)[:, None] - place[1]
    distance, others = shape.distance(x, y), nearest[y0:y1, x0:x1]
    mask = distance < 0
    shared = int(np.count_nonzero(mask & (others < 0)))
    if shared > MAX_HIDDEN * np.count_nonzero(mask):
        return None
    depth = -distance
    if shared and not crossing:
        pieces, count = ndimage.label(mask & (others > 0))
        mask = pieces == 1 + int(np.argmax(np.bincount(pieces.ravel())[1:])) if count else pieces > 0
        depth = np.minimum(depth, others + SEAM)
    if np.count_nonzero(mask) < MIN_AREA:
        return None
    rise = np.clip((depth - shape.edge[0]) / shape.edge[1], 0, 1) * mask
    thickness = rise * rise * (3 - 2 * rise)
    phase[y0:y1, x0:x1] += thickness * _inside(shape, x, y, texture)
    np.minimum(others, distance, out=others)
    box, crop = mk.crop_from_mask(mask)
    return (box[0] + x0, box[1] + y0, box[2] + x0, box[3] + y0), crop


def _inside(shape: Shape, x: Floats, y: Floats, texture: Floats) -> Floats:
    """Optical delay (rad) of the inside of a cell at x and y: cytoplasm with a texture along the cell's axis, and a nucleus."""
    length, width, strength = shape.grain
    cos, sin = np.cos(shape.angle), np.sin(shape.angle)
    # The phase of the cell serves as its own random offset into the texture.
    along, across = (x * cos + y * sin) / length + 1e4 * shape.phase, (y * cos - x * sin) / width
    values = strength * ndimage.map_coordinates(texture, [along, across], order=1, mode="grid-wrap")
    off_centre = np.hypot(x, y)
    nucleus = 0.2 * np.clip(shape.nucleus - off_centre, 0, 1) + 0.3 * np.exp(-np.square(off_centre))
    return np.asarray(shape.phase * (1 + nucleus + values), np.float32)


def _neurites(settings: SynthSettings, culture: Culture, share: float, tips: Floats, rng: Random) -> Floats:
    """Optical delay (H, W) of neurites that leave the cells, some of them towards other cells, and of loose ones."""
    height, width = settings.size
    loose = rng.uniform([0, 0, 0], [width, height, 2 * np.pi], (round(culture.loose * share), 3))
    origins = np.concatenate([tips, loose]).astype(np.float32)
    chosen = np.resize(rng.permutation(len(origins)), round(settings.neurites * len(origins)))
    start = origins[chosen]
    start[:, 2] += rng.normal(0, 0.15, len(start)).astype(np.float32)
    length = culture.neurite_length * np.exp(rng.normal(0, 0.7, len(start))).astype(np.float32)
    delay = culture.neurite_delay * np.exp(rng.normal(0, 0.5, len(start))).astype(np.float32)
    delay *= np.where(chosen < len(tips), 1.0, LOOSE).astype(np.float32)
    target = np.full((len(start), 2), np.nan, np.float32)
    if len(tips):
        linked = rng.random(len(start)) < culture.linked
        goal = start[:, :2] + 2 * culture.neurite_length * np.stack([np.cos(start[:, 2]), np.sin(start[:, 2])], axis=1)
        nearest = KDTree(tips[:, :2]).query(goal[linked])[1]
        target[linked] = tips[np.asarray(nearest), :2]
        apart = np.hypot(*(target - start[:, :2]).T)
        length = np.where(linked, np.minimum(apart * 1.05, 4 * culture.neurite_length), length).astype(np.float32)
    return neurites(start, target, length, delay, culture.beads, culture.wander, settings.size, rng)


def _debris(settings: SynthSettings, culture: Culture, share: float, tips: Floats, rng: Random) -> Floats:
    """Optical delay (H, W) of dead cells, alone or heaped on the living, and of specks."""
    height, width = settings.size
    phase = np.zeros(settings.size, np.float32)
    groups = round(settings.debris * share * culture.groups * np.exp(rng.normal(0, 0.4)))
    for _ in range(groups):
        heap = int(rng.integers(1, culture.balls + 1))
        on_cell = len(tips) > 0 and culture.balls > 2 and rng.random() < 0.8
        middle = tips[rng.integers(len(tips)), :2] if on_cell else rng.uniform([0, 0], [width, height])
        size = rng.uniform(*culture.radius)
        for x, y in middle + rng.normal(0, 0.65 * size * np.sqrt(heap - 0.9), (heap, 2)):
            sphere(phase, float(x), float(y), size * rng.uniform(0.8, 1.2), rng.uniform(0.25, 0.8))
    phase *= np.clip(1 + 0.5 * band(rng, settings.size, 0.7, 2.0), 0, None)
    specks = rng.uniform([0, 0], [width, height], (round(settings.debris * share * culture.specks), 2)).astype(np.float32)
    weight = rng.gamma(1.5, 0.25, len(specks)).astype(np.float32)
    return phase + ndimage.gaussian_filter(splat(specks, weight, settings.size), 0.6)
