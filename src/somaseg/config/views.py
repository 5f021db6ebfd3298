"""Settings of test-time augmentation."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from somaseg.config.base import Settings


class TtaSettings(Settings):
    """The views in which the network sees an image: each flip with each turn at each size, equal ones once.

    Attributes:
        flips: mirror images to look at: "none" is the image as it is, "horizontal" swaps left and right, "vertical" top and bottom.
        turns: degrees counter-clockwise, after the flip.
        scales: sizes of the network's input over the size that comes with the weights.
        shortest_edges: if given, the sides in pixels that the shorter side becomes, in place of `scales`.
        longest_edge: with them, the longer side becomes no longer than this.
    """

    flips: tuple[Literal["none", "horizontal", "vertical"], ...] = Field(default=("none",), min_length=1)
    turns: tuple[Literal[0, 90, 180, 270], ...] = Field(default=(0,), min_length=1)
    scales: tuple[Annotated[float, Field(gt=0)], ...] = Field(default=(1.0,), min_length=1)
    shortest_edges: tuple[Annotated[int, Field(ge=1)], ...] = ()
    longest_edge: int | None = Field(default=None, ge=1)

    @model_validator(mode="after")
    def _one_way_to_size(self) -> Self:
        if self.shortest_edges and self.scales != (1.0,):
            raise ValueError("shortest_edges stand in place of scales: give one of them")
        if self.longest_edge is not None and not self.shortest_edges:
            raise ValueError("longest_edge limits what shortest_edges ask for: give shortest_edges too")
        return self
