"""Figures by matplotlib, imported when one is drawn, and colours without it."""

from importlib.util import find_spec
from typing import TYPE_CHECKING

from somaseg.errors import MissingExtraError

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def can_draw() -> bool:
    """Whether matplotlib is installed."""
    return find_spec("matplotlib") is not None


def new_figure(width: float, height: float) -> "Figure":
    """An empty figure, sides in inches.

    Raises:
        MissingExtraError: when the extra `plots` is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise MissingExtraError("matplotlib", "plots") from None
    return Figure(figsize=(width, height), layout="constrained")


def rgba(colour: str, opacity: float = 1.0) -> tuple[float, float, float, float]:
    """A colour "#rrggbb" as red, green, blue and opacity, 0 to 1."""
    red, green, blue = bytes.fromhex(colour.removeprefix("#"))
    return red / 255, green / 255, blue / 255, opacity
