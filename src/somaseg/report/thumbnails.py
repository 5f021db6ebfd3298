"""Pictures as text that a page holds: small ones of overlays, and those of plates as they are."""

import base64
import io
from pathlib import Path

from PIL import Image

SIDE, QUALITY = 256, 60  # px of the longer side, and WebP's quality
BROKEN = (OSError, ValueError, SyntaxError, Image.DecompressionBombError)  # what Pillow raises for a damaged file


def thumbnail(file: Path) -> str | None:
    """A picture reduced to `SIDE` as base64 of WebP; None where the file is no picture that can be read."""
    try:
        with Image.open(file) as picture:
            factor = max(1, min(max(picture.size) // (2 * SIDE), 16))
            small = picture.convert("RGB").reduce(factor)
    except BROKEN:
        return None
    small.thumbnail((SIDE, SIDE))
    data = io.BytesIO()
    small.save(data, format="WEBP", quality=QUALITY, method=2)
    return base64.b64encode(data.getvalue()).decode()


def whole_picture(file: Path) -> str | None:
    """A PNG as base64, unchanged; None where it cannot be read."""
    try:
        data = file.read_bytes()
        with Image.open(io.BytesIO(data), formats=["PNG"]) as picture:
            picture.verify()
    except BROKEN:
        return None
    return base64.b64encode(data).decode()
