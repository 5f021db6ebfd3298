"""What speaks for a cell that several models found: how sure their masks are, and how well they agree."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from somaseg.classes import by_class
from somaseg.config import FuseSettings, PostprocessSettings
from somaseg.evaluation.matching import compare_cells
from somaseg.fusion.fuse import fuse_predictions
from somaseg.instances import Instances, Prediction
from somaseg.postprocessing.candidates import Candidates
from somaseg.postprocessing.steps import run_steps


@dataclass(frozen=True, eq=False)
class Evidence:
    """The fused cells of one image with what speaks for each.

    Attributes:
        cells: N cells, in falling order of score.
        mask_prob: (N,), mean mask probability over the pixels that the probabilities gave the mask; with fusion by "weighted" of the
            averaged soft mask, else of the mask that fusion kept.
        agreement: (N,), see `agreement`.
    """

    cells: Instances
    mask_prob: NDArray[np.float32]
    agreement: NDArray[np.float64]


def gather(predictions: Sequence[Prediction], fuse: FuseSettings, postprocess: PostprocessSettings) -> Evidence:
    """Fuse the predictions of one image, and compare each fused cell with the cells that each model has by itself.

    Args:
        predictions: one a model.
        fuse: how to fuse.
        postprocess: thresholds of the steps, for the fused cells and, with its own list of steps, for those of each model.

    Raises:
        InputError: see `fuse`.
    """
    fused, _ = fuse_predictions(predictions, fuse, postprocess)
    cells = fused.to_instances()
    own = [run_steps(Candidates.from_prediction(p), postprocess.steps, postprocess)[0].to_instances() for p in predictions]
    return Evidence(cells, fused.pasted.quality, agreement(cells, own))


def agreement(cells: Instances, members: Sequence[Instances]) -> NDArray[np.float64]:
    """Mean over models of the largest mask IoU of each cell with a cell of the model (N,); 0 counts where it meets none."""
    total = np.zeros(len(cells))
    for member in members:
        comparison = compare_cells(cells, member)
        best = np.zeros(len(cells))
        np.maximum.at(best, comparison.pred, comparison.iou)
        total += best
    return total / len(members)


def lowered(postprocess: PostprocessSettings, scores: Mapping[str, float], classes: Sequence[str]) -> PostprocessSettings:
    """The thresholds with no least score above `scores`, by class, so that what is not sure is there to be judged.

    Raises:
        InputError: when either names an unknown class.
    """
    own = by_class(postprocess.score_thresh, classes, "postprocess.score_thresh")
    low = np.minimum(own, by_class(scores, classes, "pseudo.ignore_score")).tolist()
    return postprocess.model_copy(update={"score_thresh": {"default": min(low), **dict(zip(classes, low, strict=True))}})
