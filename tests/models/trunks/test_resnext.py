import pytest
import torch
from pydantic import ValidationError
from torch import nn
from torch.nn import functional
from torchvision.ops import FrozenBatchNorm2d, deform_conv2d

from somaseg.config import BackboneSettings, ResNeXtSettings
from somaseg.errors import InputError
from somaseg.models.backbone import Backbone
from somaseg.models.trunks.resnext import ResNeXt

SMALL = ResNeXtSettings(blocks=(1, 2, 1, 1), groups=2, group_width=4, stem_width=8, out_width=16, freeze_at=0)
STRIDES = (4, 8, 16, 32)
KINDS = [
    {"norm": "FrozenBN"},
    {"norm": "GN"},
    {"norm": "BN"},
    {"deformable": ("", "", "", "")},
    {"deformable": ("plain", "modulated", "", "modulated")},
]


def trunk(strides=STRIDES, inputs=3, **changes):
    """A small trunk whose norms and offsets are not what they start as."""
    torch.manual_seed(0)
    made = ResNeXt(SMALL.model_copy(update=changes), strides, inputs)
    with torch.no_grad():
        for name, module in made.named_modules():
            if isinstance(module, (FrozenBatchNorm2d, nn.BatchNorm2d)):
                for values, low, high in (
                    ("weight", 0.5, 1.5),
                    ("bias", -0.2, 0.2),
                    ("running_mean", -0.2, 0.2),
                    ("running_var", 0.5, 1.5),
                ):
                    getattr(module, values).uniform_(low, high)
            if name.endswith("conv2_offset"):
                module.weight.normal_(std=0.1)
                module.bias.uniform_(-1.5, 1.5)
    return made


def random_image(inputs=3, height=64, width=96):
    return torch.randn(2, inputs, height, width, generator=torch.Generator().manual_seed(0))


def block_by_definition(block, x):
    """What a bottleneck computes, in torchvision's operators."""

    def normed(conv, y):
        return y if conv.norm is None else conv.norm(y)

    inner = functional.relu(normed(block.conv1, functional.conv2d(x, block.conv1.weight)))
    conv = block.conv2
    if block.conv2_offset is None:
        moved = functional.conv2d(inner, conv.weight, None, conv.stride, 1, groups=conv.groups)
    else:
        moves = block.conv2_offset(inner)
        mask = moves[:, 18:].sigmoid() if moves.shape[1] == 27 else None
        moved = deform_conv2d(inner, moves[:, :18], conv.weight, None, conv.stride, 1, mask=mask)
    inner = functional.relu(normed(conv, moved))
    inner = normed(block.conv3, functional.conv2d(inner, block.conv3.weight))
    if block.shortcut is not None:
        x = normed(block.shortcut, functional.conv2d(x, block.shortcut.weight, None, block.shortcut.stride))
    return functional.relu(inner + x)


@pytest.mark.parametrize("changes", KINDS)
def test_features_and_gradients_are_those_of_the_definition(changes):
    net = trunk(**changes).double().eval()
    image = random_image().double()
    ours = net(image)
    sum(f.square().sum() for f in ours).backward()
    gradients = {name: p.grad.clone() for name, p in net.named_parameters()}
    net.zero_grad()
    stem = net.stem.conv1
    x = functional.relu(stem.norm(functional.conv2d(image, stem.weight, None, 2, 3)))
    x = functional.max_pool2d(x, 3, 2, 1)
    theirs = []
    for stage in ("res2", "res3", "res4", "res5"):
        for block in net.get_submodule(stage):
            x = block_by_definition(block, x)
        theirs.append(x)
    assert [tuple(f.shape) for f in ours] == [(2, 16, 16, 24), (2, 32, 8, 12), (2, 64, 4, 6), (2, 128, 2, 3)]
    assert net.channels == [16, 32, 64, 128]
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other, atol=1e-9, rtol=1e-9)
    sum(f.square().sum() for f in theirs).backward()
    for name, p in net.named_parameters():
        torch.testing.assert_close(gradients[name], p.grad, atol=1e-6, rtol=1e-8, msg=lambda text, name=name: f"{name}: {text}")
        assert p.grad.any(), name


def test_names_are_detectron2s():
    names = {name for name in trunk(deformable=("", "modulated", "plain", "")).state_dict() if name.startswith("res3.0.")}
    norm = {f"norm.{value}" for value in ("weight", "bias", "running_mean", "running_var")}
    convolutions = {f"res3.0.{conv}.{value}" for conv in ("shortcut", "conv1", "conv2", "conv3") for value in {"weight", *norm}}
    assert names == convolutions | {"res3.0.conv2_offset.weight", "res3.0.conv2_offset.bias"}


