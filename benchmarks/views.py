"""What several views of an image cost, next to one, and what they are good for.

    python benchmarks/views.py [--images DIR] [--count 3] [--weights default]
    python benchmarks/views.py --data ANNOTATIONS [--fold 0] [--count 12]

The first times `Segmenter.segment` (preparation, network, post-processing) with 1, 2, 4 and 8 flips and turns, in turns in one run; without
`--images` on synthetic cultures. The second scores views on images that the training of the weights held out, with the thresholds that
come with the weights, and sets two other ways to join four views beside ours: every view proposes; and every view detects for itself,
NMS joins the detections, and only the masks are averaged.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.progress import track

import somaseg
from full_set import FULL_SET_IMAGES
from somaseg.annotations.read import read_annotations
from somaseg.annotations.samples import Sample
from somaseg.checkpoints.checkpoint import load_checkpoint
from somaseg.checkpoints.names import weights_path
from somaseg.config import TtaSettings
from somaseg.data.splits import make_folds
from somaseg.evaluation.map_iou import summarise
from somaseg.evaluation.matching import match_counts, precision
from somaseg.images.read import find_images, read_image
from somaseg.inference.detect import detect
from somaseg.inference.detections import select
from somaseg.inference.ensemble import Ensemble
from somaseg.inference.segmenter import Segmenter
from somaseg.inference.views import View, make_views
from somaseg.instances import Prediction
from somaseg.postprocessing.steps import postprocess
from somaseg.runtimes.boxes import nms
from somaseg.runtimes.torch_detector import TorchDetector
from somaseg.synth.folder import write_cultures

VIEWS = {
    1: TtaSettings(),
    2: TtaSettings(flips=("none", "horizontal")),
    4: TtaSettings(flips=("none", "horizontal"), turns=(0, 180)),
    8: TtaSettings(flips=("none", "horizontal"), turns=(0, 90, 180, 270)),
}


def measure(segmenter: Segmenter, images: Sequence[NDArray[Any]], turns: int) -> dict[int, list[float]]:
    """Seconds of each number of views, one an image and turn."""
    seconds: dict[int, list[float]] = {number: [] for number in VIEWS}
    for turn in range(turns + 1):
        for image in images:
            for number, tta in VIEWS.items():
                segmenter.tta = tta
                begin = time.perf_counter()
                segmenter.segment(image)
                if turn:  # the first one warms up
                    seconds[number].append(time.perf_counter() - begin)
    return seconds


def joined_late(views: Sequence[View], image: NDArray[Any]) -> Prediction:
    """Detections of each view, joined by NMS, with the mean of the views' masks."""
    settings, both = views[0].settings, Ensemble(views)
    features = both.features([image])
    found = []
    for view, seen in zip(views, features.members, strict=True):
        ((boxes, probabilities),) = view.refine(seen, [view.propose(seen)[0][0]])
        found.append(select(boxes, probabilities, features.sizes[0], settings.detect))
    boxes, scores, labels = (np.concatenate([getattr(f, name) for f in found]) for name in ("boxes", "scores", "labels"))
    best = nms(boxes, scores, settings.detect.nms_iou)
    (masks,) = both.segment(features, [boxes[best]], [labels[best]])
    return Prediction(features.sizes[0], boxes[best], scores[best], labels[best], masks.astype(np.float16), settings.classes)


def score(weights: Path, samples: Sequence[Sample]) -> None:
    """Print `map_iou` of one, four and eight views, and of four views joined in other ways."""
    checkpoint = load_checkpoint(weights)
    network = TorchDetector(checkpoint.model, bf16=True)
    views = {number: make_views(network, checkpoint.config.model, tta) for number, tta in VIEWS.items()}
    ways: dict[str, Callable[[NDArray[Any]], Prediction]] = {
        "1 view": lambda image: detect(views[1][0], [image])[0],
        "4 views": lambda image: detect(Ensemble(views[4], proposers=1), [image])[0],
        "8 views": lambda image: detect(Ensemble(views[8], proposers=1), [image])[0],
        "4 views, each proposes": lambda image: detect(Ensemble(views[4]), [image])[0],
        "4 views, each detects": lambda image: joined_late(views[4], image),
    }
    rows: dict[str, list[NDArray[np.float64]]] = {name: [] for name in ways}
    for sample in track(samples, "scoring"):
        image = read_image(sample.image).array
        for name, predict in ways.items():
            cells = postprocess(predict(image), checkpoint.config.postprocess)
            rows[name].append(precision(*match_counts(cells, sample.instances)))
    for name, parts in rows.items():
        result = summarise(np.array(parts), [sample.type_name for sample in samples], FULL_SET_IMAGES)
        by_class = ", ".join(f"{cell_type} {part.value:.4f}" for cell_type, part in result.by_class.items())
        gain = np.mean(parts, axis=1) - np.mean(rows["1 view"], axis=1)
        better = f"better in {np.sum(gain > 0)}, worse in {np.sum(gain < 0)} of {len(gain)} images"
        assert result.weighted is not None
        print(f"{name}: map_iou {result.weighted.value:.4f} in full-set proportions ({by_class}); {better}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, help="folder of images to time; without it synthetic cultures")
    parser.add_argument("--data", type=Path, help="annotations with their images, to score instead")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--fold", type=int, default=0, help="the one that was held out")
    parser.add_argument("--count", type=int, default=3, help="images, spread over all")
    parser.add_argument("--turns", type=int, default=3, help="how often each image is timed")
    parser.add_argument("--weights", default="default", help="as for somaseg segment")
    given = parser.parse_args()
    if given.data is not None:
        samples = read_annotations(given.data)
        folds = make_folds(samples, given.folds, seed=0)
        held_out = sorted((s for s in samples if folds[s.name] == given.fold), key=lambda s: (s.cell_type or "", s.name))
        score(weights_path(given.weights), [held_out[int(i)] for i in np.linspace(0, len(held_out) - 1, min(given.count, len(held_out)))])
        return
    segmenter = somaseg.load(given.weights)
    with tempfile.TemporaryDirectory() as folder:
        if given.images is None:
            write_cultures(Path(folder), given.count, seed=0)
        paths = find_images([given.images or Path(folder)])
        images = [read_image(paths[int(i)]).array for i in np.linspace(0, len(paths) - 1, min(given.count, len(paths)))]
    print(f"{len(images)} images, {torch.get_num_threads()} threads, {segmenter.runtime['precision']}")
    seconds = measure(segmenter, images, given.turns)
    for number, times in seconds.items():
        ratios = [t / one for t, one in zip(times, seconds[1], strict=True)]
        print(f"{number} views: median {statistics.median(times):.2f} s, {statistics.median(ratios):.2f} times one view")


if __name__ == "__main__":
    main()
