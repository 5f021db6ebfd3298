"""Weighted boxes: average the boxes and soft masks of detections that several models agree on (docs/method.md)."""

import numpy as np
from numpy.typing import NDArray

from somaseg.errors import InputError
from somaseg.fusion.pool import Pool
from somaseg.masks.pairs import box_pairs
from somaseg.postprocessing import soft_masks
from somaseg.postprocessing.candidates import Candidates
from somaseg.postprocessing.soft_masks import SoftMasks


def weighted_boxes(pool: Pool, box_iou: float) -> Candidates:
    """Average detections of different models whose boxes overlap (after Solovyev et al. 2021, with masks).

    Detections are clustered around the best of them, see `clusters`. A cluster's box is the mean of its boxes, weighted by score. Its
    soft mask is the mean, weighted likewise, of soft masks that were resampled into that box, with 0 outside of their own boxes. Its
    score is the sum of scores over the number of models, so that a cell which few models see scores low. Its label is that with the
    largest sum of scores.

    Args:
        pool: detections with soft masks, before they are pasted.
        box_iou: see `clusters`.

    Returns:
        One candidate a cluster, without pixels; detections whose box has no area are left out.

    Raises:
        InputError: when the pool has no soft masks.
    """
    if pool.cells.soft is None:
        raise InputError(
            "fusion: found cells without mask probabilities, method weighted averages these: fuse raw predictions, or choose another"
        )
    pool = _with_area(pool)
    cells = pool.cells
    leaders, inverse = np.unique(clusters(pool, box_iou), return_inverse=True)
    cluster, count = inverse.astype(np.int64), len(leaders)
    weight = np.maximum(cells.scores.astype(np.float64), 1e-9)  # a score of 0 must not leave a cluster without any weight
    share = weight / np.bincount(cluster, weight, count)[cluster]
    boxes: NDArray[np.float64] = np.stack([np.bincount(cluster, share * side, count) for side in cells.boxes.T.astype(np.float64)], axis=1)
    by_label = np.zeros((count, len(cells.classes)))
    np.add.at(by_label, (cluster, cells.labels), weight)
    fused = Candidates(
        size=cells.size,
        classes=cells.classes,
        boxes=boxes.astype(np.float32),
        labels=by_label.argmax(axis=1),
        scores=np.zeros(count, np.float32),
        soft=SoftMasks.of(_averaged(pool, cluster, share, boxes)),
        pixels=None,
        numbers=np.arange(count),
        zoom=cells.zoom,
    )
    return fused.ranked((np.bincount(cluster, cells.scores, count) / pool.members).astype(np.float32))


def clusters(pool: Pool, box_iou: float) -> NDArray[np.int64]:
    """The detection that leads the cluster of each detection (N,); a leader leads itself.

    In falling order of score, a detection joins, of the leaders before it with a box IoU above `box_iou` and without a detection of
    its own model in their clusters, the one with the largest IoU, of equal ones the first. Where there is none it leads.
    So a cluster holds at most one detection a model: neighbours that one model tells apart are never averaged.
    """
    pairs = box_pairs(pool.cells.boxes, box_iou)
    order = np.lexsort((pairs.first, -pairs.iou, pairs.second))
    leader, member = list(range(len(pool.cells))), pool.member.tolist()
    inside = [{number} for number in member]
    for first, second in zip(pairs.first[order].tolist(), pairs.second[order].tolist(), strict=True):
        if leader[first] == first and leader[second] == second and member[second] not in inside[first]:
            leader[second] = first
            inside[first].add(member[second])
    return np.array(leader, np.int64)


def _with_area(pool: Pool) -> Pool:
    """The pool without detections whose box has no area or no numbers: nothing could be resampled from them."""
    boxes = pool.cells.boxes
    sound = np.flatnonzero(np.isfinite(boxes).all(axis=1) & (boxes[:, 2:] > boxes[:, :2]).all(axis=1))
    return Pool(pool.cells[sound], pool.member[sound], pool.members)


def _averaged(pool: Pool, cluster: NDArray[np.int64], share: NDArray[np.float64], boxes: NDArray[np.float64]) -> NDArray[np.float16]:
    """Soft masks (K, S, S) of the clusters' boxes (K, 4), each the sum of its detections' resampled soft masks times their shares."""
    mask_probs = pool.cells.mask_probs
    assert mask_probs is not None
    side = mask_probs.shape[-1]
    total = np.zeros((len(boxes), side, side), np.float32)
    # In coordinates in which the fused box is S pixels wide and high, its grid is the pixels of one window.
    fused = boxes[cluster]
    corner = np.tile(fused[:, :2], 2)
    extent = np.tile(fused[:, 2:] - fused[:, :2], 2)
    own = (pool.cells.boxes - corner) * (side / extent)
    for number in range(pool.members):
        chosen = np.flatnonzero(pool.member == number)  # at most one a cluster, so that plain indexing adds each
        window = np.tile(np.array([0, 0, side, side]), (len(chosen), 1))
        for batch, soft in soft_masks.interpolate(own[chosen], mask_probs[chosen], window):
            at = chosen[batch]
            total[cluster[at]] += soft * share[at, None, None].astype(np.float32)
    return total.astype(np.float16)
