"""Half-pixel aligned ROI pooling (RoIAlign) as one sparse matrix product.

torchvision's CPU kernel runs on one thread and its backward pass scatters atomically. Pooling is linear in the
features, so on a CPU we build the matrix of bilinear weights once, multiply by it, and multiply by its transpose for
the gradient: both products use every core. The same function pools features of several pyramid levels and images at
once, and mask targets from cropped masks, because every box names the plane (offset, height, width) it reads.
"""

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy import sparse
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True)
class Planes:
    """Planes of feature rows laid end to end: plane p is rows `offsets[p] : offsets[p] + heights[p] * widths[p]`.

    Attributes:
        rows: (total pixels, C).
        offsets, heights, widths: int64 (P,).
    """

    rows: Tensor
    offsets: Tensor
    heights: Tensor
    widths: Tensor

    @classmethod
    def from_levels(cls, levels: list[Tensor]) -> "Planes":
        """From pyramid levels (B, C, H, W); plane `level * B + image` is one image at one level."""
        rows, offsets, heights, widths, start = [], [], [], [], 0
        for level in levels:
            batch, channels, height, width = level.shape
            rows.append(level.permute(0, 2, 3, 1).reshape(-1, channels))
            offsets += [start + i * height * width for i in range(batch)]
            heights += [height] * batch
            widths += [width] * batch
            start += batch * height * width
        as_tensor = [torch.tensor(v, device=levels[0].device) for v in (offsets, heights, widths)]
        return cls(torch.cat(rows).float(), *as_tensor)


def roi_pool(
    planes: Planes,
    plane: Tensor,
    boxes: Tensor,
    output_size: int,
    sampling_ratio: int = 0,
    frames: Tensor | None = None,
    multiple: int = 1,
) -> Tensor:
    """Average bilinear samples over each of `output_size` x `output_size` bins of every box, half-pixel aligned.

    Equal to `torchvision.ops.roi_align(aligned=True)` (Mask R-CNN, He et al. 2017; alignment as in Detectron2).

    Args:
        planes: what to read.
        plane: int64 (R,), the plane that each box reads.
        boxes: (R, 4) x0 y0 x1 y1 in pixels of that plane (a pixel's centre lies at +.5).
        output_size: bins along a side.
        sampling_ratio: samples along a side of a bin; 0 takes ceil(box side / output_size) for every box.
        frames: (R, 4) x0 y0 x1 y1, the frame that each box's plane is a window of, in pixels of the plane; what of the frame lies
            outside the window is 0. Without it a plane is its own frame. A frame's edge pixels count up to a pixel beyond it.
        multiple: zeros stand for further boxes, up to a multiple of this number.

    Returns:
        float32 (R, C, output_size, output_size) in channels-last memory.
    """
    channels = planes.rows.shape[1]
    if not len(boxes):
        return planes.rows.new_zeros((0, channels, output_size, output_size)) + planes.rows.sum() * 0
    if frames is None:
        ends = torch.stack([planes.widths[plane], planes.heights[plane]], dim=1)
        frames = torch.cat([torch.zeros_like(ends), ends], dim=1)
    starts, *matrix = _pooling_matrix(planes, plane, boxes.detach().float(), output_size, sampling_ratio, frames.float())
    more = -len(boxes) % multiple
    starts = torch.cat([starts, starts[-1:].expand(more * output_size**2)])
    pooled: Tensor = _SparseProduct.apply(planes.rows, starts, *matrix)
    return pooled.view(len(boxes) + more, output_size, output_size, channels).permute(0, 3, 1, 2)


