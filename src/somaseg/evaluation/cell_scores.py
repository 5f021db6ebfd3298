"""F1, PQ, AJI and counts: how many cells were found, and how well they are outlined; scores play no part.

A cell is found when a prediction has mask IoU strictly above .5 with it, one to one. Of the largest matchings the one with the greatest
sum of IoU counts, so that overlapping cells get their best partners. Predictions in ignored regions: see `matching`, at IoU .5.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from somaseg.evaluation.matching import Comparison, Record, comparison_counts

FOUND_IOU = 0.5


@dataclass(frozen=True)
class ImageCells:
    """The cells of one image, counted.

    Attributes:
        true: true cells.
        predicted: predicted cells; without those that lie in ignored regions and have no partner.
        found: true cells with a partner of IoU above .5.
        iou_sum: sum of the IoU of these pairs.
        aji: aggregated Jaccard index, in [0, 1].
    """

    true: int
    predicted: int
    found: int
    iou_sum: float
    aji: float

    @property
    def f1(self) -> float:
        """2 TP / (2 TP + FP + FN) at IoU .5; 1 where there is nothing and nothing was predicted."""
        return 2 * self.found / (self.true + self.predicted) if self.true + self.predicted else 1.0


class CellScores(Record):
    """The cells of a set of images.

    Attributes:
        images: number of images.
        true: true cells.
        predicted: predicted cells.
        ratio: predicted / true; None without true cells.
        f1: F1 at IoU .5 over the cells of all images together; the recognition quality (RQ) of PQ is the same number.
        sq: segmentation quality, the mean IoU of the found cells; None when none was found.
        pq: panoptic quality (Kirillov et al. 2019), RQ x SQ.
        aji: aggregated Jaccard index (Kumar et al. 2017), mean over images.
    """

    images: int
    true: int
    predicted: int
    ratio: float | None
    f1: float
    sq: float | None
    pq: float
    aji: float


def image_cells(comparison: Comparison) -> ImageCells:
    """Count the cells of one image."""
    pairs = matched_iou(comparison)
    return ImageCells(
        true=len(comparison.truth_area),
        predicted=len(pairs) + int(comparison_counts(comparison, (FOUND_IOU,))[1][0]),
        found=len(pairs),
        iou_sum=float(pairs.sum()),
        aji=aggregated_jaccard(comparison),
    )


def cell_scores(images: Sequence[ImageCells]) -> CellScores:
    """Scores of a set of images; F1 and PQ over all cells together, AJI as the mean over images."""
    total = ImageCells(
        true=sum(i.true for i in images),
        predicted=sum(i.predicted for i in images),
        found=sum(i.found for i in images),
        iou_sum=sum(i.iou_sum for i in images),
        aji=sum(i.aji for i in images) / len(images),
    )
    sq = total.iou_sum / total.found if total.found else None
    nothing = total.true + total.predicted == 0
    return CellScores(
        images=len(images),
        true=total.true,
        predicted=total.predicted,
        ratio=total.predicted / total.true if total.true else None,
        f1=total.f1,
        sq=sq,
        pq=1.0 if nothing else total.f1 * (sq or 0.0),
        aji=total.aji,
    )


def matched_iou(comparison: Comparison) -> NDArray[np.float64]:
    """IoU of the one-to-one pairs above .5: as many pairs as possible, of these the choice with the greatest sum."""
    found = comparison.iou > FOUND_IOU
    pred, truth, iou = comparison.pred[found], comparison.truth[found], comparison.iou[found]
    alone = (np.bincount(pred)[pred] == 1) & (np.bincount(truth)[truth] == 1)
    if alone.all():
        return iou
    _, row = np.unique(pred[~alone], return_inverse=True)
    _, column = np.unique(truth[~alone], return_inverse=True)
    table = np.zeros((row.max() + 1, column.max() + 1))
    table[row, column] = iou[~alone]
    # One pair more outweighs any gain in IoU, as the IoU of all pairs sums to no more than the smaller side of the table.
    contested = table[linear_sum_assignment((table > 0) * min(table.shape) + table, maximize=True)]
    return np.concatenate([iou[alone], contested[contested > 0]])


def aggregated_jaccard(comparison: Comparison) -> float:
    """AJI: each true cell takes the prediction of greatest IoU; shared pixels over joint pixels, unused predictions added below.

    Of several predictions with the same greatest IoU an unused one is taken, so that doubled cells find their doubles. Areas are
    summed cell by cell: pixels where cells overlap count once for each cell. Nothing and nothing gives 1. Predictions in ignored
    regions are taken by true cells of IoU above .5 alone, and not added below.
    """
    excused = comparison.excused(FOUND_IOU)
    iou = np.where(excused[comparison.pred] & (comparison.iou <= FOUND_IOU), 0, comparison.iou)
    greatest = np.zeros(len(comparison.truth_area))
    np.maximum.at(greatest, comparison.truth, iou)
    best = np.flatnonzero((iou == greatest[comparison.truth]) & (iou > 0))
    best = best[np.lexsort((comparison.pred[best], comparison.truth[best]))]
    candidates = zip(best.tolist(), comparison.truth[best].tolist(), comparison.pred[best].tolist(), strict=True)
    chosen: list[int] = []
    used: set[int] = set()
    for _, tied in groupby(candidates, key=itemgetter(1)):
        choices = list(tied)
        pair, _, pred = next((c for c in choices if c[2] not in used), choices[0])
        chosen.append(pair)
        used.add(pred)
    shared = int(comparison.shared[chosen].sum())
    taken_area = int(comparison.pred_area[comparison.pred[chosen]].sum())
    unused = ~excused
    unused[list(used)] = False
    unused_area = int(comparison.pred_area[unused].sum())
    joint = int(comparison.truth_area.sum()) + taken_area - shared + unused_area
    return shared / joint if joint else 1.0
