"""Memory of `somaseg segment` as images grow: an image goes through the network whole.

    python benchmarks/image_size.py

Renders one synthetic culture at each size and segments it, each in a process of its own, so that the peak of memory is its own.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import imageio.v3 as iio

from somaseg.synth.render import CLASSES, SynthSettings, render

HEIGHT, WIDTH = 520, 704


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--factors", type=int, nargs="+", default=[1, 2, 3, 4], help="sides over 704 x 520 pixels")
    parser.add_argument("--cell-type", choices=CLASSES, default="cort")
    given = parser.parse_args()
    print("| size | memory at the peak | detections | cells | warnings |\n|---|---|---|---|---|")
    for factor in given.factors:
        with tempfile.TemporaryDirectory() as name:
            print(row(Path(name), factor, given.cell_type), flush=True)


def row(folder: Path, factor: int, cell_type: str) -> str:
    image, _ = render(SynthSettings(cell_type=cell_type, size=(HEIGHT * factor, WIDTH * factor)), seed=1)
    iio.imwrite(folder / "image.png", image)
    command = [sys.executable, "-m", "somaseg", "segment", str(folder / "image.png"), "--out", str(folder / "out")]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, cwd=folder)
    _, status, usage = os.wait4(process.pid, 0)
    size = f"{WIDTH * factor} x {HEIGHT * factor}"
    if status:
        return f"| {size} | failed after {usage.ru_maxrss / 1024:.0f} MB | | | |"
    run = json.loads((folder / "out" / "run.json").read_text())
    (about,) = run["by_image"].values()
    warnings = sum(len(found) for found in run["warnings"].values())
    steps = about["steps"]
    return f"| {size} | {usage.ru_maxrss / 1024:.0f} MB | {steps['detections']} | {steps['cells']} | {warnings} |"


if __name__ == "__main__":
    main()
