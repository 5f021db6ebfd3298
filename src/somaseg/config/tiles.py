"""Settings of tiles."""

from typing import Self

from pydantic import Field, model_validator

from somaseg.config.base import Settings


class TileSettings(Settings):
    """How an image that is larger than a field of view is seen by the network: in tiles, each with budgets of its own.

    Pixels are those of an image that is shown at the weights' own scale (see `magnification`).

    Attributes:
        whole: an image no side of which is longer than this, in pixels, is seen whole.
        side: longest side of a tile in pixels.
        overlap: pixels that neighbouring tiles share at least; a cell narrower than half of it is seen whole by the tile that has its
            centre, a wider one is put together where neither sees it whole.
        step: tiles begin at multiples of this many pixels, so that the grids of the network lie alike in all of them: 64 pixels,
            enlarged 1.5 times, are three of the coarsest cells of the pyramid.
    """

    whole: int = Field(default=800, ge=1)
    side: int = Field(default=1104, ge=64)
    overlap: int = Field(default=80, ge=8)
    step: int = Field(default=64, ge=1)

    @model_validator(mode="after")
    def _tiles_are_wider_than_what_they_share(self) -> Self:
        if 2 * self.overlap > self.side:
            raise ValueError(f"overlap is {self.overlap}, side is {self.side}: give an overlap of at most half of the side")
        if self.step > self.side - self.overlap:
            raise ValueError(f"step is {self.step}, side less overlap {self.side - self.overlap}: give a step of no more than that")
        return self
