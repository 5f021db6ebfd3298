"""What tiles found, joined: a cell on a seam or a corner comes out once, and whole."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from somaseg.instances import Prediction
from somaseg.masks.crops import Boxes, Mask, Size
from somaseg.masks.pairs import greedy, mask_pairs, meeting_boxes, shared_pixels
from somaseg.postprocessing.soft_masks import interpolate, to_pixels
from somaseg.tiling.tiles import Tile

NEAR = 2.0  # px at the weights' scale from an inner edge of its tile up to which a box may be cut off there
MARGIN = 8  # such px beyond its core in which a tile keeps cells too: another tile may see a cell's centre a little elsewhere
SAME = 0.5  # IoU above which what two tiles see is one cell; of their masks where both can see them
PIXEL = 0.5  # probability from which a pixel belongs to a mask when masks are compared


@dataclass(frozen=True, eq=False)
class _Seen:
    """Cells near seams, where several tiles see them, in pixels of the image, best first.

    Attributes:
        found: all of them.
        tile: number of the tile that found each (N,).
        cut: whether it may be cut off by an edge of its tile (N,).
        owned: whether its centre lies in the core of its tile, or a little beyond (N,).
        boxes: tight around the masks, int32 (N, 4).
        crops: N masks at `PIXEL`.
    """

    found: Prediction
    tile: NDArray[np.int64]
    cut: NDArray[np.bool_]
    owned: NDArray[np.bool_]
    boxes: Boxes
    crops: list[Mask]


class _Near(NamedTuple):
    """What a tile found near seams, see `_Seen`."""

    found: Prediction
    tile: NDArray[np.int64]
    cut: NDArray[np.bool_]
    owned: NDArray[np.bool_]


def join(predictions: Iterable[Prediction], tiles: Sequence[Tile], size: Size, zoom: float = 1.0) -> Prediction:
    """The prediction of an image from those of its tiles, in the order of the tiles; those near seams come last.

    Each tile keeps the cells whose centres lie in its core. One of them that an edge of the tile cuts off is replaced by what a
    neighbour saw of the same cell, where that is whole, and else put together with it. Of what two tiles kept of one cell, the one
    that is whole stays, else the one with the higher score.

    Args:
        predictions: one a tile, in pixels of the tile; each is asked for when the one before it was gone through.
        tiles: where they lie.
        size: (height, width) of the image.
        zoom: how many times larger than at the weights' own scale the network was shown the tiles.
    """
    alone: list[Prediction] = []
    near: list[_Near] = []
    for number, (tile, prediction) in enumerate(zip(tiles, predictions, strict=True)):
        moved = replace(prediction, size=size, boxes=prediction.boxes + np.array([*tile.box[:2]] * 2, np.float32))
        owned, shared = _owned(moved.boxes, tile, MARGIN / zoom), _shared(moved.boxes, tile, NEAR / zoom)
        alone.append(moved[owned & ~shared])
        there = moved[shared]
        near.append(_Near(there, np.full(len(there), number), _cut(there.boxes, tile, size, NEAR / zoom), owned[shared]))
    alone.append(_joined(near, tiles))
    near.clear()
    return _concatenated(alone)


def _joined(near: Sequence[_Near], tiles: Sequence[Tile]) -> Prediction:
    """What stays of what tiles found near seams."""
    found = _concatenated([part.found for part in near])
    order = np.argsort(-found.scores, kind="stable")
    found = found[order]
    tile, cut, owned = (np.concatenate(column)[order] for column in list(zip(*near, strict=True))[1:])
    tight, crops, _ = to_pixels(found.boxes, found.mask_probs, np.full(len(found), PIXEL), found.size)
    seen = _Seen(found, tile, cut, owned, tight, crops)
    boxes, grids, whole = found.boxes.copy(), found.mask_probs.copy(), ~cut
    partners = _partners(seen, tiles)
    for i in np.flatnonzero(owned & cut).tolist():
        pieces = _pieces(i, partners)
        complete = next((j for j in pieces if not cut[j]), None)
        if complete is not None:
            boxes[i], grids[i], whole[i] = found.boxes[complete], found.mask_probs[complete], True
        elif len(pieces) > 1:
            boxes[i], grids[i] = _together(found, pieces)
    kept = np.flatnonzero(owned)
    joined = replace(found, boxes=boxes, mask_probs=grids)[kept]
    return joined[_once(joined, tile[kept], whole[kept])]


def _concatenated(parts: list[Prediction]) -> Prediction:
    """All of them as one; the list is emptied on the way, so that no mask is held twice."""
    first = parts[0]
    boxes, scores, labels = (np.concatenate([getattr(part, name) for part in parts]) for name in ("boxes", "scores", "labels"))
    grids = np.empty((len(boxes), *first.mask_probs.shape[1:]), first.mask_probs.dtype)
    begin = 0
    for number in range(len(parts)):
        part, parts[number] = parts[number], first[:0]
        grids[begin : begin + len(part)] = part.mask_probs
        begin += len(part)
    return replace(first, boxes=boxes, scores=scores, labels=labels, mask_probs=grids)


def _owned(boxes: NDArray[np.float32], tile: Tile, margin: float) -> NDArray[np.bool_]:
    """Whether the centres of boxes lie in the core of the tile, or a little beyond."""
    centre, core = (boxes[:, :2] + boxes[:, 2:]) / 2, np.array(tile.core, np.float32)
    return np.asarray(((centre >= core[:2] - margin) & (centre < core[2:] + margin)).all(axis=1))


def _cut(boxes: NDArray[np.float32], tile: Tile, size: Size, near: float) -> NDArray[np.bool_]:
    """Whether an edge of the tile inside the image may cut off what is in the boxes."""
    edges = np.array(tile.box)
    inner = edges != np.array([0, 0, size[1], size[0]])
    return np.asarray((inner & (np.abs(boxes - edges) <= near)).any(axis=1))


def _shared(boxes: NDArray[np.float32], tile: Tile, near: float) -> NDArray[np.bool_]:
    """Whether boxes reach to where other tiles see too: they reach into a core as far as its own tile reaches beyond it."""
    box, core = np.array(tile.box), np.array(tile.core)
    alone, inner = 2 * core - box, core != box
    before, behind = boxes[:, :2] <= alone[:2] + near, boxes[:, 2:] >= alone[2:] - near
    return np.asarray((inner & np.concatenate([before, behind], axis=1)).any(axis=1))


def _partners(seen: _Seen, tiles: Sequence[Tile]) -> dict[int, list[int]]:
    """For each kept cell that may be cut off what other tiles saw of it: at most one a tile, the most alike first."""
    cut = seen.owned & seen.cut
    first, second = meeting_boxes(seen.boxes)
    across = (seen.tile[first] != seen.tile[second]) & (cut[first] | cut[second])
    first, second = first[across], second[across]
    alike = [_shared_iou(seen, tiles, a, b) for a, b in zip(first.tolist(), second.tolist(), strict=True)]
    best: dict[int, dict[int, tuple[float, int]]] = {}
    for iou, a, b in zip(alike, first.tolist(), second.tolist(), strict=True):
        for one, other in ((a, b), (b, a)):
            of_tile = best.setdefault(one, {})
            if cut[one] and iou > SAME and iou > of_tile.get(int(seen.tile[other]), (0.0, 0))[0]:
                of_tile[int(seen.tile[other])] = (iou, other)
    return {one: [other for _, other in sorted(of_tile.values(), reverse=True)] for one, of_tile in best.items()}


def _pieces(one: int, partners: Mapping[int, Sequence[int]]) -> list[int]:
    """A cell, what other tiles saw of it, and what others again saw of that; the most alike first."""
    pieces = [one]
    for piece in pieces:
        pieces += [other for other in partners.get(piece, ()) if other not in pieces]
    return pieces


def _shared_iou(seen: _Seen, tiles: Sequence[Tile], a: int, b: int) -> float:
    """IoU of two masks in the part of the image that both tiles see."""
    one, other = (np.array(tiles[seen.tile[i]].box) for i in (a, b))
    x0, y0 = np.maximum(one[:2], other[:2])
    x1, y1 = np.minimum(one[2:], other[2:])
    part = (int(x0), int(y0), int(x1), int(y1))
    crops = [_inside(seen.crops[i], seen.boxes[i], part) for i in (a, b)]
    areas = [int(np.count_nonzero(crop)) for _, crop in crops]
    if not all(areas):
        return 0.0
    boxes = np.array([box for box, _ in crops], np.int32)
    shared = int(shared_pixels([crop for _, crop in crops], boxes, np.array([0]), np.array([1]))[0]) if _meet(boxes) else 0
    return shared / (sum(areas) - shared)


def _inside(crop: Mask, box: NDArray[np.int32], part: tuple[int, int, int, int]) -> tuple[tuple[int, int, int, int], Mask]:
    """The part of a mask that lies in a box."""
    x0, y0 = max(int(box[0]), part[0]), max(int(box[1]), part[1])
    x1, y1 = max(x0, min(int(box[2]), part[2])), max(y0, min(int(box[3]), part[3]))
    return (x0, y0, x1, y1), crop[y0 - int(box[1]) : y1 - int(box[1]), x0 - int(box[0]) : x1 - int(box[0])]


def _meet(boxes: NDArray[np.int32]) -> bool:
    return bool((np.maximum(boxes[0, :2], boxes[1, :2]) < np.minimum(boxes[0, 2:], boxes[1, 2:])).all())


def _together(found: Prediction, members: Sequence[int]) -> tuple[NDArray[np.float32], NDArray[np.float16]]:
    """The box around what several tiles saw of a cell, and on its grid the largest probability that any of them gives."""
    boxes, grids = found.boxes[list(members)], found.mask_probs[list(members)]
    around = np.concatenate([boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)])
    side = grids.shape[-1]
    # The grid of the box around is taken for an image, in which the others have boxes and windows of its size.
    scale = side / np.tile(around[2:] - around[:2], 2)
    inside = (boxes - np.tile(around[:2], 2)) * scale
    best = np.zeros((side, side), np.float32)
    for _, soft in interpolate(inside.astype(np.float32), grids, np.tile([0, 0, side, side], (len(boxes), 1))):
        best = np.maximum(best, soft[:, :side, :side].max(axis=0))
    return around.astype(np.float32), best.astype(np.float16)


def _once(joined: Prediction, tile: NDArray[np.int64], whole: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Which cells stay when two tiles kept the same one: whole ones before others, then by score; in the order they have."""
    order = np.lexsort((np.arange(len(joined)), ~whole))
    boxes, crops, _ = to_pixels(joined.boxes[order], joined.mask_probs[order], np.full(len(joined), PIXEL), joined.size)
    rivals = mask_pairs(crops, boxes, SAME)
    across = tile[order][rivals.first] != tile[order][rivals.second]
    return np.sort(order[greedy(len(joined), rivals[across])])
