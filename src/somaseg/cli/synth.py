"""The command that renders cultures: synth."""

from pathlib import Path
from typing import Annotated

import typer

from somaseg.cli.app import app, console, say


@app.command()
def synth(
    out: Annotated[Path, typer.Option(help="Folder for images/*.png and annotations.json (COCO).")],
    count: Annotated[int, typer.Option(help="Number of images.")] = 6,
    seed: Annotated[int, typer.Option(help="The same seed gives the same images.")] = 0,
    cell_type: Annotated[str, typer.Option(help="shsy5y, astro, cort, or mixed for all of them in turn.")] = "mixed",
) -> None:
    """Render synthetic phase-contrast cultures with exact masks."""
    from rich.progress import track

    from somaseg.synth.folder import write_cultures

    samples = write_cultures(out, count, seed, cell_type, lambda numbers: track(numbers, "rendering", count, console=console))
    cells = sum(len(sample.instances) for sample in samples)
    say(f"wrote {len(samples)} images with {cells} cells and annotations.json to {out}")
