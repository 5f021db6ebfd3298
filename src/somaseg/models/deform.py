"""Deformable convolutions (v1: Dai et al. 2017, v2 with a mask: Zhu et al. 2019) that are fast on a CPU.

torchvision's CPU kernel gathers its samples plane by plane on one thread. Here features lie channel by channel, so that
one sample is a weighted sum of four rows (`embedding_bag`), and the samples of a few positions stay in the cache until a
grouped convolution over the taps has used them. Other devices run torchvision's operator.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from somaseg.models.pooling import transposed_product

AT_ONCE = 256  # positions at inference; the samples of more leave the cache before the convolution reads them


def deform_conv2d(
    x: Tensor,
    offset: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    mask: Tensor | None = None,
    stride: int = 1,
    padding: int = 0,
    dilation: int = 1,
    groups: int = 1,
) -> Tensor:
    """Equal to `torchvision.ops.deform_conv2d`.

    Args:
        x: (B, C, H, W); in channels-last memory nothing is copied.
        offset: (B, D * K * 2, H', W') in pixels of `x`, y before x, for each of K taps; D, the number of channel groups
            that move on their own, follows from the shape.
        weight: (C', C / groups, kernel height, kernel width), K taps in all.
        bias: (C',).
        mask: (B, D * K, H', W'), factors of the samples; None is all ones.
        stride: as of a convolution.
        padding: as of a convolution.
        dilation: as of a convolution.
        groups: as of a convolution.

    Returns:
        (B, C', H', W'), on a CPU in channels-last memory. Positions and samples are float32 also under autocast, the
        convolution has autocast's type.
    """
    if x.device.type != "cpu":
        import torchvision  # takes seconds, and a processor does without

        out: Tensor = torchvision.ops.deform_conv2d(x, offset, weight, bias, stride, padding, dilation, mask)
        return out
    if not len(x):
        return functional.conv2d(x, weight, bias, stride, padding, dilation, groups)
    batch, channels, height, width = x.shape
    kernel = (weight.shape[2], weight.shape[3])
    exact = torch.promote_types(x.dtype, torch.float32)
    moving = offset.shape[1] // (2 * kernel[0] * kernel[1])
    # One row holds the channels that move together, at one pixel of one image.
    rows = x.permute(0, 2, 3, 1).reshape(batch * height * width * moving, channels // moving).to(exact)
    # The taps as a column of a (K, positions) image: many positions along a line are what a convolution is fast at.
    # Contiguous, since PyTorch convolves wrongly with a grouped weight of these shapes whose memory is channels-last.
    taps_weight = weight.flatten(2).contiguous()[..., None]
    learns = torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in (x, offset, mask, weight, bias))
    at, share = _corners(offset.to(exact), mask, (height, width), kernel, stride, padding, dilation)
    positions = at.shape[1]
    parts = []
    if learns:
        # An image at a time, sampled again in the backward pass: the samples take K times the memory of the features.
        for image in range(batch):
            here = slice(image * positions // batch, (image + 1) * positions // batch)
            parts.append(checkpoint(_convolve, rows, at[:, here], share[:, here], taps_weight, bias, groups, use_reentrant=False))
    else:
        for begin in range(0, positions, AT_ONCE):
            here = slice(begin, begin + AT_ONCE)
            parts.append(_convolve(rows, at[:, here], share[:, here], taps_weight, bias, groups))
    return torch.cat(parts).view(batch, *offset.shape[2:], -1).permute(0, 3, 1, 2)


def _corners(
    offset: Tensor, mask: Tensor | None, size: tuple[int, int], kernel: tuple[int, int], stride: int, padding: int, dilation: int
) -> tuple[Tensor, Tensor]:
    """The rows that every sample reads and their shares: (K, B * H' * W', D, 4); a corner outside has the share 0."""
    batch, _, rows, columns = offset.shape
    offset = offset.view(batch, -1, *kernel, 2, rows, columns).permute(4, 2, 3, 0, 5, 6, 1)  # 2, kernel, B, H', W', D
    low, shares = [], []
    for axis in (0, 1):
        tap = torch.arange(kernel[axis]) * dilation - padding
        place = torch.arange(offset.shape[4 + axis]) * stride
        start = tap.view([-1 if n == axis else 1 for n in range(6)]) + place.view([-1 if n == axis + 3 else 1 for n in range(6)])
        # Beyond -2 and size + 1 both neighbours are outside anyway, and whole numbers of any float fit.
        position = (offset[axis] + start).clamp(-2, size[axis] + 1)
        below = position.detach().floor()
        share = torch.stack([1 - (position - below), position - below], dim=-1)
        neighbours = below.long()[..., None] + torch.arange(2)
        shares.append(share * ((neighbours >= 0) & (neighbours < size[axis])))
        low.append(neighbours.clamp(0, size[axis] - 1))
    moving = offset.shape[-1]
    pixel = low[0][..., :, None] * size[1] + low[1][..., None, :]
    image = torch.arange(batch).view(-1, 1, 1, 1, 1, 1) * (size[0] * size[1])
    at = (image + pixel) * moving + torch.arange(moving)[:, None, None]
    shares_of_corners = shares[0][..., :, None] * shares[1][..., None, :]
    if mask is not None:
        shares_of_corners = shares_of_corners * mask.view(batch, moving, *kernel, rows, columns).permute(2, 3, 0, 4, 5, 1)[..., None, None]
    shape = (kernel[0] * kernel[1], batch * rows * columns, moving, 4)
    return at.reshape(shape), shares_of_corners.reshape(shape)


def _convolve(rows: Tensor, at: Tensor, share: Tensor, weight: Tensor, bias: Tensor | None, groups: int) -> Tensor:
    """Outputs (positions, C') of the samples at `at`, `share` (K, positions, D, 4)."""
    taps, positions, moving, _ = at.shape
    samples: Tensor = _Sample.apply(rows, at.reshape(-1, 4), share.reshape(-1, 4))
    image = samples.view(1, taps, positions, moving * rows.shape[1]).permute(0, 3, 1, 2)
    return functional.conv2d(image, weight, bias, groups=groups)[0, :, 0].t()


class _Sample(torch.autograd.Function):
    """Weighted sums of four rows each: (S, C); as `embedding_bag`, whose gradient to the rows is slow."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, at: Tensor, share: Tensor) -> Tensor:
        ctx.save_for_backward(rows, at, share)
        return functional.embedding_bag(at, rows, per_sample_weights=share, mode="sum")

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, None, Tensor | None]:
        rows, at, share = ctx.saved_tensors
        grad, d_rows, d_share = grads[0].contiguous(), None, None
        if ctx.needs_input_grad[0]:
            starts = torch.arange(0, 4 * len(at) + 1, 4)
            d_rows = transposed_product(starts, at.flatten(), share.flatten(), grad, len(rows))
        if ctx.needs_input_grad[2]:
            with torch.enable_grad():
                share = share.detach().requires_grad_()
                sampled = functional.embedding_bag(at, rows.detach(), per_sample_weights=share, mode="sum")
                (d_share,) = torch.autograd.grad(sampled, share, grad)
        return d_rows, None, d_share
