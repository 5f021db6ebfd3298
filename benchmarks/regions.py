"""What reading and writing a very large image takes: a tiled TIFF region by region, and the files of a result.

Time, and memory of the process at its peak, of images with as many cells to the area; each in a process of its own.

    python benchmarks/regions.py
    python benchmarks/regions.py --sides 5000 10000 20000 --cells 200000
"""

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import tifffile

from somaseg.export.coco import coco_file
from somaseg.export.image_result import ImageResult
from somaseg.export.labels import label_file
from somaseg.export.overlay import overlay_file
from somaseg.images.levels import levels_of
from somaseg.images.normalize import apply
from somaseg.images.read import read_frames
from somaseg.instances import Instances

TILE, STEP = 640, 544  # of the network: tiles share 96 pixels


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sides", type=int, nargs="+", default=[5000, 10000, 20000], help="of square images, in pixels")
    parser.add_argument("--cells", type=int, default=200_000, help="of an image of 20,000 x 20,000 pixels")
    parser.add_argument("--what", nargs="+", choices=JOBS, default=list(JOBS), help="of it to measure")
    parser.add_argument("--only", choices=JOBS, help=argparse.SUPPRESS)
    parser.add_argument("--file", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.only:
        begin = time.process_time()  # of the processor: others may use the machine as well
        JOBS[args.only](args.file, args.sides[0], args.cells)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
        print(f"{time.process_time() - begin:.1f} s | {peak * 2**20 / 1e6:,.0f} MB", end="")
        return
    print("| side | what | time of a processor | memory at the peak |\n|---|---|---|---|")
    for side in args.sides:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "x.tif"
            write(path, side)
            for job in args.what:
                own = ["--only", job, "--file", str(path), "--sides", str(side), "--cells", str(args.cells)]
                done = subprocess.run([sys.executable, __file__, *own], capture_output=True, text=True, check=True)
                print(f"| {side:,} | {job} | {done.stdout} |", flush=True)


def write(path: Path, side: int) -> None:
    """A square 16-bit image of noise on a slope, in compressed tiles."""
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 200, (512, 512))

    def tiles() -> object:
        for top in range(0, side, 512):
            for left in range(0, side, 512):
                yield (20000 + top / 4 + left / 8 + noise).astype(np.uint16)

    tifffile.imwrite(path, tiles(), shape=(side, side), dtype=np.uint16, tile=(512, 512), compression="zlib", bigtiff=True)


def cells_of(side: int, count: int) -> Instances:
    """Discs on a grid, as many to the area as `count` in 20,000 x 20,000."""
    across = max(1, round(np.sqrt(count) * side / 20000))
    step = side / across
    y, x = np.mgrid[-16:17, -16:17]
    disc = x**2 + y**2 <= 256
    corners = [(int(step * (i + 0.5)), int(step * (j + 0.5))) for j in range(across) for i in range(across)]
    crops = [((x, y, x + 33, y + 33), disc) for x, y in corners if x + 33 <= side and y + 33 <= side]
    return Instances.build((side, side), crops, ("cell",), scores=np.linspace(1, 0.5, len(crops)))


def read(path: Path, side: int, count: int) -> None:
    """Every tile that the network would see, in its grey values."""
    (frame,) = read_frames(path)
    image = frame.picture
    levels = levels_of(image)
    for top in range(0, side, STEP):
        for left in range(0, side, STEP):
            apply(levels, np.asarray(image[top : top + TILE, left : left + TILE]))


def labels(path: Path, side: int, count: int) -> None:
    label_file(ImageResult(cells_of(side, count), None, "x.tif")).save(path.parent / "labels.tif")


def coco(path: Path, side: int, count: int) -> None:
    coco_file(ImageResult(cells_of(side, count), None, "x.tif")).save(path.parent / "x.json")


def picture(path: Path, side: int, count: int) -> None:
    (frame,) = read_frames(path)
    overlay_file(ImageResult(cells_of(side, count), frame.picture, "x.tif")).save(path.parent / "x.png")


def nothing(path: Path, side: int, count: int) -> None:
    """What the process and the cells take by themselves."""
    cells_of(side, count)


JOBS = {"cells alone": nothing, "read in tiles": read, "label TIFF": labels, "COCO JSON": coco, "overlay": picture}

if __name__ == "__main__":
    main()
