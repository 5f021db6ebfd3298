"""Boxes as tensors: coding, clipping, matching, sampling. All boxes are float32 (N, 4), x0 y0 x1 y1."""

import math
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor

MAX_LOG = math.log(1000.0 / 16)  # no box grows more than 62.5-fold; keeps exp() finite (Detectron2)


def nms(boxes: Tensor, scores: Tensor, limit: float) -> Tensor:
    """Which boxes stay, int64 (M,), best first: those that overlap no better one by an IoU above `limit`."""
    _load_operators()
    kept: Tensor = torch.ops.torchvision.nms(boxes, scores, limit)
    return kept


def batched_nms(boxes: Tensor, scores: Tensor, groups: Tensor, limit: float) -> Tensor:
    """The same among the boxes of each group (N,); best first over all."""
    kept = torch.zeros_like(scores, dtype=torch.bool)
    for group in groups.unique():
        own = torch.nonzero(groups == group)[:, 0]
        kept[own[nms(boxes[own], scores[own], limit)]] = True
    chosen = torch.nonzero(kept)[:, 0]
    return chosen[scores[chosen].sort(descending=True)[1]]


@cache
def _load_operators() -> None:
    """Load torchvision's compiled operators; importing torchvision would bring its models and torch's compiler, which takes seconds."""
    if hasattr(torch.ops.torchvision, "nms"):
        return
    found = find_spec("torchvision")
    library = next(Path(place).glob("_C*.*") for place in found.submodule_search_locations or ()) if found else None
    file = None if library is None else next((f for f in library if f.suffix in (".so", ".pyd", ".dylib")), None)
    if file is None:
        import torchvision  # noqa: F401  another layout: it knows where its operators are
    else:
        torch.ops.load_library(file)


def encode(boxes: Tensor, targets: Tensor, weights: tuple[float, ...]) -> Tensor:
    """Deltas (N, 4) that `decode` turns into `targets` (R-CNN, Girshick et al. 2014); sides must be positive."""
    sides, goal_sides = boxes[:, 2:] - boxes[:, :2], targets[:, 2:] - targets[:, :2]
    centres, goal_centres = boxes[:, :2] + 0.5 * sides, targets[:, :2] + 0.5 * goal_sides
    deltas = torch.cat([(goal_centres - centres) / sides, torch.log(goal_sides / sides)], dim=1)
    return deltas * deltas.new_tensor(weights)


def decode(boxes: Tensor, deltas: Tensor, weights: tuple[float, ...]) -> Tensor:
    """Boxes (N, 4) moved by deltas (N, 4); computed in float32 whatever the deltas' type."""
    boxes, deltas = boxes.float(), deltas.float() / boxes.new_tensor(weights, dtype=torch.float32)
    sides = boxes[:, 2:] - boxes[:, :2]
    centres = boxes[:, :2] + 0.5 * sides + deltas[:, :2] * sides
    half = 0.5 * torch.exp(deltas[:, 2:].clamp(max=MAX_LOG)) * sides
    return torch.cat([centres - half, centres + half], dim=1)


def clip(boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """Boxes cut at an image of `size` (height, width)."""
    height, width = size
    return torch.stack(
        [boxes[:, 0].clamp(0, width), boxes[:, 1].clamp(0, height), boxes[:, 2].clamp(0, width), boxes[:, 3].clamp(0, height)], dim=1
    )


def nonempty(boxes: Tensor) -> Tensor:
    """True for boxes with positive sides (N,)."""
    return (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])


def shared_area(left: Tensor, right: Tensor) -> Tensor:
    """Area (N, M) that every pair shares."""
    low = torch.maximum(left[:, None, :2], right[None, :, :2])
    sides = torch.minimum(left[:, None, 2:], right[None, :, 2:]).sub_(low).clamp_(min=0)
    return sides[..., 0] * sides[..., 1]


def iou(left: Tensor, right: Tensor) -> Tensor:
    """IoU (N, M) of every pair; 0 where both are empty."""
    shared = shared_area(left, right)
    area = (left[:, 2] - left[:, 0]) * (left[:, 3] - left[:, 1])
    other = (right[:, 2] - right[:, 0]) * (right[:, 3] - right[:, 1])
    return shared.div_((area[:, None] + other[None]).sub_(shared).clamp_(min=1e-9))


def paired_iou(left: Tensor, right: Tensor) -> Tensor:
    """IoU (N,) of each box with the one in the same row; 0 where both are empty."""
    sides = (torch.minimum(left[:, 2:], right[:, 2:]) - torch.maximum(left[:, :2], right[:, :2])).clamp(min=0)
    shared = sides.prod(dim=1)
    both = (left[:, 2:] - left[:, :2]).prod(dim=1) + (right[:, 2:] - right[:, :2]).prod(dim=1)
    return shared / (both - shared).clamp(min=1e-9)


def match(overlap: Tensor, positive: float, negative: float, keep_best: bool) -> tuple[Tensor, Tensor]:
    """Give every box the cell it overlaps most.

    Args:
        overlap: IoU (G, N) of cells and boxes.
        positive: a box is a cell from this IoU on.
        negative: a box is background below this IoU; between the two it counts for nothing.
        keep_best: also take the boxes that overlap a cell as well as any other does ("low-quality matches").

    Returns:
        The best cell of every box, int64 (N,), 0 where there is no cell; and 1 cell, 0 background, -1 neither (N,).
    """
    if not len(overlap):
        nothing = torch.zeros(overlap.shape[1], dtype=torch.int64, device=overlap.device)
        return nothing, nothing.clone()
    best, cell = overlap.max(dim=0)
    kind = torch.full_like(cell, -1)
    kind[best < negative] = 0
    kind[best >= positive] = 1
    if keep_best:
        best_of_cell = overlap.max(dim=1, keepdim=True).values
        kind[((overlap == best_of_cell) & (best_of_cell > 0)).any(dim=0)] = 1
    return cell, kind


def without_ignored(kind: Tensor, boxes: Tensor, ignored: Tensor) -> Tensor:
    """The kinds (N,) of `match`, but -1 for background of which an ignored region (M, 4) holds half or more; boxes have positive sides."""
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    held = (shared_area(ignored, boxes) >= 0.5 * area).any(dim=0)
    return torch.where(held & (kind == 0), -1, kind)


def sample(kind: Tensor, count: int, positive_share: float, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
    """Draw at most `count` boxes, at most `positive_share` of them cells; returns both as indices."""
    positive, negative = torch.nonzero(kind == 1)[:, 0], torch.nonzero(kind == 0)[:, 0]
    take = min(len(positive), int(count * positive_share))
    rest = min(len(negative), count - take)
    return _draw(positive, take, generator), _draw(negative, rest, generator)


def _draw(indices: Tensor, count: int, generator: torch.Generator | None) -> Tensor:
    return indices[torch.randperm(len(indices), generator=generator)[:count].to(indices.device)]
