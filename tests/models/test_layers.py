import pytest
import torch
from timm.layers.conv2d_same import Conv2dSame
from torch import nn

from somaseg.models.layers import ConvBlock, DepthwiseConv2d


def random_input(height, width):
    return torch.randn(2, 6, height, width, generator=torch.Generator().manual_seed(0)).requires_grad_()


def gradients(layer, conv, x):
    """Output, and gradients of the input and of the parameters."""
    y = layer(x)
    y.float().square().sum().backward()
    found = [y.detach(), x.grad, *(p.grad for p in conv.parameters())]
    x.grad = None
    conv.zero_grad()
    return found


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("size", [(9, 8), (7, 11)])
def test_depthwise_equals_convolution(size, stride, bias):
    conv = nn.Conv2d(6, 6, 3, stride=stride, padding=1, groups=6, bias=bias)
    layer, x = DepthwiseConv2d(conv, same=False), random_input(*size)
    for ours, theirs in zip(gradients(layer, conv, x), gradients(conv, conv, x), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("size", [(8, 10), (7, 9), (7, 8), (8, 9)])
def test_depthwise_pads_as_tensorflow_does(size, stride, kernel):
    conv = Conv2dSame(6, 6, kernel, stride=stride, groups=6)
    layer, x = DepthwiseConv2d(conv, same=True), random_input(*size)
    for ours, theirs in zip(gradients(layer, conv, x), gradients(conv, conv, x), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)


def test_gradient_under_autocast_is_close_to_that_of_float32():
    conv = nn.Conv2d(6, 6, 3, padding=1, groups=6)
    layer, x = DepthwiseConv2d(conv, same=False), random_input(16, 16)
    exact = gradients(conv, conv, x)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = gradients(layer, conv, x)
        with torch.no_grad():
            inferred = layer(x)
    assert rounded[0].dtype == inferred.dtype == torch.bfloat16
    assert {g.dtype for g in rounded[1:]} == {torch.float32}
    torch.testing.assert_close(inferred, rounded[0])
    for ours, theirs in zip(rounded, exact, strict=True):
        assert (ours - theirs).norm() < 0.02 * theirs.norm()


def test_a_frozen_depthwise_convolution_still_passes_the_gradient_on():
    conv = nn.Conv2d(6, 6, 3, padding=1, groups=6).requires_grad_(False)
    x = random_input(8, 8)
    _, ours, weight, bias = gradients(DepthwiseConv2d(conv, same=False), conv, x)
    assert weight is bias is None
    torch.testing.assert_close(ours, gradients(conv, conv, x)[1], atol=1e-4, rtol=1e-4)


def test_the_parameters_have_detectron2_names():
    assert set(ConvBlock(4, 8, 3).state_dict()) == {"weight", "bias"}
    assert set(ConvBlock(4, 8, 3, norm="GN").state_dict()) == {"weight", "norm.weight", "norm.bias"}


@pytest.mark.parametrize(("width", "groups"), [(8, 8), (32, 32), (48, 16), (96, 32), (256, 32)])
def test_groups_divide_the_channels(width, groups):
    assert ConvBlock(4, width, 1, norm="GN").norm.num_groups == groups


@pytest.mark.parametrize("relu", [False, True])
def test_a_frozen_norm_is_part_of_the_convolution(relu):
    block = ConvBlock(6, 8, 3, stride=2, groups=2, norm="FrozenBN", relu=relu)
    random = torch.Generator().manual_seed(1)
    for values, low, high in (("weight", 0.5, 1.5), ("bias", -1, 1), ("running_mean", -1, 1), ("running_var", 0.5, 1.5)):
        getattr(block.norm, values).uniform_(low, high, generator=random)
    x = random_input(9, 8)
    expected = block.norm(nn.functional.conv2d(x, block.weight, None, 2, 1, groups=2))
    expected = nn.functional.relu(expected) if relu else expected
    torch.testing.assert_close(block(x), expected, atol=1e-5, rtol=1e-4)
    assert set(block.state_dict()) == {"weight", *(f"norm.{name}" for name in ("weight", "bias", "running_mean", "running_var"))}
    assert [name for name, _ in block.named_parameters()] == ["weight"]


@pytest.mark.parametrize("width", [8, 96, 128])
def test_group_norm_and_relu_follow_the_convolution(width):
    block = ConvBlock(6, width, 3, stride=2, norm="GN", relu=True)
    x = random_input(9, 8).detach()
    expected = nn.functional.relu(block.norm(nn.functional.conv2d(x, block.weight, None, 2, 1)))
    torch.testing.assert_close(block(x), expected)
    assert block(x).shape == (2, width, 5, 4)
