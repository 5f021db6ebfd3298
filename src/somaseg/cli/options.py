"""Arguments and options that several commands share."""

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
    typer.Option(metavar="NUMBER|NAME", help="Channel that shows the cells, from 0 or by name; without it, images have 1 to 4 channels."),
]


Submission = Annotated[Path | None, typer.Option(help="Also write a Kaggle submission (CSV) here.")]


Overlay = Annotated[bool, typer.Option(help="Draw the pictures.")]


def formats(overlay: bool) -> tuple[str, ...]:
    """The files that each image gets, with or without its picture."""
    from somaseg.export.formats import DEFAULT

    return tuple(name for name in DEFAULT if overlay or name != "overlays")
