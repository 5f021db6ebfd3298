"""What tiles found, joined: a cell on a seam or a corner comes out once, and whole."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

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
    """What all tiles found, in pixels of the image, best first.

    Attributes:
        found: all of it.
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


def join(predictions: Sequence[Prediction], tiles: Sequence[Tile], size: Size, zoom: float = 1.0) -> Prediction:
    """The prediction of an image from those of its tiles.

    Each tile keeps the cells whose centres lie in its core. One of them that an edge of the tile cuts off is replaced by what a
    neighbour saw of the same cell, where that is whole, and else put together with it. Of what two tiles kept of one cell, the one
    that is whole stays, else the one with the higher score.

    Args:
        predictions: one a tile, in pixels of the tile.
        tiles: where they lie.
        size: (height, width) of the image.
        zoom: how many times larger than at the weights' own scale the network was shown the tiles.
    """
    seen = _gathered(predictions, tiles, size, zoom)
    boxes, grids, whole = seen.found.boxes.copy(), seen.found.mask_probs.copy(), ~seen.cut
    partners = _partners(seen, tiles, zoom)
    for i in np.flatnonzero(seen.owned & seen.cut).tolist():
        pieces = _pieces(i, partners)
        complete = next((j for j in pieces if not seen.cut[j]), None)
        if complete is not None:
            boxes[i], grids[i], whole[i] = seen.found.boxes[complete], seen.found.mask_probs[complete], True
        elif len(pieces) > 1:
            boxes[i], grids[i] = _together(seen.found, pieces)
    kept = np.flatnonzero(seen.owned)
    joined = Prediction(size, boxes[kept], seen.found.scores[kept], seen.found.labels[kept], grids[kept], seen.found.classes)
    return joined[_once(joined, seen.tile[kept], whole[kept])]


def _gathered(predictions: Sequence[Prediction], tiles: Sequence[Tile], size: Size, zoom: float) -> _Seen:
    boxes = np.concatenate([p.boxes + np.array([*t.box[:2], *t.box[:2]], np.float32) for p, t in zip(predictions, tiles, strict=True)])
    number = np.repeat(np.arange(len(tiles)), [len(p) for p in predictions])
    scores, labels, grids = (np.concatenate([getattr(p, name) for p in predictions]) for name in ("scores", "labels", "mask_probs"))
    order = np.argsort(-scores, kind="stable")
    found = Prediction(size, boxes[order], scores[order], labels[order], grids[order], predictions[0].classes)
    number = number[order]
    edges, cores = (np.array([getattr(t, name) for t in tiles], np.float64)[number] for name in ("box", "core"))
    inner = edges != np.array([0, 0, size[1], size[0]])
    cut = np.asarray((inner & (np.abs(found.boxes - edges) <= NEAR / zoom)).any(axis=1))
    centre = (found.boxes[:, :2] + found.boxes[:, 2:]) / 2
    owned = np.asarray(((centre >= cores[:, :2] - MARGIN / zoom) & (centre < cores[:, 2:] + MARGIN / zoom)).all(axis=1))
    tight, crops, _ = to_pixels(found.boxes, found.mask_probs, np.full(len(found), PIXEL), size)
    return _Seen(found, number, cut, owned, tight, crops)


def _partners(seen: _Seen, tiles: Sequence[Tile], zoom: float) -> dict[int, list[int]]:
    """For each kept cell that may be cut off what other tiles saw of it: at most one a tile, the most alike first."""
    cut = seen.owned & seen.cut
    near = np.flatnonzero(_is_shared(seen, tiles, zoom))
    first, second = meeting_boxes(seen.boxes[near])
    first, second = near[first], near[second]
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


def _is_shared(seen: _Seen, tiles: Sequence[Tile], zoom: float) -> NDArray[np.bool_]:
    """Whether a cell reaches to where other tiles see it too: they reach into a core as far as its own tile reaches beyond it."""
    boxes, cores = (np.array([getattr(tile, name) for tile in tiles])[seen.tile] for name in ("box", "core"))
    alone = 2 * cores - boxes
    inner = cores != boxes
    before, behind = seen.boxes[:, :2] <= alone[:, :2] + NEAR / zoom, seen.boxes[:, 2:] >= alone[:, 2:] - NEAR / zoom
    return np.asarray((inner & np.concatenate([before, behind], axis=1)).any(axis=1))


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
