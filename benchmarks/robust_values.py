"""How many images are standardised otherwise than by the plain mean and deviation of all their pixels.

python benchmarks/robust_values.py IMAGES...
"""

import argparse

import numpy as np
from rich.progress import track

from somaseg.images.normalize import CLIP, doubts, normalize, to_grey
from somaseg.images.read import find_images, read_frames


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", nargs="+", help="files, folders and globs")
    given = parser.parse_args()
    frames, changed, largest, doubtful = 0, 0, 0.0, 0
    for path in track(find_images(given.images), "comparing"):
        for frame in read_frames(path):
            grey = to_grey(frame.picture)
            centred = grey - np.float32(grey.mean(dtype=np.float64))
            deviation = float(centred.std(dtype=np.float64))
            plain = np.clip(centred / deviation, -CLIP, CLIP) if deviation > 0 else np.zeros_like(grey)
            difference = float(np.abs(normalize(frame.picture) - plain).max(initial=0))
            frames, changed, largest = frames + 1, changed + (difference > 0), max(largest, difference)
            doubtful += bool(doubts(frame.picture))
    print(f"{frames} images, {changed} with other values, by {largest:.3g} at most; {doubtful} with a warning")


if __name__ == "__main__":
    main()
