"""EfficientNet-Lite (Tan & Le 2019, without squeeze-and-excitation, with ReLU6), with the names of timm's networks of that name.

timm makes hundreds of networks when it is imported, and brings torchvision; this one is made without either.
"""

import math
from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional

from somaseg.models.layers import DepthwiseConv2d, same_padding
from somaseg.models.packed import Activation, Packed, can_fuse, convolve

STEM, EPS = 32, 1e-3  # channels of the stem; of the norms, as TensorFlow has it
DROP = 0.9  # rounding a width to a multiple of 8 may take no more than a tenth of it


@dataclass(frozen=True)
class Stage:
    """Blocks in a row: how many, the depthwise kernel, the stride of the first, how far they widen inside, channels out."""

    repeats: int
    kernel: int
    stride: int
    widening: int
    channels: int


STAGES = (
    Stage(1, 3, 1, 1, 16),
    Stage(2, 3, 2, 6, 24),
    Stage(2, 5, 2, 6, 40),
    Stage(3, 3, 2, 6, 80),
    Stage(3, 5, 1, 6, 112),
    Stage(4, 5, 2, 6, 192),
    Stage(1, 3, 1, 6, 320),
)

# timm name -> factors of width and depth.
LITE = {
    "tf_efficientnet_lite0": (1.0, 1.0),
    "tf_efficientnet_lite1": (1.0, 1.1),
    "tf_efficientnet_lite2": (1.1, 1.2),
    "tf_efficientnet_lite3": (1.2, 1.4),
    "tf_efficientnet_lite4": (1.4, 1.8),
}


ACTIVATIONS: dict[type[nn.Module], Activation] = {nn.Identity: "none", nn.ReLU6: "relu6"}


