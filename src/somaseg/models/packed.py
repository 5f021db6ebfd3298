"""Layers as inference runs them on a processor: weights cast and laid out once, convolution, bias and activation in one pass.

PyTorch writes a convolution's output, then reads and writes it again for the activation; and it casts weights at each call. oneDNN, which
computes both ways, does it in one pass, through operators that torch's own compiler uses. Values are the same to the bit.
"""

from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

Activation = Literal["none", "relu", "relu6"]
ATTRIBUTES: dict[Activation, tuple[str, list[float]]] = {"none": ("none", []), "relu": ("relu", []), "relu6": ("hardtanh", [0.0, 6.0])}
FUSED = "_convolution_pointwise"


class Packed:
    """Tensors made of a layer's weights when they are first needed, and again when the weights have changed."""

    def __init__(self) -> None:
        self._key: Any = None
        self._made: tuple[Tensor, ...] = ()

    def get(self, sources: tuple[Tensor | None, ...], how: Any, make: Callable[[], tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
        """What `make` makes of `sources`; `how` is all else that it depends on."""
        key = (how, *(None if t is None else (t.data_ptr(), t._version, t.device) for t in sources))
        if key != self._key:
            with torch.inference_mode(False), torch.no_grad():
                self._made = make()
            self._key = key
        return self._made

    def __deepcopy__(self, memo: dict[int, Any]) -> "Packed":
        return Packed()

    def __reduce__(self) -> tuple[type, tuple[()]]:
        return (Packed, ())


def is_plain_inference(x: Tensor) -> bool:
    """Whether nobody wants a gradient or a trace of what is computed of `x`, on a processor with oneDNN."""
    return (
        not torch.is_grad_enabled()
        and x.device.type == "cpu"
        and not (torch.jit.is_tracing() or torch.compiler.is_compiling())  # type: ignore[attr-defined,no-untyped-call]
        and type(x) is Tensor
        and torch.backends.mkldnn.is_available()
    )


def computed_in(x: Tensor) -> torch.dtype:
    """The number format that autocast would choose for a product of `x`."""
    return torch.get_autocast_dtype(x.device.type) if torch.is_autocast_enabled(x.device.type) else x.dtype


def can_fuse(x: Tensor) -> bool:
    """Whether `convolve` may be called; an image without a pixel, or none, is better left to PyTorch."""
    return (
        is_plain_inference(x) and x.numel() > 0 and computed_in(x) in (torch.bfloat16, torch.float32) and hasattr(torch.ops.mkldnn, FUSED)
    )


def convolve(
    x: Tensor,
    packed: Packed,
    sources: tuple[Tensor | None, ...],
    folded: Callable[[], tuple[Tensor, Tensor | None]],
    padding: tuple[int, int, int, int],
    stride: tuple[int, ...],
    dilation: tuple[int, ...],
    groups: int,
    act: Activation = "none",
) -> Tensor:
    """A convolution and its activation.

    Args:
        x: (B, C, H, W).
        packed: keeps the weight.
        sources: what the weight depends on.
        folded: gives weight (C', C / groups, kernel height, kernel width) and bias (C',).
        padding: pixels on the left, right, above, below; the right has as many as the left or one more, and so below.
        stride: as of a convolution.
        dilation: as of a convolution.
        groups: as of a convolution.
        act: what follows.

    Returns:
        (B, C', H', W') in the format that autocast chooses.
    """
    left, right, above, below = padding
    dtype = computed_in(x)

    def make() -> tuple[Tensor, ...]:
        weight, bias = folded()
        # An odd pixel on one side alone is a kernel that begins with zeros: cheaper than a padded copy of the features.
        weight = functional.pad(weight, (right - left, 0, below - above, 0)).to(dtype).contiguous(memory_format=torch.channels_last)
        return (weight,) if bias is None else (weight, bias.to(dtype))

    weight, *bias = packed.get(sources, (dtype, padding), make)
    name, limits = ATTRIBUTES[act]
    operator = getattr(torch.ops.mkldnn, FUSED)
    x = x.to(dtype).contiguous(memory_format=torch.channels_last)
    out: Tensor = operator(x, weight, bias[0] if bias else None, [below, right], list(stride), list(dilation), groups, name, limits, "")
    return out


def linear(x: Tensor, layer: nn.Linear, packed: Packed, channels: int) -> Tensor:
    """A linear layer of features (R, places * channels), each place's channels together, where its weight has each channel's places."""
    dtype = computed_in(x)

    def make() -> tuple[Tensor, ...]:
        weight = layer.weight.view(len(layer.weight), channels, -1).transpose(1, 2).reshape(layer.weight.shape)
        return weight.to(dtype), layer.bias.to(dtype)

    weight, bias = packed.get((layer.weight, layer.bias), (dtype, channels), make)
    return functional.linear(x.to(dtype), weight, bias)
