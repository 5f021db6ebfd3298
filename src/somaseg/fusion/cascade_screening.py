"""Cascade IoU screening: fuse models one after the other, each confirming or correcting what is there already (docs/method.md).

Cells are indices from start to end. A mask is never looked up by its score, so cells with equal scores stay apart.
"""

import numpy as np
from numpy.typing import NDArray

from somaseg.fusion.pool import Pool
from somaseg.masks.pairs import Pairs, greedy, mask_pairs
from somaseg.postprocessing.candidates import Candidates

Chosen = NDArray[np.bool_]


def cascade_screening(pool: Pool, support_iou: float, nms_iou: float) -> Candidates:
    """Fuse the cells of models in the order of the models; the best single model comes first.

    The base is all cells of model 1. From each next model every base cell takes the one cell that overlaps it most, if their mask
    IoU is above `support_iou`; cells of that model which no base cell takes are dropped. Base and taken cells together go through
    mask NMS within each class, and what stays is the base for the next model. At the end comes mask NMS over all classes.

    The result depends on the order of the models: what model 1 misses no other can bring in, unless it overlaps a cell of the base.

    Args:
        pool: cells with masks.
        support_iou: least IoU, exclusive, of a cell with a base cell that takes it.
        nms_iou: of two masks with a larger IoU the one that comes later in the pool goes.

    Returns:
        What stays, in the order of the pool.
    """
    cells = pool.cells
    pairs = mask_pairs(cells.pasted.crops, cells.pasted.boxes, min(support_iou, nms_iou))
    supports = pairs[pairs.iou > support_iou]
    rivals = pairs[pairs.iou > nms_iou]
    rivals_of_class = rivals[cells.labels[rivals.first] == cells.labels[rivals.second]]
    base = pool.member == 0
    for number in range(1, pool.members):
        base = without_rivals(base | supporters(base, pool.member == number, supports), rivals_of_class)
    return cells[np.flatnonzero(without_rivals(base, rivals))]


def supporters(base: Chosen, others: Chosen, supports: Pairs) -> Chosen:
    """Of the cells in `others` those that some base cell overlaps more than any other of them, (N,) booleans.

    Of several with an equal IoU a base cell takes the first in the list.

    Args:
        base: which of the N cells are in the base.
        others: which are those of the next model; none is in the base.
        supports: pairs of any of the N cells that overlap enough.
    """
    forth, back = base[supports.first] & others[supports.second], others[supports.first] & base[supports.second]
    taker = np.concatenate([supports.first[forth], supports.second[back]])
    taken = np.concatenate([supports.second[forth], supports.first[back]])
    order = np.lexsort((taken, -np.concatenate([supports.iou[forth], supports.iou[back]]), taker))
    _, best = np.unique(taker[order], return_index=True)
    chosen = np.zeros(len(base), bool)
    chosen[taken[order][best]] = True
    return chosen


def without_rivals(chosen: Chosen, rivals: Pairs) -> Chosen:
    """The chosen cells that greedy suppression among them leaves, (N,) booleans."""
    stays = np.zeros(len(chosen), bool)
    stays[greedy(len(chosen), rivals[chosen[rivals.first] & chosen[rivals.second]])] = True
    return stays & chosen
