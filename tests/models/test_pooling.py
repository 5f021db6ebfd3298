import pytest
import torch
from torchvision.ops import roi_align

from somaseg.models.pooling import Planes, roi_pool


def random_boxes(count, height, width, seed=0):
    """Boxes of all sizes from a fifth of a pixel on, many of them partly outside."""
    random = torch.Generator().manual_seed(seed)
    low = torch.rand(count, 2, generator=random) * 1.4 - 0.3
    sides = torch.rand(count, 2, generator=random) ** 2 + 0.01
    return torch.cat([low, low + sides], dim=1) * torch.tensor([width, height, width, height])


def random_level(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).requires_grad_()


def align(level, image, boxes, size, ratio):
    return roi_align(level, torch.cat([image[:, None].float(), boxes], dim=1), size, 1.0, ratio, aligned=True)


def assert_same_with_gradient(ours, theirs, levels):
    torch.testing.assert_close(ours, theirs, atol=2e-5, rtol=1e-4)
    weight = torch.randn(ours.shape, generator=torch.Generator().manual_seed(9))
    for mine, other in zip(
        torch.autograd.grad((ours * weight).sum(), levels), torch.autograd.grad((theirs * weight).sum(), levels), strict=True
    ):
        torch.testing.assert_close(mine, other, atol=1e-4, rtol=1e-4)


def test_bins_of_one_pixel_read_that_pixel():
    plane = torch.arange(16.0).view(1, 1, 4, 4)
    pooled = roi_pool(Planes.from_levels([plane]), torch.tensor([0]), torch.tensor([[1.0, 1.0, 3.0, 3.0]]), 2)
    assert pooled.tolist() == [[[[5, 6], [9, 10]]]]


@pytest.mark.parametrize("ratio", [0, 1, 2])
def test_equals_torchvision(ratio):
    level = random_level(2, 3, 20, 24)
    boxes, image = random_boxes(12, 20, 24), torch.arange(12) % 2
    ours = roi_pool(Planes.from_levels([level]), image, boxes, 4, ratio)
    assert_same_with_gradient(ours, align(level, image, boxes, 4, ratio), [level])


@pytest.mark.parametrize("ratio", [0, 2])
def test_every_box_reads_its_level_and_image(ratio):
    levels = [random_level(2, 3, 20, 24, seed=1), random_level(2, 3, 10, 12, seed=2)]
    boxes = torch.cat([random_boxes(6, 20, 24, seed=3), random_boxes(6, 10, 12, seed=4)])
    level, image = torch.arange(12) // 6, torch.arange(12) % 2
    mixed = torch.randperm(12, generator=torch.Generator().manual_seed(5))
    ours = roi_pool(Planes.from_levels(levels), (level * 2 + image)[mixed], boxes[mixed], 3, ratio)
    theirs = torch.cat([align(levels[n], image[level == n], boxes[level == n], 3, ratio) for n in (0, 1)])[mixed]
    assert_same_with_gradient(ours, theirs, levels)


def test_no_box():
    level = random_level(1, 3, 5, 5)
    pooled = roi_pool(Planes.from_levels([level]), torch.zeros(0, dtype=torch.int64), torch.zeros(0, 4), 7)
    assert pooled.shape == (0, 3, 7, 7)
    pooled.sum().backward()
    assert not level.grad.any()


def test_features_in_bfloat16_are_pooled_in_float32():
    level = torch.randn(1, 3, 12, 12, generator=torch.Generator().manual_seed(0)).bfloat16().requires_grad_()
    boxes, image = random_boxes(5, 12, 12), torch.zeros(5, dtype=torch.int64)
    with torch.autocast("cpu", torch.bfloat16):
        pooled = roi_pool(Planes.from_levels([level]), image, boxes, 4)
    assert pooled.dtype == torch.float32
    torch.testing.assert_close(pooled, align(level.detach().float(), image, boxes, 4, 0), atol=2e-5, rtol=1e-4)
    pooled.sum().backward()
    assert level.grad.dtype == torch.bfloat16
    assert level.grad.abs().sum() > 0


def test_inference_mode():
    level = random_level(1, 3, 12, 12)
    boxes, image = random_boxes(5, 12, 12), torch.zeros(5, dtype=torch.int64)
    plain = roi_pool(Planes.from_levels([level]), image, boxes, 4)
    with torch.inference_mode():
        inferred = roi_pool(Planes.from_levels([level * 1]), image, boxes * 1, 4)
    torch.testing.assert_close(inferred, plain)


def test_zeros_fill_up_to_a_multiple():
    level = random_level(1, 3, 12, 12)
    boxes, image = random_boxes(5, 12, 12), torch.zeros(5, dtype=torch.int64)
    plain, filled = (roi_pool(Planes.from_levels([level]), image, boxes, 4, multiple=n) for n in (1, 8))
    assert filled.shape == (8, 3, 4, 4)
    torch.testing.assert_close(filled[:5], plain)
    assert not filled[5:].any()
    filled.square().sum().backward()
    assert torch.isfinite(level.grad).all()
