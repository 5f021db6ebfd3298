"""Settings of how the network sees an image: at which magnification, in which views."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from somaseg.config.base import Settings

Size = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class MagnificationSettings(Settings):
    """At which size the network is shown an image, so that cells are as large as those it knows; masks keep the size of the image.

    What is given counts in this order: `cell_diameter`, `pixel_size`, the pixel size in the file, and where none of them can be used,
    an estimate.

    Attributes:
        estimate: "auto" uses the pixel size in the file, or else estimates the size of the cells from the image; "off" shows the image
            as it is unless a size is given here.
        cell_diameter: median diameter of the cells in pixels of the image, that of the circle of the same area.
        cell_class: class of the cells that `cell_diameter` is that of, where the weights know several sizes.
        pixel_size: edge of a pixel of the image in µm, in place of what the file says.
        weights_pixel_size: edge of a pixel in µm at which the weights were trained, where their file does not tell it.
    """

    estimate: Literal["auto", "off"] = "auto"
    cell_diameter: Size | None = None
    cell_class: str | None = None
    pixel_size: Size | None = None
    weights_pixel_size: Size | None = None

    @model_validator(mode="after")
    def _one_size(self) -> Self:
        if self.cell_diameter is not None and self.pixel_size is not None:
            raise ValueError("cell_diameter and pixel_size both tell the magnification: give one of them")
        if self.cell_class is not None and self.cell_diameter is None:
            raise ValueError("cell_class says whose cell_diameter is meant: give cell_diameter too")
        return self


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