def test_a_deformable_convolution_starts_as_a_plain_one():
    made = {}
    for kind in ("", "plain", "modulated"):
        torch.manual_seed(0)
        made[kind] = ResNeXt(SMALL.model_copy(update={"deformable": ("", kind, "", "")}), (4, 8), 1)
    plain = {name: value for name, value in made["plain"].state_dict().items() if "conv2_offset" not in name}
    made[""].load_state_dict(plain)
    with torch.no_grad():
        for mine, other in zip(made["plain"](random_image(1)), made[""](random_image(1)), strict=True):
            torch.testing.assert_close(mine, other)
        # Modulation starts at one half.
        made["modulated"].load_state_dict(plain, strict=False)
        x = made[""].stem(random_image(1))
        for block in made[""].res2:
            x = block(x)
        first, half = made[""].res3[0], made["modulated"].res3[0]
        inner = first.conv1(x)
        torch.testing.assert_close(half._middle(inner), first.conv2(inner) / 2)


@pytest.mark.parametrize("strides", [(4, 8), (8, 16), (32,)])
def test_stages_beyond_the_coarsest_stride_are_not_built(strides):
    net = trunk(strides)
    assert [f.shape[3] for f in net(random_image())] == [96 // s for s in strides]
    assert hasattr(net, "res5") == (32 in strides)
    sum(f.sum() for f in net(random_image())).backward()
    assert all(p.grad is not None for p in net.parameters())


@pytest.mark.parametrize("freeze_at", range(6))
@pytest.mark.parametrize("norm", ["FrozenBN", "BN", "GN"])
def test_what_is_held_gets_no_gradient_and_keeps_its_statistics(freeze_at, norm):
    net = trunk(freeze_at=freeze_at, norm=norm).train()
    before = {name: buffer.clone() for name, buffer in net.named_buffers()}
    sum(f.square().sum() for f in net(random_image().requires_grad_())).backward()
    held = tuple(f"{part}." for part in ("stem", "res2", "res3", "res4", "res5")[:freeze_at])
    for name, p in net.named_parameters():
        assert (p.grad is None) == name.startswith(held), name
    for name, buffer in net.named_buffers():
        moves = norm == "BN" and not name.startswith(held)
        assert torch.equal(buffer, before[name]) != moves, name


def test_batch_norm_in_training_uses_the_batch_and_in_evaluation_its_statistics():
    net = trunk(norm="BN")
    image = random_image()
    in_training = net.train()(image)
    net.eval()
    with torch.no_grad():
        together, alone = net(image)[3], net(image[:1])[3]
    torch.testing.assert_close(together[:1], alone, atol=1e-4, rtol=1e-4)
    assert (in_training[3] - together).abs().max() > 0.1


@pytest.mark.parametrize("changes", [{}, {"freeze_at": 2}, {"norm": "GN", "deformable": ("", "modulated", "modulated", "plain")}])
def test_computing_again_gives_the_same_gradients(changes):
    found = []
    for recompute in (False, True):
        net = trunk(recompute=recompute, **changes).train()
        features = net(random_image())
        sum(f.square().sum() for f in features).backward()
        found.append([*features, *(p.grad for p in net.parameters() if p.grad is not None)])
    for kept, again in zip(*found, strict=True):
        torch.testing.assert_close(again, kept, atol=1e-5, rtol=1e-5)


def test_computing_again_keeps_fewer_values():
    kept = []
    for recompute in (False, True):
        sizes = []
        net = trunk(recompute=recompute, blocks=(3, 3, 3, 3)).train()
        with torch.autograd.graph.saved_tensors_hooks(lambda t, sizes=sizes: sizes.append(t.numel()) or t, lambda t: t):
            net(random_image())
        kept.append(sum(sizes))
    assert kept[1] < kept[0] / 2


def test_in_bfloat16_the_features_stay_close():
    net = trunk().eval()
    with torch.no_grad():
        plain = net(random_image())
        with torch.autocast("cpu", torch.bfloat16):
            rounded = net(random_image())
    for mine, other in zip(rounded, plain, strict=True):
        assert (mine.float() - other).norm() < 0.1 * other.norm()


def test_settings_that_no_network_meets():
    with pytest.raises(InputError, match=r"^model\.backbone\.strides: a ResNeXt has no feature at stride \[2\], it has \[4, 8, 16, 32\]"):
        trunk((2, 4))
    with pytest.raises(InputError, match=r"^model\.backbone\.trunk\.kind: no packaged ImageNet weights for a ResNeXt"):
        Backbone(BackboneSettings(trunk=SMALL), pretrained=True)
    with pytest.raises(ValidationError, match="twice: give FrozenBN or GN"):
        ResNeXtSettings(norm="BN", recompute=True)
    with pytest.raises(ValidationError, match="freeze_at"):
        ResNeXtSettings(freeze_at=6)
