"""Arguments and options that several commands share."""

from pathlib import Path
from typing import Annotated

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


Channel = Annotated[
    str | None,
    typer.Option(metavar="NUMBER|NAME|A+B", help="Channel that shows the cells, from 0 or by name; a + combines several."),
]


Depth = Annotated[
    str,
    typer.Option("--z", metavar="all|max|mean|NUMBER", help="Depths of a stack: each an image, projected, or one by its number from 0."),
]
Submission = Annotated[Path | None, typer.Option(help="Also write a Kaggle submission (CSV) here.")]


Overlay = Annotated[bool, typer.Option(help="Draw the pictures.")]


def formats(overlay: bool) -> tuple[str, ...]:
    """The files that each image gets, with or without its picture."""
    from somaseg.export.formats import DEFAULT

    return tuple(name for name in DEFAULT if overlay or name != "overlays")
