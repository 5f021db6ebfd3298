"""Masks drawn by hand in the tests: `draw` reads a picture made of `#` and `.`, one word a row."""

import numpy as np
from numpy.typing import NDArray


def draw(picture: str) -> NDArray[np.bool_]:
    return np.array([[pixel == "#" for pixel in row] for row in picture.split()])


RING = draw("""
    .......
    .#####.
    .#...#.
    .#.#.#.
    .#...#.
    .#####.
    .......
""")
