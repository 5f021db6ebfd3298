"""A folder of synthetic cultures: PNG images and their annotations as COCO JSON."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Literal, cast

import imageio.v3 as iio
import numpy as np

from somaseg.annotations.samples import Sample
from somaseg.annotations.write import write_coco
from somaseg.errors import InputError
from somaseg.files import write_whole
from somaseg.synth.render import CLASSES, SynthSettings, render

MIXED = "mixed"


def write_cultures(
    out: Path, count: int, seed: int, cell_type: str = MIXED, progress: Callable[[Iterable[int]], Iterable[int]] = iter
) -> list[Sample]:
    """Render cultures into `out/images/*.png` and `out/annotations.json`.

    Args:
        out: folder, made where it is not there; files of the same names are replaced.
        count: number of images, 1 or more.
        seed: 0 or more; image i of a seed is the same however many are rendered.
        cell_type: one of `CLASSES`, or "mixed" for all of them in turn.
        progress: wraps the numbers of the images, as progress bars do.

    Returns:
        One sample an image, each its own group.

    Raises:
        InputError: when an argument is out of range.
    """
    if count < 1:
        raise InputError(f"count: found {count}, expected 1 or more images")
    if seed < 0:
        raise InputError(f"seed: found {seed}, expected 0 or more")
    if cell_type not in (*CLASSES, MIXED):
        raise InputError(f"cell-type: found {cell_type!r}, expected one of {', '.join((*CLASSES, MIXED))}")
    folder = out / "images"
    samples = []
    for number in progress(range(count)):
        own = cast(Literal["shsy5y", "astro", "cort"], CLASSES[number % len(CLASSES)] if cell_type == MIXED else cell_type)
        # A seed of its own for each image, so that images of neighbouring seeds are never the same.
        own_seed = int(np.random.SeedSequence([seed, number]).generate_state(1, np.uint64)[0])
        image, instances = render(SynthSettings(cell_type=own), own_seed)
        name = f"{own}_{seed}_{number:04d}"
        write_whole(folder / f"{name}.png", iio.imwrite("<bytes>", image, extension=".png"))
        samples.append(Sample(folder / f"{name}.png", instances, name, group=name, cell_type=own))
    write_coco(samples, out / "annotations.json")
    return samples
