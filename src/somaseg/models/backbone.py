"""A trunk, be it a timm network or a ResNeXt, with a pyramid of features on it (FPN, Lin et al. 2017)."""

from torch import Tensor, nn
from torch.nn import functional

from somaseg.config import BackboneSettings, TimmSettings
from somaseg.errors import InputError
from somaseg.models.layers import ConvBlock
from somaseg.models.trunks.resnext import ResNeXt
from somaseg.models.trunks.timm_trunk import TimmTrunk


class Backbone(nn.Module):
    """Trunk and FPN: images (B, inputs, H, W), sides a multiple of the coarsest stride, to levels from fine to coarse.

    Args:
        settings: of trunk and pyramid.
        inputs: channels of the images.
        pretrained: start the trunk from packaged ImageNet weights.
    """

    def __init__(self, settings: BackboneSettings, inputs: int = 1, pretrained: bool = False) -> None:
        super().__init__()
        trunk, strides = settings.trunk, settings.strides
        if isinstance(trunk, TimmSettings):
            self.bottom_up: TimmTrunk | ResNeXt = TimmTrunk(trunk, strides, inputs, pretrained)
        elif pretrained:
            raise InputError("model.backbone.trunk.kind: no packaged ImageNet weights for a ResNeXt: start from converted weights instead")
        else:
            self.bottom_up = ResNeXt(trunk, strides, inputs)
        self.extra_level = settings.extra_level
        width, norm = settings.fpn_width, settings.fpn_norm
        for level, channels in enumerate(self.bottom_up.channels, start=2):
            self.add_module(f"fpn_lateral{level}", ConvBlock(channels, width, 1, norm=norm))
            self.add_module(f"fpn_output{level}", ConvBlock(width, width, 3, norm=norm))

    def forward(self, images: Tensor) -> list[Tensor]:
        """Levels (B, fpn_width, H / stride, W / stride); the extra one takes every second place of the level below it."""
        features = self.bottom_up(images)
        levels: list[Tensor] = []
        above: Tensor | None = None
        for level in reversed(range(len(features))):
            lateral = self.get_submodule(f"fpn_lateral{level + 2}")(features[level])
            if above is not None:
                lateral = lateral + functional.interpolate(above, size=lateral.shape[2:], mode="nearest")
            above = lateral
            levels.insert(0, self.get_submodule(f"fpn_output{level + 2}")(lateral))
        if self.extra_level:
            levels.append(functional.max_pool2d(levels[-1], kernel_size=1, stride=2))
        return levels
