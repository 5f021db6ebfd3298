"""Two cells of other classes that share a pixel, for tests of what is written."""

import numpy as np

from drawing import draw
from somaseg.instances import Instances

CLASSES = ("shsy5y", "astro", "cort")
TWO = np.stack(
    [
        draw("##... ##... ..... ....."),
        draw("..... .##.. .###. ....."),
    ]
)


def cells(overlapping: bool = True) -> Instances:
    """The two; the second without what it shares, if they shall not overlap."""
    dense = TWO.copy()
    if not overlapping:
        dense[1] &= ~dense[0]
    return Instances.from_masks(dense, CLASSES, labels=[2, 0], scores=[0.75, 0.5])
