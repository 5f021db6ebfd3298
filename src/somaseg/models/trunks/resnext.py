"""ResNeXt (Xie et al. 2017) with deformable convolutions, with the conventions and names of Detectron2."""

from itertools import chain

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from somaseg.config import ResNeXtSettings
from somaseg.errors import InputError
from somaseg.models.deform import deform_conv2d
from somaseg.models.layers import ConvBlock, Norm

STAGES = {4: "res2", 8: "res3", 16: "res4", 32: "res5"}
TAPS = 9  # of a 3 x 3 convolution; each has two offsets, and with modulation one weight


class Stem(nn.Module):
    """A 7 x 7 convolution and max-pooling, each of stride 2."""

    def __init__(self, inputs: int, width: int, norm: Norm) -> None:
        super().__init__()
        self.conv1 = ConvBlock(inputs, width, 7, stride=2, norm=norm, relu=True)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) -> (B, width, H / 4, W / 4)."""
        return functional.max_pool2d(self.conv1(x), kernel_size=3, stride=2, padding=1)


class Bottleneck(nn.Module):
    """1 x 1, grouped 3 x 3 with the stride, 1 x 1, and the input added, through a 1 x 1 convolution where channels change."""

    def __init__(self, channels: int, width: int, out: int, stride: int, groups: int, norm: Norm, deformable: str) -> None:
        super().__init__()
        self.shortcut = ConvBlock(channels, out, 1, stride=stride, norm=norm) if channels != out else None
        self.conv1 = ConvBlock(channels, width, 1, norm=norm, relu=True)
        self.conv2 = ConvBlock(width, width, 3, stride=stride, groups=groups, norm=norm, relu=True)
        self.conv3 = ConvBlock(width, out, 1, norm=norm)
        self.conv2_offset: nn.Conv2d | None = None
        if deformable:
            # Starts at zero: a deformable convolution begins as a plain one (with modulation, at half strength).
            self.conv2_offset = nn.Conv2d(width, TAPS * (3 if deformable == "modulated" else 2), 3, stride=stride, padding=1)
            nn.init.zeros_(self.conv2_offset.weight)
            assert self.conv2_offset.bias is not None
            nn.init.zeros_(self.conv2_offset.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, H, W) -> (B, out, H / stride, W / stride)."""
        inner = self.conv3(self._middle(self.conv1(x)))
        return functional.relu(inner + (x if self.shortcut is None else self.shortcut(x)), inplace=True)

    def _middle(self, x: Tensor) -> Tensor:
        conv = self.conv2
        if self.conv2_offset is None:
            middle: Tensor = conv(x)
            return middle
        moves = self.conv2_offset(x)
        offset, strength = moves[:, : 2 * TAPS], moves[:, 2 * TAPS :]
        weight, bias = conv.folded()
        mask = strength.sigmoid() if strength.shape[1] else None
        moved = deform_conv2d(x, offset, weight, bias, mask, conv.stride[0], padding=1, groups=conv.groups)
        return conv.finish(moved)


class ResNeXt(nn.Module):
    """Features of the stages with the chosen strides.

    Args:
        settings: of the network.
        strides: of the features, fine to coarse; stages beyond the coarsest are not built.
        inputs: channels of the image.
    """

    def __init__(self, settings: ResNeXtSettings, strides: tuple[int, ...], inputs: int) -> None:
        super().__init__()
        missing = [s for s in strides if s not in STAGES]
        if missing:
            raise InputError(f"model.backbone.strides: a ResNeXt has no feature at stride {missing}, it has {list(STAGES)}")
        self.recompute, self.strides = settings.recompute, strides
        self.channels = [settings.out_width * s // 4 for s in strides]
        held = settings.freeze_at
        # The statistics of what is held must not change either.
        norms: list[Norm] = ["FrozenBN" if settings.norm == "BN" and number <= held else settings.norm for number in range(1, 6)]
        self.stem = Stem(inputs, settings.stem_width, norms[0])
        channels = settings.stem_width
        for stage, (name, blocks) in enumerate(zip(STAGES.values(), settings.blocks, strict=True)):
            if 4 << stage > max(strides):
                break
            width, out = settings.groups * settings.group_width << stage, settings.out_width << stage
            first = 2 if stage else 1
            made = [
                Bottleneck(
                    out if block else channels,
                    width,
                    out,
                    1 if block else first,
                    settings.groups,
                    norms[stage + 1],
                    settings.deformable[stage],
                )
                for block in range(blocks)
            ]
            self.add_module(name, nn.Sequential(*made))
            channels = out
        for parameter in chain.from_iterable(part.parameters() for part in list(self.children())[:held]):
            parameter.requires_grad_(False)

    def forward(self, x: Tensor) -> list[Tensor]:
        """(B, inputs, H, W) -> features from fine to coarse."""
        x = self.stem(x)
        features = []
        for stride, name in STAGES.items():
            if stride > max(self.strides):
                break
            for block in self.get_submodule(name).children():
                if self.recompute and torch.is_grad_enabled():
                    x = checkpoint(block, x, use_reentrant=False, preserve_rng_state=False)
                else:
                    x = block(x)
            if stride in self.strides:
                features.append(x)
        return features
