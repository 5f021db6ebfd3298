import math

import pytest
import torch

from somaseg.config import RpnSettings
from somaseg.errors import InputError
from somaseg.models import boxes as bx
from somaseg.models.rpn import WEIGHTS, Rpn, RpnHead, anchors_of_level
from tiny import RPN, target

STRIDES = (4, 8, 16)


def random_levels(images=2, side=64, seed=0):
    random = torch.Generator().manual_seed(seed)
    return [torch.randn(images, 8, side // s, side // s, generator=random).requires_grad_() for s in STRIDES]


def wide_awake(rpn):
    """Weights large enough that the boxes differ and move."""
    torch.manual_seed(0)
    for layer in (rpn.rpn_head.conv, rpn.rpn_head.objectness_logits, rpn.rpn_head.anchor_deltas):
        torch.nn.init.normal_(layer.weight, std=0.2)
    return rpn


def test_anchors_of_two_pixels():
    # Ratio 4 is four times as high as wide, at the same area; centres are multiples of the stride.
    anchors = anchors_of_level((8.0,), (1.0, 4.0), 4, (1, 2), torch.device("cpu"))
    assert anchors.tolist() == [[-4, -4, 4, 4], [-2, -8, 2, 8], [0, -4, 8, 4], [2, -8, 6, 8]]
    below = anchors_of_level((8.0, 3.0), (1.0,), 5, (2, 1), torch.device("cpu"))
    assert below.tolist() == [[-4, -4, 4, 4], [-1.5, -1.5, 1.5, 1.5], [-4, 1, 4, 9], [-1.5, 3.5, 1.5, 6.5]]


def test_head_gives_its_values_in_the_order_of_the_anchors():
    head = RpnHead(8, 2)
    for parameter in head.parameters():
        torch.nn.init.zeros_(parameter)
    head.objectness_logits.bias.data = torch.tensor([1.0, 2])
    head.anchor_deltas.bias.data = torch.arange(8.0)
    objectness, deltas = head([torch.ones(1, 8, 2, 3)])
    assert objectness[0].tolist() == [[1, 2] * 6]
    assert deltas[0].tolist() == [[[0, 1, 2, 3], [4, 5, 6, 7]] * 6]


@pytest.mark.parametrize("training", [True, False])
def test_proposals_are_sorted_inside_and_few(training):
    rpn = wide_awake(Rpn(RPN.model_copy(update={"train_post_nms": 11, "post_nms": 17}), 8, STRIDES)).train(training)
    sizes = [(64, 50), (33, 64)]
    for (boxes, logits), (height, width) in zip(rpn(random_levels(), sizes)[0], sizes, strict=True):
        assert len(boxes) == len(logits) == (11 if training else 17)
        assert (logits.diff() <= 0).all()
        assert bx.nonempty(boxes).all()
        assert (boxes >= 0).all()
        assert (boxes <= torch.tensor([width, height, width, height])).all()
        assert not boxes.requires_grad


def test_nms_works_within_each_level():
    settings = RpnSettings(sizes=((20.0,),), ratios=(1.0,), nms_iou=0.3, pre_nms=40, post_nms=40)
    rpn = wide_awake(Rpn(settings, 8, (4,))).eval()
    ((boxes, _),), _ = rpn([random_levels(1)[0]], [(64, 64)])
    assert 1 < len(boxes) < 40
    assert (bx.iou(boxes, boxes) - torch.eye(len(boxes))).max() <= 0.3
    twice = Rpn(RpnSettings(sizes=((20.0,), (20.0,)), ratios=(1.0,), nms_iou=0.3, pre_nms=40, post_nms=80), 8, (4, 4)).eval()
    twice.load_state_dict(rpn.state_dict())
    ((doubled, _),), _ = twice([random_levels(1)[0]] * 2, [(64, 64)])
    assert len(doubled) == 2 * len(boxes)


def test_losses_of_an_image_without_cells():
    # All logits are 0, so every one of the 32 sampled anchors costs log 2, and there is no box to learn.
    rpn = Rpn(RPN, 8, STRIDES)
    torch.nn.init.zeros_(rpn.rpn_head.objectness_logits.weight)
    levels = random_levels()
    _, losses = rpn(levels, [(64, 64)] * 2, [target([]), target([])])
    assert losses["loss_rpn_cls"].item() == pytest.approx(math.log(2), rel=1e-5)
    assert losses["loss_rpn_loc"].item() == 0
    sum(losses.values()).backward()
    assert all(torch.isfinite(p.grad).all() for p in rpn.parameters())


def test_perfect_logits_and_deltas_cost_nothing():
    rpn = Rpn(RPN, 8, STRIDES)
    anchors = rpn.anchors(random_levels())
    truths = [target([(10, 10, 30, 24), (31, 20, 60, 62)]), target([(0, 0, 64, 64)])]
    flat = torch.cat(anchors)
    logits, deltas = torch.zeros(2, len(flat)), torch.zeros(2, len(flat), 4)
    for image, truth in enumerate(truths):
        cell, kind = bx.match(bx.iou(truth["boxes"], flat), RPN.positive_iou, RPN.negative_iou, keep_best=True)
        assert (kind == 1).any()
        logits[image] = kind.float() * 60 - 30
        deltas[image] = bx.encode(flat, truth["boxes"][cell], WEIGHTS)
    counts = [len(a) for a in anchors]
    perfect = rpn.losses(anchors, list(logits.split(counts, dim=1)), list(deltas.split(counts, dim=1)), truths)
    assert perfect["loss_rpn_cls"].item() < 1e-6
    assert perfect["loss_rpn_loc"].item() < 1e-6
    wrong = rpn.losses(anchors, list((-logits).split(counts, dim=1)), list((deltas + 1).split(counts, dim=1)), truths)
    assert wrong["loss_rpn_cls"].item() == pytest.approx(30, rel=1e-4)
    assert wrong["loss_rpn_loc"].item() > 0.01


@pytest.mark.parametrize("sizes", [((16,), (32,)), ((16,), (32, 40), (64,)), ()])
def test_sizes_must_fit_the_levels(sizes):
    with pytest.raises(InputError, match=r"rpn\.sizes: .* as many sizes on each of the 3 levels"):
        Rpn(RPN.model_copy(update={"sizes": sizes}), 8, STRIDES)
