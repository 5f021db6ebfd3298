"""The strip below a picture: classes and how many cells they have, a scale bar, and what the opacity of outlines says."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from somaseg.texts.tables import writable

HEIGHT, FONT_SIZE = 40, 16
WIDTH = 420  # of the narrowest strip
MARGIN, GAP, DOT = 12, 20, 12
BACKGROUND, TEXT = (20, 20, 24), (235, 235, 235)
LONGEST_NAME = 40  # characters
BAR = (40, 160)  # px of the shortest and the longest scale bar
GRADIENT = 60  # px
Colour = tuple[int, int, int]
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


@dataclass(frozen=True)
class Legend:
    """What a legend says.

    Attributes:
        classes: name, count and colour of each class that has cells; no colour where colours tell no classes apart.
        pixel_size: edge of a pixel of the picture in µm; None where it is not known.
        faint, full: colours of outlines at score 0 and at score 1.
        note: what else must be known.
    """

    classes: Sequence[tuple[str, int, Colour | None]]
    pixel_size: float | None
    faint: Colour
    full: Colour
    note: str = ""

    def below(self, picture: Image.Image) -> Image.Image:
        """The picture with this legend below; wider than the picture where the legend is."""
        strip = self._strip(picture.width)
        full = Image.new("RGB", (strip.width, picture.height + HEIGHT), BACKGROUND)
        full.paste(picture, (0, 0))
        full.paste(strip, (0, picture.height))
        return full

    def _strip(self, width: int) -> Image.Image:
        font = font_for_names(FONT_SIZE)
        texts = [f"{count} {shown_name(name)}" for name, count, _ in self.classes] or ["no cell"]
        texts += [self.note] if self.note else []
        lengths = [font.getlength(text) for text in texts]
        dots = [colour for _, _, colour in self.classes] + [None] * len(texts)
        left = MARGIN + sum(length + GAP + (DOT + 6 if dot else 0) for length, dot in zip(lengths, dots, strict=False))
        bar = scale_bar(self.pixel_size)
        right = MARGIN + (GRADIENT + 20 + font.getlength("score 0") + GAP if self.classes else 0)
        right += 0 if bar is None else bar[0] + 8 + font.getlength(bar[1]) + GAP
        strip = Image.new("RGB", (max(width, WIDTH, int(np.ceil(left + right))), HEIGHT), BACKGROUND)
        draw = ImageDraw.Draw(strip)
        middle, x = HEIGHT // 2, float(MARGIN)
        for text, length, dot in zip(texts, lengths, dots, strict=False):
            if dot is not None:
                draw.ellipse((x, middle - DOT // 2, x + DOT, middle + DOT // 2), fill=dot)
                x += DOT + 6
            draw.text((x, middle), text, font=font, fill=TEXT, anchor="lm")
            x += length + GAP
        at = float(strip.width - MARGIN)
        if self.classes:
            at = self._draw_scores(draw, font, at)
        if bar is not None:
            draw.text((at, middle), bar[1], font=font, fill=TEXT, anchor="rm")
            end = at - font.getlength(bar[1]) - 8
            draw.rectangle((end - bar[0], middle - 2, end - 1, middle + 1), fill=TEXT)
        return strip

    def _draw_scores(self, draw: ImageDraw.ImageDraw, font: Font, right: float) -> float:
        """The colours of outlines from score 0 to score 1; returns where what is left of it may end."""
        middle = HEIGHT // 2
        draw.text((right, middle), "1", font=font, fill=TEXT, anchor="rm")
        for step, colour in enumerate(np.linspace(self.faint, self.full, GRADIENT).round().astype(int).tolist()):
            draw.line((right - 80 + step, middle - 3, right - 80 + step, middle + 3), fill=tuple(colour))
        draw.text((right - 88, middle), "score 0", font=font, fill=TEXT, anchor="rm")
        return right - 88 - font.getlength("score 0") - GAP


@lru_cache
def font_for_names(size: int) -> Font:
    """A font with the letters of most languages, which comes with matplotlib; Pillow's own has those of English alone."""
    found = find_spec("matplotlib")
    file = Path((found and found.origin) or "").parent / "mpl-data/fonts/ttf/DejaVuSans.ttf"
    return ImageFont.truetype(file, size) if file.is_file() else ImageFont.load_default(size)


def shown_name(name: str) -> str:
    """A class as a picture can show it: one line of signs that can be seen, and not too many."""
    text = "".join(sign if sign.isprintable() else "\ufffd" for sign in writable(name))
    return text if len(text) <= LONGEST_NAME else text[: LONGEST_NAME - 3] + "..."


def scale_bar(pixel_size: float | None) -> tuple[int, str] | None:
    """Pixels and text of the longest bar of a round length (1, 2 or 5 and zeros) that fits; None where no size is known."""
    if pixel_size is None or not np.isfinite(pixel_size) or pixel_size <= 0:
        return None
    longest = BAR[1] * pixel_size
    power = 10.0 ** np.floor(np.log10(longest))
    length = next(power * digit for digit in (5, 2, 1) if power * digit <= longest * (1 + 1e-9))
    pixels = round(length / pixel_size)
    unit, factor = ("mm", 1000) if length >= 1000 else ("µm", 1) if length >= 0.1 else ("nm", 0.001)
    return pixels, f"{length / factor:g} {unit}"
