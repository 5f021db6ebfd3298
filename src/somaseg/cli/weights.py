"""The commands `somaseg weights ...`."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from somaseg.cli.app import console, note, say, wrote

weights_app = typer.Typer(no_args_is_help=True, help="Convert, show and verify weights.")


class Stored(StrEnum):
    """Number type of converted weights."""

    HALF = "half"
    FLOAT = "float"


@weights_app.command("convert")
def weights_convert(
    source: Annotated[Path, typer.Argument(help="Detectron2's .pth or .pkl, Caffe2's .pkl, or safetensors.", show_default=False)],
    out: Annotated[Path, typer.Argument(help="The .safetensors file to write; its settings go beside it as .yaml.", show_default=False)],
    architecture: Annotated[str, typer.Option(help="x152, or a YAML file of settings.")] = "x152",
    classes: Annotated[
        str | None, typer.Option(help="Classes of the model, such as shsy5y,astro,cort; else those of the settings.")
    ] = None,
    source_classes: Annotated[str | None, typer.Option(help="Classes of the file in its order, so that shared ones are kept.")] = None,
    precision: Annotated[Stored, typer.Option(help="Half stores convolutions in 16 bits.")] = Stored.HALF,
    seed: Annotated[int, typer.Option(help="Of what the file has nothing for.")] = 0,
    json: Annotated[Path | None, typer.Option(help="Write what became of every tensor to this JSON file.")] = None,
) -> None:
    """Read another program's weights, run nothing that they hide, and write somaseg's."""
    from somaseg.checkpoints.convert import convert

    named, source_named = (None if names is None else [n.strip() for n in names.split(",")] for names in (classes, source_classes))
    conversion = convert(source, out, architecture, named, source_named, precision.value, seed)
    console.print(conversion.table())
    for text in conversion.notes():
        note(text)
    if json is not None:
        conversion.write_json(json)
    wrote(out, out.with_suffix(".yaml"), *([json] if json else []))


@weights_app.command("export")
def weights_export(
    source: Annotated[str, typer.Argument(help="Weights that come with somaseg, by name, or a file.", show_default=False)],
    out: Annotated[Path, typer.Argument(help="The .safetensors file to write; may be the same.", show_default=False)],
    image: Annotated[Path | None, typer.Option(help="To try both runtimes on; else a drawn one.")] = None,
) -> None:
    """Write weights with graphs for onnxruntime, if it finds what torch finds; new weights have them already."""
    from somaseg.checkpoints.names import weights_path
    from somaseg.inference.export import export

    export(weights_path(source), out, image)
    wrote(out)


WEIGHTS = "Weights that come with somaseg, by name, or a file, or a folder of the members of an ensemble."


@weights_app.command("info")
def weights_info(weights: Annotated[str, typer.Argument(help=WEIGHTS)] = "default") -> None:
    """Show architecture, classes, input, thresholds, origin and hash of weights, a table for each file."""
    from somaseg.checkpoints.names import weights_files
    from somaseg.checkpoints.report import info

    for path in weights_files(weights):
        console.print(info(path), markup=False, highlight=False)


@weights_app.command("verify")
def weights_verify(
    weights: Annotated[str, typer.Argument(help=WEIGHTS)] = "default",
    sha256: Annotated[
        str | None, typer.Option(help="Expected hash of one file; else that in SHA256SUMS beside it, if it is there.")
    ] = None,
) -> None:
    """Load weights and check that they are finite, fit their settings and have the known hash; exit code 1 when not."""
    from somaseg.checkpoints.names import weights_files, weights_path
    from somaseg.checkpoints.report import verify

    broken = False
    for path in weights_files(weights) if sha256 is None else [weights_path(weights)]:
        digest, problems = verify(path, sha256)
        broken = broken or bool(problems)
        for problem in problems:
            say(problem, "red")
        verdict = "not as it should be" if problems else "whole"
        say(f"{path}: {verdict}, SHA-256 {digest}")
    raise typer.Exit(1 if broken else 0)
