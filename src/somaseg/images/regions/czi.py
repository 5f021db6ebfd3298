"""Regions of planes of Zeiss CZI files, through Zeiss's own library pylibCZIrw, which the extra `bioio` brings along."""

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from somaseg.images.limits import check_size
from somaseg.images.regions.lazy import Box, LazyImage

SAMPLES = ("S", "A")  # axes of the samples of a colour


def czi_image(path: Path, scene: int, place: Mapping[str, int], sizes: Mapping[str, int], dtype: Any) -> LazyImage | None:
    """A frame whose regions are read when they are asked for; the file is opened for each.

    Args:
        path: the file.
        scene: number of the scene.
        place: step along each axis that is no part of a frame.
        sizes: steps along all axes.
        dtype: of the numbers.

    Returns:
        The image; None where the library sees another one, or does not know an axis of the place: then it is read as a whole.
    """
    library = importlib.import_module("pylibCZIrw.czi")
    with library.open_czi(str(path)) as document:
        scenes = document.scenes_bounding_rectangle_no_pyramid
        around = scenes[sorted(scenes)[scene]] if scenes else document.total_bounding_rectangle_no_pyramid
        known = set(document.total_bounding_box_no_pyramid)
    if (around.w, around.h) != (sizes["X"], sizes["Y"]) or any(n and axis not in known for axis, n in place.items()):
        return None
    own = {axis: n for axis, n in place.items() if axis in known}
    samples = next((sizes[axis] for axis in SAMPLES if sizes.get(axis, 1) > 1), 1)
    size, channels = (sizes["Y"], sizes["X"]), sizes.get("C", 1)

    def read(box: Box, wanted: range) -> NDArray[Any]:
        x0, y0, x1, y1 = box
        which: dict[str, Any] = {"roi": (around.x + x0, around.y + y0, x1 - x0, y1 - y0)}
        if scenes:
            which["scene"] = sorted(scenes)[scene]
        with library.open_czi(str(path)) as opened:
            parts = [opened.read(plane={**own, **({"C": c} if "C" in known else {})}, **which) for c in wanted]
        found = np.concatenate(parts, axis=2).astype(dtype, copy=False)
        return found[..., 0] if found.shape[2] == 1 else found

    def check() -> None:
        check_size(path, size[1], size[0], np.dtype(dtype).itemsize * channels * samples)

    many = channels * samples
    image = LazyImage((*size, *([many] if many > 1 else [])), dtype, lambda box: read(box, range(channels)), check=check)
    if channels > 1 and samples == 1:
        image.split_by(lambda n: LazyImage(size, dtype, lambda box: read(box, range(n, n + 1)), check=check))
    return image
