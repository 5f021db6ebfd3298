import math

import numpy as np
import pytest
import torch

from hard_crops import CROPS
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


IOU_CASES = {  # an anchor of 16 x 16 at (24, 24), the deltas that move it, and the IoU with its cell (24, 24, 40, 40)
    "in place": ([0, 0, 0, 0], 1.0),
    "half a side to the right": ([0.5, 0, 0, 0], 1 / 3),
    "twice as high": ([0, 0, 0, math.log(2)], 0.5),
    "beside the cell": ([0, 1, 0, 0], 0.0),
}


@pytest.mark.parametrize(("move", "quality"), IOU_CASES.values(), ids=IOU_CASES.keys())
def test_iou_objectness_learns_how_well_the_moved_anchor_covers_its_cell(move, quality):
    # One anchor, which is a cell; at a logit of z its cost is log(1 + exp(z)) - quality * z, least where sigmoid(z) is the quality.
    rpn = Rpn(RpnSettings(sizes=((16,),), ratios=(1.0,), samples=2, objectness="iou"), 8, (32,))
    anchors = [torch.tensor([[24.0, 24, 40, 40]])]
    for z in (-1.0, 0.0, 2.0):
        logit, delta = torch.full((1, 1), z, requires_grad=True), torch.tensor([[move]]).float().requires_grad_()
        losses = rpn.losses(anchors, [logit], [delta], [target([(24, 24, 40, 40)])])
        assert losses["loss_rpn_cls"].item() == pytest.approx((math.log(1 + math.exp(z)) - quality * z) / 2, abs=1e-6)
        slope, none = torch.autograd.grad(losses["loss_rpn_cls"], [logit, delta], retain_graph=True, materialize_grads=True)
        assert slope.item() == pytest.approx((1 / (1 + math.exp(-z)) - quality) / 2, abs=1e-6)
        assert not none.any()  # boxes do not learn to be as bad as they are taken for
        assert losses["loss_rpn_loc"].item() == pytest.approx(sum(map(abs, move)) / 2, abs=1e-6)


@pytest.mark.parametrize("cells", CROPS.values(), ids=CROPS.keys())
def test_the_two_kinds_of_objectness_share_background_and_boxes(cells):
    # Without deltas a positive anchor's IoU is what it was matched by, so between the least IoU of a match and 1.
    rpns = [Rpn(RPN.model_copy(update={"samples": 10000, "objectness": kind}), 8, STRIDES) for kind in ("binary", "iou")]
    anchors = rpns[0].anchors(random_levels())
    logits = [torch.zeros(1, len(a), requires_grad=True) for a in anchors]
    deltas = [torch.zeros(1, len(a), 4) for a in anchors]
    slopes, boxes = [], []
    for rpn in rpns:
        torch.manual_seed(0)
        losses = rpn.losses(anchors, logits, deltas, [target(cells)])
        boxes.append(losses["loss_rpn_loc"])
        slopes.append(torch.cat(torch.autograd.grad(losses["loss_rpn_cls"], logits), dim=1)[0] * 10000)
    assert boxes[0] == boxes[1]
    is_cell = slopes[0] < 0
    torch.testing.assert_close(slopes[1][~is_cell], slopes[0][~is_cell])
    if len(cells):
        best = bx.iou(target(cells)["boxes"], torch.cat(anchors)).amax(dim=0)
        torch.testing.assert_close(slopes[1][is_cell], 0.5 - best[is_cell], atol=1e-5, rtol=1e-4)
    assert bool(is_cell.any()) == bool(len(cells))


def test_all_the_best_anchors_of_a_small_cell_are_cells():
    # A pixel lies in 16 anchors of the fine level, which it fills equally little; larger anchors it fills even less.
    rpn = Rpn(RPN.model_copy(update={"samples": 1000, "positive_share": 1.0}), 8, STRIDES)
    anchors = rpn.anchors(random_levels())
    zeros = [torch.zeros(1, len(a), requires_grad=True) for a in anchors]
    losses = rpn.losses(anchors, zeros, [torch.zeros(1, len(a), 4) for a in anchors], [target([(20, 20, 21, 21)])])
    slopes = torch.autograd.grad(losses["loss_rpn_cls"], zeros)
    wanted = [box for box, slope in zip(anchors[0].tolist(), slopes[0][0], strict=True) if slope < 0]
    assert wanted == [[x - 8, y - 8, x + 8, y + 8] for y in (16, 20, 24, 28) for x in (16, 20, 24, 28)]
    assert (torch.cat(slopes[1:], dim=1) > 0).all()


