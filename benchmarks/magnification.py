"""Fields at other magnifications: whether they give the cells of the original, with a size given and with the estimate.

    python benchmarks/magnification.py --data ANNOTATIONS [--weights default] [--images 3] [--fold 0] [--as-it-is] [--only-estimated]
    python benchmarks/magnification.py --data ANNOTATIONS --estimates [--images 1000]
    python benchmarks/magnification.py --data LIVECELL --against truth

Held-out images of each cell type are enlarged x3 (cubic) and shrunk x1/2 (mean of four pixels) and segmented with a pixel size or a
cell diameter given, and with the automatic estimate; the masks are brought back to the original's size and compared with what the
original gives: F1 at IoU .5, mean over images. With --as-it-is also without any of these, which takes a x3 image as nine fields.
--estimates only looks at what is estimated of images as they are, and counts how many stay so. --against truth scores images as they are
against their annotations, with the estimate and without, for cells that the weights do not know.
"""

import argparse
import time
import warnings
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from rich.console import Console
from rich.table import Table

from somaseg.annotations.read import read_annotations
from somaseg.annotations.samples import Sample
from somaseg.config import MagnificationSettings
from somaseg.data.splits import make_folds
from somaseg.evaluation.matching import match_counts
from somaseg.images.read import read_image
from somaseg.inference.segmenter import Segmenter, load
from somaseg.instances import Instances
from somaseg.magnification.choose import predict_magnified
from somaseg.magnification.estimate import estimate
from somaseg.magnification.sizes import diameters
from somaseg.postprocessing.steps import postprocess

SIZES = {"x3": 3.0, "x1/2": 0.5}
OFF = MagnificationSettings(estimate="off")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--weights", default="default")
    parser.add_argument("--images", type=int, default=3, help="of each cell type")
    parser.add_argument("--fold", type=int, default=0, help="the fold that was held out; -1 takes all images")
    parser.add_argument("--as-it-is", action="store_true")
    parser.add_argument("--only-estimated", action="store_true")
    parser.add_argument("--estimates", action="store_true")
    parser.add_argument("--against", choices=["original", "truth"], default="original")
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    segmenter = load(given.weights)
    if given.estimates:
        estimates(segmenter, chosen(given.data, given.images, given.fold))
    elif given.against == "truth":
        against_truth(segmenter, read_annotations(given.data)[: given.images * 10])
    else:
        against_original(segmenter, chosen(given.data, given.images, given.fold), given.as_it_is, given.only_estimated)


def chosen(data: Path, count: int, fold: int) -> list[Sample]:
    """The first images of each cell type of a fold."""
    samples = read_annotations(data)
    folds = make_folds(samples, 5)
    by_type: dict[str, list[Sample]] = defaultdict(list)
    for sample in samples:
        if fold in (-1, folds[sample.name]):
            by_type[sample.type_name].append(sample)
    return [sample for own in by_type.values() for sample in own[:count]]


def against_original(segmenter: Segmenter, samples: list[Sample], as_it_is: bool, only_estimated: bool) -> None:
    known = segmenter.model_settings.trained_at.cell_diameter
    scores: dict[tuple[str, str, str], list[float]] = defaultdict(list)
    for sample in samples:
        image, name = read_image(sample.image).array, sample.type_name
        original = segmenter.segment(image)
        for size, factor in SIZES.items():
            asked = {
                "pixel size given": MagnificationSettings(pixel_size=1 / factor, weights_pixel_size=1),
                "diameter of the class given": MagnificationSettings(cell_diameter=known[name] * factor, cell_class=name),
                "diameter given": MagnificationSettings(cell_diameter=median(original) * factor),
                "estimated": MagnificationSettings(),
            } | ({"as it is": OFF} if as_it_is else {})
            seen = resized(image, factor)
            for how, settings in asked.items():
                if only_estimated and how != "estimated":
                    continue
                cells, zoom = segmented(segmenter, seen, settings)
                scores[size, how, name].append(f1(brought_back(cells, image.shape[:2]), original))
                if how == "estimated":
                    print(f"{sample.name} {name} {size}: estimated zoom {zoom:.2g}, F1 {scores[size, how, name][-1]:.3f}", flush=True)
    types = list(dict.fromkeys(sample.type_name for sample in samples))
    table = Table("", "", *types, "all", title=f"{segmenter.name}: F1 against the original, {len(samples)} images")
    for size, how in dict.fromkeys((size, how) for size, how, _ in scores):
        own = [scores[size, how, name] for name in types]
        table.add_row(size, how, *(f"{np.mean(values):.3f}" for values in own), f"{np.mean(np.concatenate(own)):.3f}")
    Console(width=120).print(table)


