import pytest
import torch
import torchvision
from torch.autograd import gradcheck

from somaseg.models.deform import deform_conv2d


def case(batch=2, channels=4, out=6, size=(7, 9), kernel=(3, 3), stride=1, padding=1, dilation=1, groups=2, moving=1, spread=1.5):
    """Arguments of both functions, in float64."""
    random = torch.Generator().manual_seed(0)
    height, width = ((s + 2 * padding - dilation * (k - 1) - 1) // stride + 1 for s, k in zip(size, kernel, strict=True))
    taps = kernel[0] * kernel[1] * moving
    shapes = {
        "x": (batch, channels, *size),
        "offset": (batch, 2 * taps, height, width),
        "weight": (out, channels // groups, *kernel),
        "bias": (out,),
        "mask": (batch, taps, height, width),
    }
    tensors = {name: torch.randn(shape, generator=random, dtype=torch.float64) for name, shape in shapes.items()}
    tensors["offset"] *= spread
    return tensors, {"stride": stride, "padding": padding, "dilation": dilation}, groups


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize(
    "change",
    [
        {},
        {"stride": 2, "size": (8, 7)},
        {"groups": 1, "padding": 0},
        {"dilation": 2, "padding": 2},
        {"kernel": (1, 1), "padding": 0},
        {"kernel": (3, 2), "size": (5, 6)},
        {"moving": 2},
        {"spread": 30.0},
        {"spread": 0.0},
        {"batch": 1, "size": (1, 1)},
    ],
    ids=str,
)
def test_equals_torchvision_in_values_and_gradients(change, masked):
    tensors, layout, groups = case(**change)
    if not masked:
        del tensors["mask"]
    random = torch.Generator().manual_seed(1)
    ours = [t.clone().requires_grad_() for t in tensors.values()]
    theirs = [t.clone().requires_grad_() for t in tensors.values()]
    mine = deform_conv2d(**dict(zip(tensors, ours, strict=True)), **layout, groups=groups)
    given = dict(zip(tensors, theirs, strict=True))
    other = torchvision.ops.deform_conv2d(given.pop("x"), **given, **layout)
    torch.testing.assert_close(mine, other)
    upstream = torch.randn(mine.shape, generator=random, dtype=mine.dtype)
    for a, b in zip(torch.autograd.grad(mine, ours, upstream), torch.autograd.grad(other, theirs, upstream), strict=True):
        torch.testing.assert_close(a, b)
    with torch.inference_mode():
        torch.testing.assert_close(deform_conv2d(**tensors, **layout, groups=groups), other)


def test_gradients_are_those_of_the_values():
    tensors, layout, groups = case(batch=1, size=(3, 4), out=2)
    leaves = [t.requires_grad_() for t in tensors.values()]
    assert gradcheck(lambda *of: deform_conv2d(**dict(zip(tensors, of, strict=True)), **layout, groups=groups), leaves, fast_mode=True)


def test_chunks_make_no_difference(monkeypatch):
    tensors, layout, groups = case()
    with torch.inference_mode():
        whole = deform_conv2d(**tensors, **layout, groups=groups)
        monkeypatch.setattr("somaseg.models.deform.AT_ONCE", 5)
        torch.testing.assert_close(deform_conv2d(**tensors, **layout, groups=groups), whole)


def test_without_offsets_it_is_a_convolution():
    tensors, layout, groups = case(spread=0.0)
    del tensors["mask"]
    plain = torch.nn.functional.conv2d(tensors["x"], tensors["weight"], tensors["bias"], **layout, groups=groups)
    torch.testing.assert_close(deform_conv2d(**tensors, **layout, groups=groups), plain)


def test_no_image():
    tensors, layout, groups = case(batch=0)
    assert deform_conv2d(**tensors, **layout, groups=groups).shape == (0, 6, 7, 9)


@pytest.mark.parametrize("far", [1e30, float("inf"), -float("inf")])
def test_offsets_at_any_distance_read_zeros(far):
    tensors, layout, groups = case()
    tensors["offset"].fill_(far)
    out = deform_conv2d(**tensors, **layout, groups=groups)
    torch.testing.assert_close(out, tensors["bias"].view(1, -1, 1, 1).expand_as(out))


def test_autocast_samples_in_float32_and_convolves_in_bfloat16():
    tensors, layout, groups = case(channels=8, out=8)
    leaves = {name: t.float().requires_grad_() for name, t in tensors.items()}
    exact = deform_conv2d(**leaves, **layout, groups=groups)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = deform_conv2d(**leaves | {"x": leaves["x"].bfloat16()}, **layout, groups=groups)
    assert rounded.dtype == torch.bfloat16
    torch.testing.assert_close(rounded.float(), exact, atol=0.1, rtol=0.05)
    rounded.float().sum().backward()
    assert all(torch.isfinite(leaf.grad).all() and leaf.grad.any() for leaf in leaves.values())


def test_output_is_channels_last():
    tensors, layout, groups = case()
    assert deform_conv2d(**tensors, **layout, groups=groups).is_contiguous(memory_format=torch.channels_last)


def test_memory_of_the_weight_makes_no_difference():
    # Kept by a model in channels-last memory, its taps are not contiguous, and a grouped convolution of PyTorch's misreads it.
    random = torch.Generator().manual_seed(0)
    x, offset = torch.randn(1, 16, 9, 8, generator=random), torch.randn(1, 18, 9, 8, generator=random)
    weight = torch.randn(16, 4, 3, 3, generator=random)
    plain = deform_conv2d(x, offset, weight, padding=1, groups=4)
    moved = deform_conv2d(x, offset, weight.contiguous(memory_format=torch.channels_last), padding=1, groups=4)
    torch.testing.assert_close(moved, plain)
