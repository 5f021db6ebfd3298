from copy import deepcopy

import pytest
import timm
import torch

from somaseg.models.trunks.efficientnet import LITE, EfficientNetLite, rounded


@pytest.mark.parametrize("name", ["tf_efficientnet_lite0", "tf_efficientnet_lite2", "tf_efficientnet_lite4"])
def test_is_the_network_of_timm_to_the_bit(name):
    theirs, ours = timm.create_model(name, features_only=True, pretrained=False).eval(), EfficientNetLite(name).eval()
    assert list(ours.state_dict()) == list(theirs.state_dict())
    ours.load_state_dict(theirs.state_dict())
    assert (ours.channels, ours.reductions) == (theirs.feature_info.channels(), theirs.feature_info.reduction())
    image = torch.randn(1, 3, 65, 98, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        for mine, other in zip(ours(image), theirs(deepcopy(image)), strict=True):
            assert torch.equal(mine, other)


def test_starts_as_wide_as_timm_does():
    torch.manual_seed(0)
    theirs, ours = (
        timm.create_model("tf_efficientnet_lite0", features_only=True, pretrained=False),
        EfficientNetLite("tf_efficientnet_lite0"),
    )
    for (name, mine), other in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        if mine.ndim == 4 and mine.numel() > 1000:
            assert float(mine.detach().std()) == pytest.approx(float(other.detach().std()), rel=0.15), name


def test_stages_beyond_a_feature():
    net = EfficientNetLite("tf_efficientnet_lite0")
    assert net.stages_after(4) == []
    assert net.stages_after(3) == list(net.blocks)[5:]


@pytest.mark.parametrize(("channels", "expected"), [(16 * 1.1, 16), (24 * 1.1, 24), (40 * 1.1, 48), (80 * 1.1, 88), (1, 8)])
def test_widths_are_multiples_of_8(channels, expected):
    assert rounded(channels) == expected


def test_every_size_has_a_width_and_a_depth():
    assert all(width >= 1 and depth >= 1 for width, depth in LITE.values())
