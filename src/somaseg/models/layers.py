"""Convolutions with the state_dict names of Detectron2, and depthwise convolutions with a fast backward pass."""

import math
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from somaseg.models.packed import Activation, Packed, can_fuse, convolve

Norm = Literal["", "GN", "BN", "FrozenBN"]
GROUPS = 32  # Group Normalization, Wu & He 2018; layers whose channels 32 does not divide take the largest number that divides both


def _make_norm(norm: Norm, channels: int) -> nn.Module | None:
    match norm:
        case "":
            return None
        case "GN":
            return nn.GroupNorm(math.gcd(GROUPS, channels), channels)
        case "BN":
            return nn.BatchNorm2d(channels)
        case "FrozenBN":
            frozen: nn.Module = FrozenBatchNorm2d(channels)
            return frozen


class FrozenBatchNorm2d(nn.Module):
    """A batch norm whose weights and statistics stay as they are, as buffers; torchvision's has the same names (Detectron2)."""

    weight: Tensor
    bias: Tensor
    running_mean: Tensor
    running_var: Tensor

    def __init__(self, channels: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        for name, value in (("weight", 1.0), ("bias", 0.0), ("running_mean", 0.0), ("running_var", 1.0)):
            self.register_buffer(name, torch.full((channels,), value))

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, H, W) -> the same shape."""
        scale = self.weight * (self.running_var + self.eps).rsqrt()
        return x * scale[:, None, None] + (self.bias - self.running_mean * scale)[:, None, None]


def same_padding(x: Tensor, kernel: tuple[int, ...], stride: tuple[int, ...]) -> tuple[int, int, int, int]:
    """Pixels that TensorFlow pads an image (B, C, H, W) with, the odd one right and below: left, right, above, below."""
    down, across = (max((-(-s // t) - 1) * t + k - s, 0) for s, t, k in zip(x.shape[2:], stride, kernel, strict=True))
    return (across // 2, across - across // 2, down // 2, down - down // 2)


class ConvBlock(nn.Conv2d):
    """Convolution, optional norm (then no bias), optional ReLU; parameters `weight`, `bias`, `norm.*`."""

    def __init__(
        self, channels: int, out: int, kernel: int, *, stride: int = 1, groups: int = 1, norm: Norm = "", relu: bool = False
    ) -> None:
        super().__init__(channels, out, kernel, stride=stride, padding=kernel // 2, groups=groups, bias=norm == "")
        self.norm = _make_norm(norm, out)
        self.relu = relu
        self.packed = Packed()
        nn.init.kaiming_normal_(self.weight, mode="fan_out", nonlinearity="relu")
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, H, W) -> (B, out, H', W')."""
        if not can_fuse(x):
            return self.finish(self._conv_forward(x, *self.folded()))
        norm = self.norm
        frozen = norm is None or isinstance(norm, FrozenBatchNorm2d)
        sources = (self.weight, self.bias, *(norm.buffers() if frozen and norm is not None else ()))
        side = self.kernel_size[0] // 2
        act: Activation = "relu" if self.relu and frozen else "none"
        x = convolve(x, self.packed, sources, self.folded, (side,) * 4, self.stride, self.dilation, self.groups, act)
        return x if frozen else self.finish(x)

    def folded(self) -> tuple[Tensor, Tensor | None]:
        """Weight and bias; a frozen batch norm is multiplied in, which costs less than a pass over the features."""
        norm = self.norm
        if not isinstance(norm, FrozenBatchNorm2d):
            return self.weight, self.bias
        scale = norm.weight * (norm.running_var + norm.eps).rsqrt()
        return self.weight * scale[:, None, None, None], norm.bias - norm.running_mean * scale

    def finish(self, x: Tensor) -> Tensor:
        """What follows the convolution with the `folded` weight: the norm that is left, and ReLU."""
        if self.norm is not None and not isinstance(self.norm, FrozenBatchNorm2d):
            x = self.norm(x)
        return functional.relu(x, inplace=True) if self.relu else x


class DepthwiseConv2d(nn.Module):
    """A depthwise convolution whose gradient is computed in float32.

    On CPUs, oneDNN's bfloat16 backward pass of depthwise convolutions is several times slower than its float32 one
    (`benchmarks/train_step.py` shows the share), while the forward pass gains; so each runs where it is fast.
    """

    def __init__(self, conv: nn.Conv2d, same: bool) -> None:
        super().__init__()
        self.weight, self.bias = conv.weight, conv.bias
        self.stride, self.padding, self.groups = conv.stride, conv.padding, conv.groups
        self.same = same  # pad as TensorFlow does, from the size of the input
        self.packed = Packed()

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H', W')."""
        padding = self.padding
        if self.same:
            kernel = self.weight.shape[2:]
            left, right, above, below = pads = same_padding(x, kernel, self.stride)
            if left == right and above == below:
                padding = (above, left)
            else:
                x, padding = functional.pad(x, pads), (0, 0)
        if torch.is_autocast_enabled(x.device.type):
            x = x.to(torch.get_autocast_dtype(x.device.type))
        if not (torch.is_grad_enabled() and x.requires_grad):
            bias = None if self.bias is None else self.bias.to(x.dtype)
            return functional.conv2d(x, self.weight.to(x.dtype), bias, self.stride, padding, 1, self.groups)
        out: Tensor = _Depthwise.apply(x, self.weight, self.bias, self.stride, padding, self.groups)
        return out


class _Depthwise(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, stride: Any, padding: Any, groups: int) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.has_bias, ctx.stride, ctx.padding, ctx.groups = bias is not None, stride, padding, groups
        with torch.autocast(x.device.type, enabled=False):
            return functional.conv2d(x, weight.to(x.dtype), None if bias is None else bias.to(x.dtype), stride, padding, 1, groups)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        dx, dw, db = torch.ops.aten.convolution_backward(
            grads[0].float(), x.float(), weight, [weight.shape[0]] if ctx.has_bias else None,
            list(ctx.stride), list(ctx.padding), [1, 1], False, [0, 0], ctx.groups,
            [ctx.needs_input_grad[0], True, ctx.has_bias],
        )  # fmt: skip
        return dx.to(x.dtype) if dx is not None else None, dw, db, None, None, None
