"""From images to raw predictions: `detect` runs any Detector."""

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from somaseg.config import PostprocessSettings
from somaseg.images.levels import Levels
from somaseg.inference.detections import Detections, select
from somaseg.instances import Prediction
from somaseg.postprocessing.steps import survivors
from somaseg.runtimes import boxes as bx
from somaseg.runtimes.detector import Detector

MASK_SIDE = 28
LIKELY = 0.3  # score from which a detection is likely a cell


ANOTHER = 0.3  # box overlap below which two detections are likely two cells


FEW = 3  # cells that a single proposal out of order does not make


def detect(
    detector: Detector[NDArray[Any]],
    images: Sequence[NDArray[Any]],
    settings: PostprocessSettings | None = None,
    levels: Levels | None = None,
    fields: float = 1.0,
) -> list[Prediction]:
    """Run a detector on images (H, W) or (H, W, C) with pixels; see `Prediction` for what comes back.

    With `settings` masks are drawn only of what the steps before the first that needs masks leave, and of likely cells, which tell of
    the magnification; the others' probabilities are 0, which changes no cell that those steps give.

    Warns when an image reaches the cap on detections, or that on proposals while the last of them still find cells.

    Args:
        detector: the network, a view of it, or an ensemble.
        images: of one kind.
        settings: of the steps that make cells of them; None draws all masks.
        levels: of the image of which they are tiles; their own if None.
        fields: how many fields of view an image shows: as often the caps of the settings.
    """
    cfg, most = detector.settings.detect, round(detector.settings.rpn.post_nms * fields)
    cfg = cfg.model_copy(update={"max_detections": round(cfg.max_detections * fields)})
    sizes = [(image.shape[0], image.shape[1]) for image in images]
    features = detector.features(images, levels)
    proposals = [boxes for boxes, _ in detector.propose(features, fields)]
    found = [select(b, p, size, cfg) for (b, p), size in zip(detector.refine(features, proposals), sizes, strict=True)]
    bare = [
        Prediction(size, f.boxes, f.scores, f.labels, np.zeros((len(f.boxes), MASK_SIDE, MASK_SIDE), np.float16), detector.settings.classes)
        for f, size in zip(found, sizes, strict=True)
    ]
    drawn = [_drawn(one, settings) for one in bare]
    masks = detector.segment(
        features, [f.boxes[d] for f, d in zip(found, drawn, strict=True)], [f.labels[d] for f, d in zip(found, drawn, strict=True)]
    )
    for proposed, of_image, prediction, chosen, mask in zip(proposals, found, bare, drawn, masks, strict=True):
        prediction.mask_probs[chosen] = mask.astype(np.float16)
        if len(of_image.boxes) == cfg.max_detections:
            warnings.warn(
                f"detections reached their cap of {cfg.max_detections} (detect.max_detections): cells may be missing, "
                "raise it with --set, or see the image in smaller tiles (tiles.whole, tiles.side)",
                stacklevel=2,
            )
        if len(proposed) >= most and last_proposals_find_cells(of_image, len(proposed)):
            warnings.warn(
                f"proposals reached their cap of {most} (model.rpn.post_nms of the weights) and the last of them still found cells: "
                "some may be missing, see the image in smaller tiles (tiles.whole, tiles.side)",
                stacklevel=2,
            )
    return bare


def _drawn(found: Prediction, settings: PostprocessSettings | None) -> NDArray[np.int64]:
    """Which detections get a mask."""
    if settings is None:
        return np.arange(len(found))
    return np.union1d(survivors(found, settings), np.flatnonzero(found.scores > LIKELY))


def last_proposals_find_cells(found: Detections, proposals: int) -> bool:
    """Whether the last tenth of the proposals gave a tenth or more of the likely cells, and a few at least, that no earlier one gave.

    Where the number of proposals alone were asked, every image would warn: near-duplicates fill them up. If the last tenth is worth
    as much as any other, those that the cap cut off would have been worth something too.
    """
    likely = found.scores > LIKELY
    boxes, late = found.boxes[likely], found.origins[likely] >= 0.9 * proposals
    new = (bx.iou(boxes[~late], boxes[late]) < ANOTHER).all(axis=0)
    return int(new.sum()) >= max(FEW, len(boxes) / 10)