def _pooling_matrix(planes: Planes, plane: Tensor, boxes: Tensor, size: int, ratio: int, frames: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """CSR matrix (row starts, columns, weights) with one row a bin, boxes in their order."""
    sides = (boxes[:, 2:] - boxes[:, :2]).clamp(min=0)
    samples = torch.full_like(sides, ratio) if ratio else (sides / size).ceil().clamp(min=1)
    counts = samples.long()
    columns, weights, lengths = [], [], []
    order = []
    # Boxes with the same number of samples share one vectorised block; small cells nearly all have 1 x 1.
    most = int(counts.max()) + 1
    coded = counts[:, 0] * most + counts[:, 1]
    for code in torch.unique(coded).tolist():
        chosen = torch.nonzero(coded == code)[:, 0]
        nx, ny = divmod(code, most)
        index = plane[chosen]
        width, height = planes.widths[index], planes.heights[index]
        x_at, x_weight = _taps(boxes[chosen, 0], sides[chosen, 0], size, nx, width, frames[chosen, 0::2])
        y_at, y_weight = _taps(boxes[chosen, 1], sides[chosen, 1], size, ny, height, frames[chosen, 1::2])
        at = y_at[:, :, None, :, None] * width[:, None, None, None, None] + x_at[:, None, :, None, :]
        at = at + planes.offsets[index][:, None, None, None, None]
        weight = y_weight[:, :, None, :, None] * x_weight[:, None, :, None, :] / (nx * ny)
        columns.append(at.reshape(-1))
        weights.append(weight.reshape(-1))
        lengths.append(torch.full((len(chosen) * size * size,), 4 * nx * ny, device=boxes.device))
        order.append(chosen)
    length, column, weight = torch.cat(lengths), torch.cat(columns), torch.cat(weights)
    if len(order) > 1:
        # Put the blocks' rows back into the order of the boxes.
        bins = torch.arange(size * size, device=boxes.device)
        row = (torch.cat(order)[:, None] * (size * size) + bins).reshape(-1)
        matrix = sparse.csr_matrix(
            (weight.cpu().numpy(), column.cpu().numpy(), np.concatenate([[0], np.cumsum(length.cpu().numpy())])),
            shape=(len(row), len(planes.rows)),
        )
        return _csr_tensors(matrix[np.argsort(row.cpu().numpy(), kind="stable")], boxes.device)
    starts = torch.cat([length.new_zeros(1), length.cumsum(0)])
    return starts, column, weight


def _taps(start: Tensor, side: Tensor, size: int, samples: int, limit: Tensor, frame: Tensor) -> tuple[Tensor, Tensor]:
    """The two pixels and weights of every sample along one axis: (R, size, 2 * samples); see `roi_pool` for `frame` (R, 2)."""
    fraction = (torch.arange(size * samples, device=start.device) + 0.5) / (size * samples)
    at = start[:, None] - 0.5 + fraction * side[:, None]
    last = (limit - 1)[:, None]
    first, end = frame[:, :1], frame[:, 1:]
    inside = (at >= first - 1) & (at <= end)
    at = torch.minimum(torch.maximum(at, first), end - 1)
    low = at.floor().long()
    share = at - low
    pixels = torch.stack([low, low + 1], dim=-1)
    weights = torch.stack([1 - share, share], dim=-1) * (inside[..., None] & (pixels >= 0) & (pixels <= last[..., None]))
    pixels = torch.minimum(pixels.clamp(min=0), last[..., None])
    return pixels.view(len(start), size, -1), weights.view(len(start), size, -1)


class _SparseProduct(torch.autograd.Function):
    """`matrix @ rows` for a constant CSR matrix; the gradient multiplies by its transpose."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, starts: Tensor, columns: Tensor, weights: Tensor) -> Tensor:
        ctx.save_for_backward(starts, columns, weights)
        ctx.height = rows.shape[0]
        return _product(starts, columns, weights, rows)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        starts, columns, weights = ctx.saved_tensors
        return transposed_product(starts, columns, weights, grads[0], ctx.height), None, None, None


def transposed_product(starts: Tensor, columns: Tensor, weights: Tensor, rows: Tensor, height: int) -> Tensor:
    """The transpose of a CSR matrix of `height` columns times `rows`; both cores work, where scattering rows would not."""
    arrays = (weights.cpu().numpy(), columns.cpu().numpy(), starts.cpu().numpy())
    matrix = sparse.csr_matrix(arrays, shape=(len(starts) - 1, height))
    # The CSC arrays of a matrix are the CSR arrays of its transpose.
    return _product(*_csr_tensors(matrix.tocsc(), weights.device), rows)


def _csr_tensors(matrix: Any, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    starts, columns, weights = (torch.from_numpy(a).to(device) for a in (matrix.indptr, matrix.indices, matrix.data))
    return starts.long(), columns.long(), weights


def _product(starts: Tensor, columns: Tensor, weights: Tensor, rows: Tensor) -> Tensor:
    if rows.device.type == "cpu" and rows.dtype == torch.float32:  # a third of the time of the sparse product
        given = (columns, rows.contiguous(), starts)
        return functional.embedding_bag(*given, mode="sum", per_sample_weights=weights.float(), include_last_offset=True)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta state")
        matrix = torch.sparse_csr_tensor(starts, columns, weights, (len(starts) - 1, len(rows)), check_invariants=False)
    with torch.autocast(rows.device.type, enabled=False):  # the product has no bfloat16 kernel
        return matrix @ rows.contiguous()
