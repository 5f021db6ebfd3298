"""Draw `docs/demo.png`, the picture of the README, from what `make demo` leaves: `python docs/picture.py demo docs/demo.png`.

The middle of the overlay of each of the three synthetic cultures.
"""

import sys
from pathlib import Path

import numpy as np
from PIL import Image

from somaseg.export.overlay import COLOURS

SIDE = 480, 400  # width and height of each part, in pixels of the overlay, which shows the image enlarged twice
GAP = 8
GREYS = np.repeat(np.linspace(0, 255, 40)[:, None], 3, axis=1)
OUTLINES = np.concatenate([share * 255 * COLOURS + (1 - share) * 128 for share in (0.3, 0.5, 0.75, 1.0)])
PALETTE = np.concatenate([GREYS, OUTLINES]).round().astype(np.uint8)  # few colours make a small file


def main(demo: Path, out: Path) -> None:
    """Write the picture of the results in `demo`."""
    cultures = ("shsy5y_1_0000", "astro_1_0001", "cort_1_0002")
    width, height = SIDE
    picture = Image.new("RGB", (len(cultures) * (width + GAP) - GAP, height), "white")
    for column, name in enumerate(cultures):
        overlay = Image.open(demo / "result" / "overlays" / f"{name}_overlay.png").convert("RGB")
        x, y = (overlay.width - width) // 2, (overlay.height - height) // 2
        picture.paste(overlay.crop((x, y, x + width, y + height)), (column * (width + GAP), 0))
    pixels = np.asarray(picture, np.int64)
    nearest = np.stack([((pixels - colour.astype(np.int64)) ** 2).sum(axis=2) for colour in PALETTE]).argmin(axis=0)
    small = Image.fromarray(nearest.astype(np.uint8), "P")
    small.putpalette(PALETTE.tobytes())
    small.save(out, optimize=True)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
