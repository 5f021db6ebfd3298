import copy
import pickle

import pytest
import torch
from torch import nn

from somaseg.config import HeadSettings, TimmSettings
from somaseg.models import packed
from somaseg.models.layers import ConvBlock, FrozenBatchNorm2d
from somaseg.models.packed import Packed, can_fuse, is_plain_inference
from somaseg.models.roi_heads import BoxHead
from somaseg.models.trunks.timm_trunk import TimmTrunk


def features(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(0)).contiguous(memory_format=torch.channels_last)


def both_ways(module, x, monkeypatch, bf16):
    """What it gives with the operators of oneDNN and without."""
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        fused = module(x)
        with monkeypatch.context() as patch:
            patch.setattr(packed, "is_plain_inference", lambda _: False)
            patch.setattr("somaseg.models.roi_heads.is_plain_inference", lambda _: False)
            return fused, module(x)


@pytest.fixture(params=[False, True], ids=["float32", "bfloat16"])
def bf16(request):
    return request.param


def assert_same(fused, plain, bf16):
    assert fused.dtype == plain.dtype
    torch.testing.assert_close(fused, plain, rtol=0.02 if bf16 else 1e-4, atol=(0.02 if bf16 else 1e-5) * float(plain.abs().max()))


@pytest.mark.parametrize("norm", ["", "FrozenBN", "GN"])
@pytest.mark.parametrize("stride", [1, 2])
def test_a_block_of_convolution_norm_and_activation(norm, stride, bf16, monkeypatch):
    block = ConvBlock(32, 32, 3, stride=stride, norm=norm, relu=True).eval()
    if norm == "FrozenBN":
        block.norm.running_var.uniform_(0.5, 2)
        block.norm.bias.uniform_(-1, 1)
    assert_same(*both_ways(block, features(2, 32, 17, 20), monkeypatch, bf16), bf16)


@pytest.mark.parametrize("size", [(64, 96), (65, 97), (65, 96)])
def test_a_trunk_whose_padding_depends_on_the_size(size, bf16, monkeypatch):
    torch.manual_seed(0)
    trunk = TimmTrunk(TimmSettings(freeze_at=0), (4, 8, 16, 32), 1, pretrained=False).eval()
    fused, plain = both_ways(trunk, features(1, 1, *size), monkeypatch, bf16)
    for mine, other in zip(fused, plain, strict=True):
        assert_same(mine, other, bf16)


def test_a_box_head_reads_features_where_they_lie(bf16, monkeypatch):
    head = BoxHead(HeadSettings(), 16).eval()
    assert_same(*both_ways(head, features(32, 16, 7, 7), monkeypatch, bf16), bf16)
    assert_same(*both_ways(head, features(32, 16, 7, 7).contiguous(), monkeypatch, bf16), bf16)


def test_changed_weights_are_packed_again():
    block, image = ConvBlock(8, 8, 3).eval(), features(1, 8, 9, 9)
    with torch.inference_mode():
        before = block(image)
    with torch.no_grad():
        block.weight.mul_(2)
    with torch.inference_mode():
        torch.testing.assert_close(block(image), 2 * before)
        assert block.packed.get((block.weight,), None, lambda: (image,)) == (image,)
    block.load_state_dict({name: torch.zeros_like(value) for name, value in block.state_dict().items()})
    with torch.inference_mode():
        assert not block(image).any()


def test_made_once_for_the_same_weights_and_never_copied():
    made, kept = [], Packed()
    weight = torch.ones(3)
    for _ in range(2):
        kept.get((weight, None), "float", lambda: made.append(1) or (weight,))
    assert made == [1]
    for other in (copy.deepcopy(kept), pickle.loads(pickle.dumps(kept))):
        other.get((weight, None), "float", lambda: made.append(1) or (weight,))
    assert made == [1, 1, 1]


def test_who_wants_a_gradient_or_no_pixel_gets_plain_operators():
    image = features(1, 8, 9, 9)
    assert not is_plain_inference(image)
    with torch.no_grad():
        assert can_fuse(image)
        assert not can_fuse(image[:, :, :0])
        assert not can_fuse(image.double())


@pytest.mark.parametrize("asked", ["torch.jit.is_tracing", "torch.compiler.is_compiling"])
def test_a_trace_gets_plain_operators(asked, monkeypatch):
    monkeypatch.setattr(asked, lambda: True)
    with torch.no_grad():
        assert not is_plain_inference(features(1, 8, 9, 9))


def test_a_frozen_norm_by_itself_is_that_of_pytorch():
    ours, theirs = FrozenBatchNorm2d(4), nn.BatchNorm2d(4).eval()
    for name in ("weight", "bias", "running_mean", "running_var"):
        getattr(theirs, name).data.uniform_(0.5, 2)
    ours.load_state_dict({name: value for name, value in theirs.state_dict().items() if name != "num_batches_tracked"})
    image = features(2, 4, 5, 6)
    torch.testing.assert_close(ours(image), theirs(image).detach())
