"""Time of measuring the cells of an image, beside scikit-image's `regionprops_table` on the full label image.

`regionprops_table` measures area, perimeter, Feret diameter, axes, orientation, eccentricity, solidity and intensities. somaseg
measures these, and least Feret diameter, form factor, background, neighbours and distances besides. Both on one core, in turn; the
numbers that both give are compared.

    python benchmarks/measure.py
"""

import argparse
import os
import statistics
import time

os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
from skimage.measure import regionprops_table

from somaseg.images.frame import Channels
from somaseg.instances import Instances
from somaseg.measure.cells import measure

PAIRS = {
    "perimeter": "perimeter",
    "feret_max": "feret_diameter_max",
    "axis_major": "axis_major_length",
    "axis_minor": "axis_minor_length",
    "eccentricity": "eccentricity",
    "solidity": "solidity",
    "intensity_mean": "intensity_mean",
    "intensity_min": "intensity_min",
    "intensity_max": "intensity_max",
    "intensity_std": "intensity_std",
}


def ellipses(count: int, size: tuple[int, int], seed: int = 0) -> np.ndarray:
    """A label image with about `count` ellipses that do not overlap, on a loose grid."""
    rng = np.random.default_rng(seed)
    labels = np.zeros(size, np.int32)
    columns = round((count * size[1] / size[0]) ** 0.5)
    rows = -(-count // columns)
    step = np.array([size[0] / rows, size[1] / columns])
    y, x = np.mgrid[: size[0], : size[1]]
    for i in range(count):
        middle = (np.array(divmod(i, columns)) + 0.5) * step + rng.normal(0, 1.5, 2)
        a, b = rng.uniform(0.25, 0.6, 2) * step.min()
        turn = rng.uniform(0, np.pi)
        u = (x - middle[1]) * np.cos(turn) + (y - middle[0]) * np.sin(turn)
        v = (y - middle[0]) * np.cos(turn) - (x - middle[1]) * np.sin(turn)
        labels[((u / a) ** 2 + (v / b) ** 2 < 1) & (labels == 0)] = i + 1
    return labels


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, default=800)
    parser.add_argument("--size", type=int, nargs=2, default=(520, 704), metavar=("H", "W"))
    parser.add_argument("--repeats", type=int, default=7)
    arguments = parser.parse_args()
    labels = ellipses(arguments.cells, tuple(arguments.size))
    image = np.random.default_rng(1).integers(0, 4096, labels.shape).astype(np.uint16)
    cells = Instances.from_label_image(labels, ("cell",))
    ours, theirs = [], []
    for _ in range(arguments.repeats):
        begin = time.process_time()
        table = regionprops_table(labels, image, properties=(*PAIRS.values(), "area", "orientation"))
        middle = time.process_time()
        found = measure(cells, Channels(image, ("0",))).cells
        ours.append(time.process_time() - middle)
        theirs.append(middle - begin)
    worst = max(float(np.abs(found[name] - table[their]).max()) for name, their in PAIRS.items())
    for name, seconds in (("regionprops_table", theirs), ("somaseg", ours)):
        print(f"{name:>18}: {statistics.median(seconds) * 1e3:8.1f} ms, least {min(seconds) * 1e3:8.1f} ms")
    print(f"{len(cells)} cells, ratio {statistics.median(theirs) / statistics.median(ours):.1f}, largest difference {worst:.1e}")


if __name__ == "__main__":
    main()