def test_anchors_in_ignored_regions_are_no_background():
    # All anchors that count are drawn. The cell is ignored ground too, and its anchors learn it all the same.
    rpn = Rpn(RPN.model_copy(update={"samples": 1000, "positive_share": 1.0}), 8, STRIDES)
    anchors = rpn.anchors(random_levels())
    (x0, y0, x1, y1), cell = (10, 6, 45, 30), (20, 8, 36, 24)
    zeros = [torch.zeros(1, len(a), requires_grad=True) for a in anchors]
    deltas = [torch.zeros(1, len(a), 4) for a in anchors]
    losses = rpn.losses(anchors, zeros, deltas, [target([cell], ignored=[(x0, y0, x1, y1), (60, 60, 64, 64)])])
    slopes = torch.cat(torch.autograd.grad(losses["loss_rpn_cls"], zeros), dim=1)[0].tolist()
    kinds = bx.match(bx.iou(torch.tensor([cell]).float(), torch.cat(anchors)), RPN.positive_iou, RPN.negative_iou, keep_best=True)[
        1
    ].tolist()
    left_out = 0
    for (ax0, ay0, ax1, ay1), slope, kind in zip(torch.cat(anchors).tolist(), slopes, kinds, strict=True):
        inside = max(0, min(ax1, x1) - max(ax0, x0)) * max(0, min(ay1, y1) - max(ay0, y0)) / ((ax1 - ax0) * (ay1 - ay0))
        if kind == 0 and inside >= 0.5:
            left_out += 1
            kind = -1
        assert slope == pytest.approx({1: -0.5, 0: 0.5, -1: 0}[kind] / 1000)
    assert left_out > 10
    assert kinds.count(1) > 0
    whole = rpn.losses(anchors, zeros, deltas, [target([cell])])
    assert losses["loss_rpn_cls"].item() == pytest.approx(whole["loss_rpn_cls"].item() - left_out * math.log(2) / 1000, rel=1e-5)
    assert losses["loss_rpn_loc"] == whole["loss_rpn_loc"] > 0


def test_losses_of_an_image_that_is_ignored_throughout():
    losses = Rpn(RPN, 8, STRIDES)(random_levels(1), [(64, 64)], [target([], ignored=[(-99, -99, 200, 200)])])[1]
    assert {float(loss.detach()) for loss in losses.values()} == {0}


def test_losses_are_sums_over_images_times_their_weights():
    rpn, levels = wide_awake(Rpn(RPN.model_copy(update={"samples": 1000, "positive_share": 1.0}), 8, STRIDES)), random_levels()
    cells = [(10, 10, 30, 24), (31, 20, 60, 62)], [(0, 0, 64, 64)]

    def losses(*weights):
        return rpn(levels, [(64, 64)] * 2, [target(c, weight=w) for c, w in zip(cells, weights, strict=True)])[1]

    first, second, both, mixed = losses(1, 0), losses(0, 1), losses(1, 1), losses(0.5, 3)
    for name in both:
        assert (gradient_by_image(first[name], levels) > 0).tolist() == [True, False]
        assert (gradient_by_image(second[name], levels) > 0).tolist() == [False, True]
        torch.testing.assert_close(first[name] + second[name], both[name])
        torch.testing.assert_close(0.5 * first[name] + 3 * second[name], mixed[name])
        alone = rpn([level[1:] for level in levels], [(64, 64)], [target(cells[1])])[1]
        torch.testing.assert_close(second[name], alone[name] / 2)  # samples of two images are counted