def estimates(segmenter: Segmenter, samples: list[Sample]) -> None:
    """What is estimated of images as they are, and in how many looks."""
    known = segmenter.model_settings.trained_at.cell_diameter
    stay, sure, looks, begin = defaultdict(list), defaultdict(list), [], time.process_time()
    for sample in samples:
        found = estimate(segmenter, read_image(sample.image).picture, known)
        stay[sample.type_name].append(found.zoom == 1)
        sure[sample.type_name].append(found.sure)
        looks.append(len(found.looks))
        if len(found.looks) > 1:
            seen = ", ".join(
                f"{one.zoom:.2g}: {one.cells} cells {one.ratio:.2f} {one.share:.2f} {one.one_class:.2f}" for one in found.looks
            )
            print(f"{sample.name} {sample.type_name}: zoom {found.zoom:.2g} {found.reason} ({seen})", flush=True)
    for name, own in stay.items():
        print(f"{name}: {sum(own)} of {len(own)} stay as they are, {sum(sure[name])} of them without a warning")
    print(f"{np.mean(looks):.3f} looks an image, {time.process_time() - begin:.0f} s of processor time")


def against_truth(segmenter: Segmenter, samples: list[Sample]) -> None:
    """F1 at IoU .5 against annotations, by image."""
    table = Table("image", "median diameter", "zoom", "F1 estimated", "F1 as it is", "F1 with the diameter given", title=segmenter.name)
    for sample in samples:
        image, size = read_image(sample.image).picture, median(sample.instances)
        scores = []
        for settings in (MagnificationSettings(), OFF, MagnificationSettings(cell_diameter=size)):
            cells, zoom = segmented(segmenter, image, settings)
            scores.append((f1(cells, sample.instances), zoom))
        row = [f"{score:.3f} ({zoom:.2g})" for score, zoom in scores]
        table.add_row(sample.name, f"{size:.1f}", f"{scores[0][1]:.2g}", *row)
    Console(width=140).print(table)


def segmented(segmenter: Segmenter, image: NDArray[Any], settings: MagnificationSettings) -> tuple[Instances, float]:
    """The cells of an image, and the zoom that it was shown at."""
    prediction, shown = predict_magnified(segmenter, image, settings, segmenter.model_settings.trained_at)
    return postprocess(prediction, segmenter.settings), shown.zoom


def resized(image: NDArray[Any], factor: float) -> NDArray[Any]:
    """An image at another size, as a camera or a person might make it."""
    height, width = (round(side * factor) for side in image.shape[:2])
    how = Image.Resampling.BICUBIC if factor > 1 else Image.Resampling.BOX
    return np.asarray(Image.fromarray(image).resize((width, height), how))


def brought_back(cells: Instances, size: tuple[int, int]) -> Instances:
    """Cells at the size of the original, by the nearest pixel."""
    rows, columns = (((np.arange(n) + 0.5) * m / n).astype(int) for n, m in zip(size, cells.size, strict=True))
    crops = []
    for mask, (x0, y0, x1, y1) in zip(cells.masks, cells.boxes.tolist(), strict=True):
        top, bottom, left, right = *np.searchsorted(rows, (y0, y1)), *np.searchsorted(columns, (x0, x1))
        crop = mask[np.ix_(rows[top:bottom] - y0, columns[left:right] - x0)]
        crops.append(((int(left), int(top), int(right), int(bottom)), crop))
    return Instances.build(size, crops, cells.classes, cells.labels, cells.scores)


def median(cells: Instances) -> float:
    """Median diameter of cells in pixels; that of a pixel without any."""
    return float(np.median(diameters(cells.area))) if len(cells) else 1.0


def f1(found: Instances, truth: Instances) -> float:
    """F1 of cells at IoU .5."""
    tp, fp, fn = (int(counts[0]) for counts in match_counts(found, truth, (0.5,)))
    return 2 * tp / max(2 * tp + fp + fn, 1)


if __name__ == "__main__":
    main()