class PackedConv2d(nn.Conv2d):
    """A convolution without a bias, until a norm is folded into it, that keeps what `applied` made of its weight."""

    same = False

    def __init__(self, channels: int, out: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__(channels, out, kernel, stride, 0 if self.same else kernel // 2, groups=groups, bias=False)
        self.packed = Packed()


class SameConv2d(PackedConv2d):
    """The same padded as TensorFlow does: as much as its stride needs, the odd pixel right and below."""

    same = True

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C', ceil(H / stride), ceil(W / stride))."""
        padded = functional.pad(x, same_padding(x, self.kernel_size, self.stride))
        out: Tensor = self._conv_forward(padded, self.weight, self.bias)
        return out


class NormAct(nn.BatchNorm2d):
    """A batch norm and what follows it."""

    def __init__(self, channels: int, act: nn.Module) -> None:
        super().__init__(channels, eps=EPS)
        self.act = act

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> the same shape."""
        out: Tensor = self.act(super().forward(x))
        return out


class Separable(nn.Module):
    """A depthwise convolution and a 1 x 1 convolution."""

    def __init__(self, channels: int, out: int, kernel: int, stride: int) -> None:
        super().__init__()
        self.conv_dw = _convolution(channels, channels, kernel, stride, channels)
        self.bn1 = NormAct(channels, nn.ReLU6(inplace=True))
        self.conv_pw = _convolution(channels, out, 1)
        self.bn2 = NormAct(out, nn.Identity())

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, H, W) -> (B, out, H / stride, W / stride)."""
        return _applied(self.conv_pw, self.bn2, _applied(self.conv_dw, self.bn1, x))


class InvertedResidual(nn.Module):
    """1 x 1 to more channels, depthwise, 1 x 1 to fewer (Sandler et al. 2018), and the input added where the shape stays."""

    def __init__(self, channels: int, out: int, kernel: int, stride: int, widening: int) -> None:
        super().__init__()
        wide = channels * widening
        self.conv_pw = _convolution(channels, wide, 1)
        self.bn1 = NormAct(wide, nn.ReLU6(inplace=True))
        self.conv_dw = _convolution(wide, wide, kernel, stride, wide)
        self.bn2 = NormAct(wide, nn.ReLU6(inplace=True))
        self.conv_pwl = _convolution(wide, out, 1)
        self.bn3 = NormAct(out, nn.Identity())
        self.adds = stride == 1 and channels == out

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, H, W) -> (B, out, H / stride, W / stride)."""
        wide = _applied(self.conv_dw, self.bn2, _applied(self.conv_pw, self.bn1, x))
        out = _applied(self.conv_pwl, self.bn3, wide)
        return out + x if self.adds else out


class EfficientNetLite(nn.Module):
    """The network up to its last block; `forward` gives the features at each of `reductions`, fine to coarse.

    Args:
        name: one of `LITE`.

    Attributes:
        reductions: strides of the features.
        channels: of the features.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        width, depth = LITE[name]
        self.conv_stem = _convolution(3, STEM, 3, 2)
        self.bn1 = NormAct(STEM, nn.ReLU6(inplace=True))
        stages: list[nn.Module] = []
        channels, stride = STEM, 2
        self.reductions: list[int] = []
        self.channels: list[int] = []
        self.given: list[int] = []  # numbers of the stages that end with a feature
        for number, stage in enumerate(STAGES):
            out, last = rounded(stage.channels * width), number == len(STAGES) - 1
            repeats = stage.repeats if number == 0 or last else math.ceil(stage.repeats * depth)
            blocks = [_block(channels if i == 0 else out, out, stage, stage.stride if i == 0 else 1) for i in range(repeats)]
            stages.append(nn.Sequential(*blocks))
            channels, stride = out, stride * stage.stride
            if last or STAGES[number + 1].stride == 2:
                self.given.append(number)
                self.reductions.append(stride)
                self.channels.append(out)
        self.blocks = nn.Sequential(*stages)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                fan = module.kernel_size[0] * module.kernel_size[1] * module.out_channels // module.groups
                nn.init.normal_(module.weight, 0, math.sqrt(2.0 / fan))

    def forward(self, x: Tensor) -> list[Tensor]:
        """(B, 3, H, W) -> features (B, channels[i], H / reductions[i], W / reductions[i])."""
        x = _applied(self.conv_stem, self.bn1, x)
        features = []
        for number, stage in enumerate(self.blocks):
            x = stage(x)
            if number in self.given:
                features.append(x)
        return features

    def stages_after(self, feature: int) -> list[nn.Module]:
        """The stages that the feature with this number, and those finer than it, do not need."""
        return list(self.blocks)[self.given[feature] + 1 :]


def rounded(channels: float) -> int:
    """The multiple of 8 next to a width, at least 8; the next larger one where that would take more than a tenth."""
    near = max(8, int(channels + 4) // 8 * 8)
    return near + 8 if near < DROP * channels else near


def _block(channels: int, out: int, stage: Stage, stride: int) -> nn.Module:
    if stage.widening == 1:
        return Separable(channels, out, stage.kernel, stride)
    return InvertedResidual(channels, out, stage.kernel, stride, stage.widening)


def _convolution(channels: int, out: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    """The padding of stride 2 depends on the size of the image."""
    return (SameConv2d if stride > 1 else PackedConv2d)(channels, out, kernel, stride, groups)


def _applied(conv: nn.Module, act: nn.Module, x: Tensor) -> Tensor:
    """`act(conv(x))`; in one pass where norms are folded in and nobody wants a gradient."""
    if type(act) not in ACTIVATIONS or not isinstance(conv, PackedConv2d | DepthwiseConv2d) or not can_fuse(x):
        out: Tensor = act(conv(x))
        return out
    down, across = (side for side in conv.padding if isinstance(side, int))
    kernel = conv.weight.shape[2:]
    padding = same_padding(x, kernel, conv.stride) if conv.same else (across, across, down, down)
    weights = (conv.weight, conv.bias)
    return convolve(x, conv.packed, weights, lambda: weights, padding, conv.stride, (1, 1), conv.groups, ACTIVATIONS[type(act)])
