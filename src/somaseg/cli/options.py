"""Arguments and options that several commands share."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal

import typer

Assignments = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Such as postprocess.overlaps=keep, which lets cells overlap.")
]


SettingsFile = Annotated[Path | None, typer.Option("--settings", help="YAML file; what it leaves out stays as it comes with the weights.")]


Out = Annotated[Path, typer.Option(help="Folder for masks, table and pictures.")]


Images = Annotated[list[str], typer.Argument(help="Images: files, folders (with all their subfolders) and globs.", show_default=False)]


Weights = Annotated[
    list[str],
    typer.Option(
        help="Weights that come with somaseg, by name, a file of `somaseg train`, or a folder of such files; several are an ensemble."
    ),
]


DEFAULT_WEIGHTS = ["default"]


Runtime = Annotated[
    Literal["auto", "torch", "onnx"],
    typer.Option(help="What computes: onnx is onnxruntime; auto takes torch where it is installed and faster."),
]


Precision = Annotated[
    Literal["auto", "float32", "bfloat16"],
    typer.Option(help="Numbers to compute in; auto takes bfloat16 in torch where the processor or GPU has it."),
]


Channel = Annotated[
    str | None,
    typer.Option(metavar="NUMBER|NAME|A+B", help="Channel that shows the cells, from 0 or by name; a + combines several."),
]


Ray = Annotated[
    str | None,
    typer.Option(metavar="local|ADDRESS", help="Spread images, and tiles of large ones, over processes with Ray (the extra `ray`)."),
]


PixelSize = Annotated[
    float | None,
    typer.Option("--pixel-size", metavar="UM", help="Edge of a pixel in µm, if the file does not tell it or is wrong."),
]


CellDiameter = Annotated[
    float | None,
    typer.Option("--cell-diameter", metavar="PX", help="Median diameter of the cells in pixels; they are shown as large as in training."),
]


class Estimate(StrEnum):
    """Whether the magnification is found out where no option tells it."""

    AUTO = "auto"
    OFF = "off"


Magnification = Annotated[
    Estimate | None,
    typer.Option("--magnification", help="auto: from the file, or estimated from the image; off: images are shown as they are."),
]


def magnified(pixel_size: float | None, cell_diameter: float | None, estimate: Estimate | None) -> list[str]:
    """What these options are as assignments; those that are not given are none."""
    given = {"pixel_size": pixel_size, "cell_diameter": cell_diameter, "estimate": None if estimate is None else f"'{estimate.value}'"}
    return [f"magnification.{name}={value}" for name, value in given.items() if value is not None]


Depth = Annotated[
    str,
    typer.Option("--z", metavar="all|max|mean|NUMBER", help="Depths of a stack: each an image, projected, or one by its number from 0."),
]
Submission = Annotated[Path | None, typer.Option(help="Also write a Kaggle submission (CSV) here.")]


Overlay = Annotated[bool, typer.Option(help="Draw the pictures.")]


Export = Annotated[
    list[str] | None,
    typer.Option("--export", metavar="FORMATS", help="Also write these, such as imagej,qupath; `somaseg export --help` lists them."),
]


def formats(overlay: bool, export: list[str] | None = None) -> tuple[str, ...]:
    """The files that each image gets, with or without its picture, and those of other programs."""
    from somaseg.export.formats import DEFAULT

    return tuple(dict.fromkeys([*(name for name in DEFAULT if overlay or name != "overlays"), *known_formats(export or [])]))


def known_formats(given: list[str]) -> list[str]:
    """Names of formats, with commas between them or one by one.

    Raises:
        InputError: when one is not known.
    """
    from somaseg.errors import InputError
    from somaseg.export.formats import FORMATS

    names = [name.strip() for text in given for name in text.split(",") if name.strip()]
    unknown = next((name for name in names if name not in FORMATS), None)
    if unknown is not None:
        raise InputError(f"format {unknown!r} is not known: there are {', '.join(FORMATS)}")
    return names
