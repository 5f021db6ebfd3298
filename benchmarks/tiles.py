"""Four fields as one image: whether tiles find what the fields give one by one, and what it costs.

    python benchmarks/tiles.py [--data ANNOTATIONS --cell-type shsy5y --fold 0] [--weights default] [--picture seam.png]

Four images of one size are stitched two by two. They are segmented one by one, as one image in tiles, and as one image at once, which
shares the budgets of one field among all four. Without --data the images are rendered. Cells are counted, and scored by F1 at IoU .5;
seconds are of the processor, pixels of the stitched image.
"""

import argparse
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from rich.console import Console
from rich.table import Table

from somaseg.annotations.read import read_annotations
from somaseg.annotations.samples import Sample
from somaseg.config import TileSettings
from somaseg.data.splits import make_folds
from somaseg.evaluation.matching import match_counts
from somaseg.export.overlay import outlines, stretched
from somaseg.images.levels import levels_of
from somaseg.images.normalize import to_grey
from somaseg.images.read import read_image
from somaseg.inference.segmenter import Segmenter, load
from somaseg.instances import Instances
from somaseg.postprocessing.steps import postprocess
from somaseg.synth.folder import write_cultures
from somaseg.tiling.predict import FIELD, Sight
from somaseg.tiling.tiles import tiles


def stitched(parts: list[Instances], size: tuple[int, int]) -> Instances:
    """The cells of four images as those of one, two by two."""
    height, width = size
    moved = []
    for number, cells in enumerate(parts):
        shift = np.tile([number % 2 * width, number // 2 * height], 2)
        moved.append(Instances((2 * height, 2 * width), cells.boxes + shift, cells.masks, cells.labels, cells.scores, cells.classes))
    return Instances.cat(moved)


def f1(found: Instances, truth: Instances) -> float:
    """F1 of cells at IoU .5."""
    tp, fp, fn = (int(counts[0]) for counts in match_counts(found, truth, (0.5,)))
    return 2 * tp / max(2 * tp + fp + fn, 1)


def four(given: argparse.Namespace, folder: Path) -> list[Sample]:
    """Four images of one size."""
    if given.data is None:
        return write_cultures(folder, 4, seed=3, cell_type=given.cell_type)
    samples = read_annotations(given.data)
    folds = make_folds(samples, 5)
    return [s for s in samples if folds[s.name] == given.fold and s.cell_type == given.cell_type][:4]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--cell-type", default="shsy5y")
    parser.add_argument("--fold", type=int, default=0)
    parser.add_argument("--weights", default="default")
    parser.add_argument("--picture", type=Path, help="draw a seam into this PNG")
    given = parser.parse_args()
    segmenter = load(given.weights)
    with tempfile.TemporaryDirectory() as name:
        samples = four(given, Path(name))
        images = [read_image(sample.image).array for sample in samples]
    size = samples[0].instances.size
    truth = stitched([sample.instances for sample in samples], size)
    image = np.block([[images[0], images[1]], [images[2], images[3]]])
    segmenter.segment(images[0])  # compiles kernels
    table = Table("", "cells", "F1", "s", "s a megapixel", title=f"{given.weights}, {given.cell_type}, four images as one of {image.shape}")

    def row(name: str, cells: Instances, begin: float) -> None:
        seconds = time.process_time() - begin
        table.add_row(name, str(len(cells)), f"{f1(cells, truth):.3f}", f"{seconds:.1f}", f"{seconds / image.size * 1e6:.2f}")

    begin = time.process_time()
    row("one by one", stitched([segmenter.segment(one) for one in images], size), begin)
    begin = time.process_time()
    row("in tiles", segmenter.segment(image), begin)
    segmenter.tiles = TileSettings(whole=10**6)
    begin = time.process_time()
    row("at once", segmenter.segment(image), begin)
    table.add_row("annotated", str(len(truth)), "", "", "")
    Console(width=120).print(table)
    if given.picture is not None:
        segmenter.tiles = TileSettings()
        seam_picture(segmenter, image).save(given.picture)


def seam_picture(segmenter: Segmenter, image: NDArray[np.uint8]) -> Image.Image:
    """Around the seam of the first two tiles: what the left one finds, what the right one finds, and the cells of the image."""
    left, right = tiles((image.shape[0], image.shape[1]), segmenter.tiles)[:2]
    x, y = left.core[2], (left.core[1] + left.core[3]) // 2
    part = (x - 110, y - 90, x + 110, y + 90)
    shape = (220 * 3, 180 * 3)
    levels = levels_of(image)
    grey = Image.fromarray(stretched(to_grey(image[part[1] : part[3], part[0] : part[2]]))).resize(shape, Image.Resampling.BICUBIC)
    panels = []
    for name, tile in (("the left tile", left), ("the right tile", right), ("joined", None)):
        if tile is None:
            cells = segmenter.segment(image)
        else:
            x0, y0, x1, y1 = tile.box
            found = segmenter.see(image[y0:y1, x0:x1], Sight(levels, fields=(x1 - x0) * (y1 - y0) / FIELD))
            moved = replace(found, size=image.shape, boxes=found.boxes + np.array([x0, y0, x0, y0], np.float32))
            cells = postprocess(moved, segmenter.settings)
        colours = np.tile([0.0, 0.9, 1.0, 1.0], (len(cells), 1))
        panel = grey.convert("RGBA")
        panel.alpha_composite(outlines(cells, colours, 2.0, shape, part))
        draw = ImageDraw.Draw(panel)
        for edge, colour in ((tile or left).box[2] if tile is not right else right.box[0], "#ff5fae"), (x, "#ffd400"):
            if tile is not None or edge == x:
                draw.line([(3 * (edge - part[0]), 0), (3 * (edge - part[0]), shape[1])], fill=colour, width=2)
        draw.text((12, 10), name, font=ImageFont.load_default(24), fill="white", stroke_width=3, stroke_fill="black")
        panels.append(panel.convert("RGB"))
    whole = Image.new("RGB", (3 * shape[0] + 20, shape[1]), "white")
    for number, panel in enumerate(panels):
        whole.paste(panel, (number * (shape[0] + 10), 0))
    return whole.resize((whole.width // 2, whole.height // 2), Image.Resampling.LANCZOS)


if __name__ == "__main__":
    main()
