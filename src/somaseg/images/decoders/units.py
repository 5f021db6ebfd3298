"""Edges of pixels in µm, from the numbers and units that files give."""

import math
import re
from typing import Any

# Unit as it is spelt -> µm. Spellings with capitals that mean something else (MM is no unit, Mm a million metres) come first.
MICRONS = {
    "fm": 1e-9,
    "pm": 1e-6,
    "Å": 1e-4,
    "nm": 1e-3,
    "µm": 1.0,
    "mm": 1e3,
    "cm": 1e4,
    "dm": 1e5,
    "m": 1e6,
    "dam": 1e7,
    "hm": 1e8,
    "km": 1e9,
    "Mm": 1e12,
    "thou": 25.4,
    "in": 25.4e3,
    "ft": 304.8e3,
    "yd": 914.4e3,
    "pt": 25.4e3 / 72,
}
WORDS = {
    "femtometer": "fm",
    "picometer": "pm",
    "angstrom": "Å",
    "angstroem": "Å",
    "ångström": "Å",
    "ångstrom": "Å",
    "a": "Å",
    "nanometer": "nm",
    "micrometer": "µm",
    "micron": "µm",
    "um": "µm",
    "u": "µm",
    "µ": "µm",
    "millimeter": "mm",
    "centimeter": "cm",
    "decimeter": "dm",
    "meter": "m",
    "kilometer": "km",
    "mil": "thou",
    "inch": "in",
    "inche": "in",  # without the s of many
    '"': "in",
    "″": "in",
    "foot": "ft",
    "feet": "ft",
    "yard": "yd",
    "point": "pt",
}
NOT_SQUARE = 0.01  # edges that differ by more are told apart


def in_microns(value: Any, unit: str) -> float | None:
    """A length in µm; None where it is no positive number or the unit is none of length, such as "pixel"."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    scale = microns_of(unit)
    edge = number * scale if scale is not None else 0.0
    return edge if math.isfinite(edge) and edge > 0 else None


def microns_of(unit: str) -> float | None:
    """How many µm a unit is, in any common spelling; None for one that is unknown."""
    # ImageJ writes the micro sign as the six characters \u00B5; the Greek letter and the Ångström sign have two places in Unicode.
    text = re.sub(r"\\u00B5", "µ", unit.strip().rstrip("."), flags=re.IGNORECASE)
    text = re.sub(r"\\u00C5", "Å", text, flags=re.IGNORECASE).replace("μ", "µ").replace("\u212b", "Å").replace("Â", "")
    for spelt in (text, text.casefold().replace("μ", "µ")):
        if spelt in MICRONS:
            return MICRONS[spelt]
        if spelt == "å":
            return MICRONS["Å"]
        word = spelt.replace("metre", "meter")
        found = WORDS.get(word) or WORDS.get(word.removesuffix("s"))
        if found:
            return MICRONS[found]
    return None


def square(width: float | None, height: float | None) -> tuple[float | None, tuple[str, ...]]:
    """The one edge of pixels in µm, and a warning where they are not square, so that there is none.

    Args:
        width: of a pixel in µm; None where it is not known.
        height: of a pixel in µm; where it is not known, the width counts for both.
    """
    if width is None or height is None or abs(width - height) <= NOT_SQUARE * max(width, height):
        return width, ()
    return None, (f"pixels of {width:.6g} x {height:.6g} µm are not square: there are no areas in µm², and cells look squeezed",)