def losses_by_loops(anchors, cells, settings):
    """Sums over an image of what anchors cost when every output is 0 and every anchor that counts is drawn: an anchor at a time."""
    overlap = np.zeros((len(anchors), len(cells)))
    for n, (ax0, ay0, ax1, ay1) in enumerate(anchors):
        for m, (x0, y0, x1, y1) in enumerate(cells):
            shared = max(0, min(ax1, x1) - max(ax0, x0)) * max(0, min(ay1, y1) - max(ay0, y0))
            overlap[n, m] = shared / ((ax1 - ax0) * (ay1 - ay0) + (x1 - x0) * (y1 - y0) - shared)
    most = overlap.max(axis=0)
    classes = boxes = 0.0
    for (ax0, ay0, ax1, ay1), row in zip(anchors, overlap, strict=True):
        best = max(row, default=0)
        if best >= settings.positive_iou or any(share == top > 0 for share, top in zip(row, most, strict=True)):
            x0, y0, x1, y1 = cells[list(row).index(best)]
            moves = abs(x0 + x1 - ax0 - ax1) / (ax1 - ax0) / 2 + abs(y0 + y1 - ay0 - ay1) / (ay1 - ay0) / 2
            boxes += moves + abs(math.log((x1 - x0) / (ax1 - ax0))) + abs(math.log((y1 - y0) / (ay1 - ay0)))
            classes += math.log(2)
        elif best < settings.negative_iou:
            classes += math.log(2)
    return classes, boxes


@pytest.mark.parametrize("cells", CROPS.values(), ids=CROPS.keys())
def test_losses_are_sums_over_samples_and_images(cells):
    # Coarse levels, so that the loops have few anchors; the second image has no cell.
    settings = RpnSettings(sizes=((16,), (64,)), ratios=(1.0,), samples=1000, positive_share=1.0)
    rpn = Rpn(settings, 8, (8, 16))
    levels = [torch.zeros(2, 8, 8, 8), torch.zeros(2, 8, 4, 4)]
    anchors = rpn.anchors(levels)
    flat = torch.cat(anchors).tolist()
    classes, boxes = losses_by_loops(flat, cells, settings)
    losses = rpn.losses(anchors, *rpn.rpn_head(levels), [target(cells), target([])])
    assert losses["loss_rpn_cls"].item() == pytest.approx((classes + len(flat) * math.log(2)) / 2000, rel=1e-5)
    assert losses["loss_rpn_loc"].item() == pytest.approx(boxes / 2000, rel=1e-5)
    assert (boxes > 0) == bool(cells)


def gradient_by_image(loss, levels):
    """The sum of absolute slopes of a loss over all features of each image."""
    return sum(grad.abs().sum(dim=(1, 2, 3)) for grad in torch.autograd.grad(loss, levels, retain_graph=True))


@pytest.mark.parametrize("bf16", [False, True])
@pytest.mark.parametrize("cells", CROPS.values(), ids=CROPS.keys())
def test_losses_are_finite_and_only_cells_teach_boxes(cells, bf16):
    rpn, levels = wide_awake(Rpn(RPN, 8, STRIDES)), random_levels()
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        _, losses = rpn(levels, [(64, 64)] * 2, [target(cells), target([])])
    assert all(loss.dtype == torch.float32 and torch.isfinite(loss) for loss in losses.values())
    first, second = gradient_by_image(losses["loss_rpn_loc"], levels)
    assert bool(first > 0) == bool(cells)
    assert second == 0
    sum(losses.values()).backward()
    assert all(torch.isfinite(p.grad).all() for p in (*rpn.parameters(), *levels))
    assert rpn.rpn_head.objectness_logits.weight.grad.any()
    assert rpn.rpn_head.anchor_deltas.weight.grad.any() == bool(cells)


@pytest.mark.parametrize("sizes", [((16,), (32,)), ((16,), (32, 40), (64,)), ()])
def test_sizes_must_fit_the_levels(sizes):
    with pytest.raises(InputError, match=r"^model\.rpn\.sizes: .* as many sizes on each of the 3 levels"):
        Rpn(RPN.model_copy(update={"sizes": sizes}), 8, STRIDES)
