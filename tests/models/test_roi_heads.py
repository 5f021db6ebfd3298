import math

import numpy as np
import pytest
import torch
from torch.nn import functional

from drawing import draw
from hard_crops import CROPS
from small_heads import SIZE, STRIDES, constant_predictors, heads, random_boxes, random_levels
from somaseg.config import HeadSettings
from somaseg.models import boxes as bx
from somaseg.models import roi_heads
from somaseg.models.pooling import Planes
from somaseg.models.roi_heads import STAGE_WEIGHTS, Boxes, mean_over_processes, weighted_sum
from tiny import target


@pytest.mark.parametrize(("side", "level"), [(1, 0), (31.9, 0), (32, 1), (63.9, 1), (64, 2), (128, 2), (0, 0)])
def test_level_of_a_box(side, level):
    # Level 1 serves boxes of 32 pixels; each coarser level boxes twice the side. Every map holds 10 * image + its number.
    maps = [torch.stack([torch.full((8, 128 // s, 128 // s), 10.0 * i + n) for i in (0, 1)]) for n, s in enumerate(STRIDES)]
    box = torch.tensor([[0.0, 0, side, side]])
    pooled = heads().pool(Planes.from_levels(maps), 2, Boxes.join([box, box]), 7)[:2]
    torch.testing.assert_close(pooled, torch.tensor([level, 10.0 + level])[:, None, None, None].expand(2, 8, 7, 7))


def test_level_follows_the_area():
    maps = [torch.full((1, 8, 128 // s, 128 // s), float(n)) for n, s in enumerate(STRIDES)]
    pooled = heads().pool(Planes.from_levels(maps), 1, Boxes.join([torch.tensor([[0.0, 0, 16, 64]])]), 7)[:1]
    torch.testing.assert_close(pooled, torch.ones_like(pooled))


def gradient_by_image(loss, levels):
    """The sum of absolute slopes of a loss over all features of each image."""
    return sum(grad.abs().sum(dim=(1, 2, 3)) for grad in torch.autograd.grad(loss, levels, retain_graph=True))


@pytest.mark.parametrize(("norm", "bf16"), [("", False), ("GN", False), ("GN", True)])
@pytest.mark.parametrize("cells", CROPS.values(), ids=CROPS.keys())
def test_losses_are_finite_and_only_cells_teach_boxes_and_masks(cells, norm, bf16):
    # The second image has no cell; its boxes only teach what background is.
    head, levels = heads(norm=norm, box_convs=1, box_conv_width=16), random_levels(2)
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        losses = head.losses(levels, [random_boxes(20), random_boxes(20, 1)], [SIZE] * 2, [target(cells), target([])])
    assert set(losses) == {"loss_mask", *(f"loss_{kind}_stage{s}" for kind in ("cls", "box_reg") for s in range(3))}
    assert all(loss.dtype == torch.float32 and torch.isfinite(loss) for loss in losses.values())
    assert (gradient_by_image(losses["loss_cls_stage0"], levels) > 0).all()
    for name in ("loss_mask", "loss_box_reg_stage0"):
        assert bool(losses[name] > 0) == bool(cells)
        first, second = gradient_by_image(losses[name], levels)
        assert bool(first > 0) == bool(cells)
        assert second == 0
    sum(losses.values()).backward()
    assert all(torch.isfinite(p.grad).all() for p in (*head.parameters(), *levels))
    for predictor in head.box_predictor:
        assert predictor.cls_score.weight.grad.any()
    taught = (head.box_predictor[0].bbox_pred.weight, head.mask_head.predictor.weight, head.mask_head.deconv.weight)
    assert [bool(weight.grad.any()) for weight in taught] == [bool(cells)] * 3


def test_losses_are_means_over_the_boxes_of_the_batch():
    # One stage, and four boxes: a half of the cell and the cell itself, and background in either image. Class 1 has probability
    # 1 / 3, background 1 / 2; every delta in x is 1.
    cell, half, elsewhere = (0.0, 0, 20, 10), (0.0, 0, 11, 10), (40.0, 40, 60, 60)
    head = constant_predictors(heads(ious=(0.5,), positive_share=1), [[0.0, math.log(2), math.log(3)]], [[1.0, 0, 0, 0]])
    torch.nn.init.zeros_(head.mask_head.predictor.weight)
    head.mask_head.predictor.bias.data = torch.tensor([5.0, math.log(3)])  # a pixel of class 1 has probability 3 / 4
    truths = [target([cell], [draw(" ".join(["##########.........."] * 10))], [1]), target([])]
    losses = head.losses(random_levels(2), [torch.tensor([half, elsewhere]), torch.tensor([elsewhere])], [SIZE] * 2, truths)
    assert losses["loss_cls_stage0"].item() == pytest.approx((2 * math.log(3) + 2 * math.log(2)) / 4)
    # The half's centre must move by 4.5 of its 11 pixels in units of 1 / 10, its width grow to 20 in units of 1 / 5.
    missed = abs(1 - 10 * 4.5 / 11) + 5 * math.log(20 / 11) + 1
    assert losses["loss_box_reg_stage0"].item() == pytest.approx(missed / 4, rel=1e-5)
    # Of 28 columns the mask, 10 pixels wide, covers 14 in the box of the cell and 25 in that of 11 pixels (25.45 bins).
    inside = (14 + 25) / 56
    assert losses["loss_mask"].item() == pytest.approx(-inside * math.log(3 / 4) - (1 - inside) * math.log(1 / 4), rel=1e-5)


def test_losses_without_a_single_box():
    losses = heads().losses(random_levels(), [torch.zeros(0, 4)], [SIZE], [target([])])
    assert {float(loss.detach()) for loss in losses.values()} == {0}


def test_match_labels_by_class_or_background():
    truths = [target([(0, 0, 20, 10), (40, 0, 60, 10)], labels=[1, 0]), target([])]
    boxes = Boxes.join([torch.tensor([[0.0, 0, 11, 10], [40, 0, 60, 10], [20, 0, 40, 10]]), torch.tensor([[0.0, 0, 20, 10]])])
    matched = heads().match(boxes, truths, 0.5)
    assert matched.labels.tolist() == [1, 0, 2, 2]
    assert matched.cells[:2].tolist() == [0, 1]
    assert matched.goals[:2].tolist() == [[0, 0, 20, 10], [40, 0, 60, 10]]


GRID = [(10 * x, 10 * y, 10 * x + 8, 10 * y + 8) for y in range(25) for x in range(40)]

# Cells, their classes, boxes, and the cell of each box at an IoU of .5 (None is background). Two boxes of width w, moved by d along
# it, overlap by (w - d) / (w + d).
RELABELS = {
    "no cell": ([], [], [(0, 0, 20, 10), (3, 3, 4, 4)], [None, None]),
    "a cell of one pixel": ([(20, 20, 21, 21)], [1], [(20, 20, 21, 21), (20, 20, 22, 21), (20, 20, 22, 22)], [0, 0, None]),
    "the same cell twice, of two classes": ([(0, 0, 20, 10)] * 2, [1, 0], [(0, 0, 20, 10), (0, 0, 11, 10), (0, 0, 9, 10)], [0, 0, None]),
    "a cell larger than the crop": (
        [(0, 0, 64, 64), (8, 8, 20, 20)],
        [0, 1],
        [(0, 0, 64, 40), (0, 0, 64, 30), (8, 8, 20, 18)],
        [0, None, 1],
    ),
    "a thousand cells": (
        GRID,
        [i % 2 for i in range(1000)],
        [(x0 + (i % 4), y0, x1 + (i % 4), y1) for i, (x0, y0, x1, y1) in reversed(list(enumerate(GRID)))],  # 1, 7 / 9, 6 / 10, 5 / 11
        [None if i % 4 == 3 else i for i in reversed(range(1000))],
    ),
    "a crowd of overlaps": (
        [(i, 0, i + 20, 10) for i in range(10)],
        [i % 2 for i in range(10)],
        [(3, 0, 23, 10), (3.5, 0, 23.5, 10), (15, 0, 35, 10), (16, 0, 36, 10)],  # the last by 14 / 26 and 13 / 27
        [3, 3, 9, None],
    ),
}


@pytest.mark.parametrize(("cells", "classes", "boxes", "expected"), RELABELS.values(), ids=RELABELS.keys())
def test_labels_of_drawn_boxes(cells, classes, boxes, expected):
    matched = heads().match(Boxes.join([torch.tensor(boxes, dtype=torch.float32)]), [target(cells, labels=classes)], 0.5)
    assert matched.labels.tolist() == [2 if cell is None else classes[cell] for cell in expected]
    assert matched.goals.shape == (len(boxes), 4)
    for found, goal, cell in zip(matched.cells.tolist(), matched.goals.tolist(), expected, strict=True):
        assert cell is None or (found, tuple(goal)) == (cell, cells[cell])


def two_stages(first, second):
    """Heads of two stages, at IoU .5 and .6, that move every box by these deltas, given as shares of its sides."""
    deltas = [[d * w for d, w in zip(move, weights, strict=True)] for move, weights in zip((first, second), STAGE_WEIGHTS, strict=False)]
    return constant_predictors(heads(ious=(0.5, 0.6), positive_share=1), [[0.0, 0, 0]] * 2, deltas)


def test_a_box_that_stage_0_moves_onto_a_pixel_is_its_cell_in_stage_1():
    # The box of two pixels overlaps the cell by 1 / 2: at .5 a cell, at .6 background, unless it is halved towards the left. The
    # truth's own box, halved too, becomes half a pixel and background.
    for move in ((0, 0, 0, 0), (-0.25, 0, math.log(0.5), 0)):
        head = two_stages(move, (0, 0, 0.1, 0))
        losses = head.losses(random_levels(), [torch.tensor([[20.0, 20, 22, 21]])], [SIZE], [target([(20, 20, 21, 21)])])
        # Either way one of the two boxes is the cell exactly, and the other background.
        assert losses["loss_box_reg_stage1"].item() == pytest.approx(STAGE_WEIGHTS[1][2] * 0.1 / 2, rel=1e-4)


def test_a_box_moves_from_one_cell_of_a_crowd_to_the_next():
    # Stage 0 puts the boxes of the first and second of three cells where the second and third lie; the last leaves them all behind.
    cells = [(x, 0, x + 20, 10) for x in (0, 5, 10)]
    head = two_stages((0.25, 0, 0, 0), (0.1, 0, 0, 0))
    losses = head.losses(random_levels(), [torch.zeros(0, 4)], [SIZE], [target(cells)])
    # In stage 1 the last overlaps the third cell by 15 / 25, a cell still, which lies a quarter to its left.
    missed = STAGE_WEIGHTS[1][0] * (0.1 + 0.1 + (0.1 + 0.25))
    assert losses["loss_box_reg_stage1"].item() == pytest.approx(missed / 3, rel=1e-4)


def test_a_box_that_grows_beyond_the_crop_is_cut_before_it_is_labelled_again():
    # Stage 0 doubles the box of 50 pixels to 100; cut at the crop it is the cell, and every move of stage 1 is a mistake.
    head = two_stages((0, 0, math.log(2), math.log(2)), (0.1, 0, 0, 0))
    losses = head.losses(random_levels(), [torch.tensor([[7.0, 7, 57, 57]])], [SIZE], [target([(0, 0, 64, 64)])])
    assert losses["loss_box_reg_stage1"].item() == pytest.approx(STAGE_WEIGHTS[1][0] * 0.1, rel=1e-4)


def test_stages_relabel_at_their_own_iou():
    # Boxes that overlap the cell by .55, .65 and .75, and the cell itself; no stage moves them.
    cell = torch.tensor([[0.0, 0, 20, 10]])
    proposals = torch.tensor([[0.0, 0, 11, 10], [0, 0, 13, 10], [0, 0, 15, 10]])
    head = constant_predictors(heads(positive_share=1), [[0.0, 0, 0]] * 3, [[0.0, 0, 0, 0]] * 3)
    losses = head.losses(random_levels(), [proposals], [SIZE], [target([(0, 0, 20, 10)])])
    boxes = torch.cat([proposals, cell])
    for stage in range(3):
        cells = boxes[stage:]  # each higher IoU turns one more box into background
        missed = bx.encode(cells, cell.expand(len(cells), 4), STAGE_WEIGHTS[stage]).abs().sum() / len(boxes)
        torch.testing.assert_close(losses[f"loss_box_reg_stage{stage}"].detach(), missed)
        assert losses[f"loss_cls_stage{stage}"].item() == pytest.approx(np.log(3), rel=1e-5)


def test_a_box_that_leaves_the_image_is_dropped_by_the_next_stage():
    # Stage 0 moves every box by ten times its width; nothing is left for stages 1 and 2.
    head = constant_predictors(heads(), [[0.0, 0, 0]] * 3, [[100.0, 0, 0, 0], [0.0, 0, 0, 0], [0.0, 0, 0, 0]])
    losses = head.losses(random_levels(), [torch.tensor([[30.0, 30, 50, 50]])], [SIZE], [target([(30, 30, 50, 50)])])
    assert losses["loss_cls_stage0"] > 0
    assert losses["loss_cls_stage1"] == losses["loss_cls_stage2"] == 0


def test_background_in_ignored_regions_is_dropped():
    # The cell lies in its image's ignored region, and so do most, half and a third of the boxes below it.
    cell, most, half, third, elsewhere = (0, 0, 20, 10), (8, 0, 28, 10), (31, 0, 49, 10), (34, 0, 52, 10), (40, 40, 60, 60)
    boxes = torch.tensor([cell, most, half, third, elsewhere], dtype=torch.float32)
    truths = [target([cell], labels=[1], ignored=[(0, 0, 40, 10)]), target([], ignored=[elsewhere])]
    head, candidates = heads(positive_share=1), [boxes, boxes]
    matched = head.match(Boxes.join(candidates), truths, 0.5)
    assert matched.boxes.xyxy.tolist() == boxes[[0, 3, 4, 0, 1, 2, 3]].tolist()
    assert matched.boxes.image.tolist() == [0] * 3 + [1] * 4
    assert matched.labels.tolist() == [1] + [2] * 6
    assert (matched.goals[0].tolist(), matched.cells[0].item(), len(matched.goals), len(matched.cells)) == (list(cell), 0, 7, 7)
    drawn = head.sample(candidates, truths)
    assert sorted(drawn.boxes.xyxy.tolist()) == sorted(matched.boxes.xyxy.tolist())
    assert sorted(drawn.labels.tolist()) == sorted(matched.labels.tolist())


def test_a_box_that_stage_0_moves_into_an_ignored_region_is_dropped_by_stage_1():
    # Every box moves by a tenth of its width: the cell's is a cell still, 55 % rather than 45 % of the other are ignored.
    head = two_stages((0.1, 0, 0, 0), (0, 0, 0, 0))
    for predictor in head.box_predictor:
        predictor.cls_score.bias.data = torch.tensor([0.0, 0, math.log(2)])  # a cell costs log 4, background log 2
    truth = target([(0, 0, 20, 10)], ignored=[(25.5, 40, 64, 64)])
    losses = head.losses(random_levels(), [torch.tensor([[20.0, 40, 30, 50]])], [SIZE], [truth])
    assert losses["loss_cls_stage0"].item() == pytest.approx((math.log(4) + math.log(2)) / 2)
    assert losses["loss_cls_stage1"].item() == pytest.approx(math.log(4))


def test_losses_of_an_image_that_is_ignored_throughout():
    losses = heads().losses(random_levels(), [random_boxes(20)], [SIZE], [target([], ignored=[(0, 0, 64, 64)])])
    assert {float(loss.detach()) for loss in losses.values()} == {0}


def test_losses_are_sums_over_images_times_their_weights():
    # Two boxes of the first image, one a cell; three of the second, two of them cells.
    head, levels = heads(positive_share=1), random_levels(2)
    cells = [(0, 0, 20, 10)], [(5, 5, 25, 30), (30, 30, 50, 44)]
    proposals = [torch.tensor([[40.0, 40, 60, 60]]), torch.tensor([[0.0, 40, 10, 60]])]

    def losses(*weights):
        return head.losses(levels, proposals, [SIZE] * 2, [target(c, weight=w) for c, w in zip(cells, weights, strict=True)])

    first, second, both, mixed = losses(1, 0), losses(0, 1), losses(1, 1), losses(0.5, 3)
    alone = head.losses([level[1:] for level in levels], proposals[1:], [SIZE], [target(cells[1])])
    for name in both:
        assert (gradient_by_image(first[name], levels) > 0).tolist() == [True, False]
        assert (gradient_by_image(second[name], levels) > 0).tolist() == [False, True]
        torch.testing.assert_close(first[name] + second[name], both[name])
        torch.testing.assert_close(0.5 * first[name] + 3 * second[name], mixed[name])
        torch.testing.assert_close(second[name], alone[name] * (2 / 3 if name == "loss_mask" else 3 / 5))  # of all boxes, as ever


@pytest.mark.parametrize("loss", [functional.cross_entropy, functional.l1_loss, functional.binary_cross_entropy_with_logits])
def test_weights_of_one_change_no_bit(loss):
    random = torch.Generator().manual_seed(0)
    found, image = torch.randn(999, 4, generator=random), torch.arange(999) % 3
    goal = image if loss is functional.cross_entropy else torch.rand(999, 4, generator=random)
    assert torch.equal(weighted_sum(loss, found, goal, image, [target([])] * 3), loss(found, goal, reduction="sum"))
    weights = torch.tensor([1, 0.5, 1])
    one_by_one = loss(found, goal, reduction="none").view(999, -1).sum(dim=1) * weights[image]
    mixed = [target([], weight=weight) for weight in weights.tolist()]
    torch.testing.assert_close(weighted_sum(loss, found, goal, image, mixed), one_by_one.sum())
    assert weighted_sum(loss, found[:0], goal[:0], image[:0], mixed) == 0


def test_scores_are_the_mean_of_the_stages_and_boxes_those_of_the_last():
    logits = [[0.0, 1, 2], [3.0, 0, 0], [0.0, 0, -1]]
    head = constant_predictors(heads(), logits, [[0.0, 0, 0, 0], [0.0, 0, 0, 0], [15.0, 0, 0, 0]])
    boxes = [torch.tensor([[0.0, 0, 20, 10], [4, 4, 8, 8]]), torch.zeros(0, 4), torch.tensor([[2.0, 2, 4, 4]])]
    moved, probabilities = head.refine(random_levels(3), boxes, [SIZE] * 3)
    mean = torch.tensor(logits).softmax(dim=1).mean(dim=0)
    assert [p.shape for p in probabilities] == [(2, 3), (0, 3), (1, 3)]
    torch.testing.assert_close(torch.cat(probabilities), mean.expand(3, 3))
    # Stage 2 codes x in units of 1 / 30 of the width: half a width to the right.
    torch.testing.assert_close(torch.cat(moved), torch.tensor([[10.0, 0, 30, 10], [6, 4, 10, 8], [3, 2, 5, 4]]))


def test_masks_are_those_of_the_box_class():
    head = heads()
    torch.nn.init.zeros_(head.mask_head.predictor.weight)
    head.mask_head.predictor.bias.data = torch.tensor([-1.0, 2.0])
    masks = head.segment(random_levels(2), [random_boxes(3), random_boxes(2)], [torch.tensor([0, 1, 1]), torch.tensor([1, 0])])
    assert [m.shape for m in masks] == [(3, 28, 28), (2, 28, 28)]
    low, high = torch.tensor([-1.0, 2.0]).sigmoid()
    torch.testing.assert_close(torch.cat(masks).mean(dim=(1, 2)), torch.stack([low, high, high, high, low]))
    assert head.segment(random_levels(), [torch.zeros(0, 4)], [torch.zeros(0, dtype=torch.int64)])[0].shape == (0, 28, 28)


@pytest.mark.parametrize("norm", ["", "GN"])
def test_rows_of_padding_change_nothing(norm, monkeypatch):
    head = heads(norm=norm, box_convs=1, box_conv_width=16).eval()
    levels, boxes, labels = random_levels(), [random_boxes(5)], [torch.tensor([0, 1, 0, 1, 1])]
    with torch.no_grad():
        padded = (*head.refine(levels, boxes, [SIZE]), head.segment(levels, boxes, labels))
        monkeypatch.setattr(roi_heads, "ROWS", 1)
        plain = (*head.refine(levels, boxes, [SIZE]), head.segment(levels, boxes, labels))
    for ours, theirs in zip(padded, plain, strict=True):
        torch.testing.assert_close(ours[0], theirs[0])


def test_each_stage_sends_back_its_share_of_the_gradient():
    three, one = heads(), heads(ious=(0.5,))
    one.load_state_dict({k: v for k, v in three.state_dict().items() if k in one.state_dict()})
    found = []
    for head in (three, one):
        levels = random_levels()
        head.stage(0, Planes.from_levels(levels), 1, Boxes.join([random_boxes(4)]))[0].square().sum().backward()
        found.append(levels[0].grad)
    torch.testing.assert_close(found[0] * 3, found[1])


# Cells, and how many boxes of cells and of background are drawn when 8 are, at most half of them cells, from 20 boxes of background
# and those of the cells.
DRAWS = {
    "no cell": ([], 0, 8),
    "a cell of one pixel": ([(20, 20, 21, 21)], 1, 7),
    "the same cell three times": ([(0, 0, 20, 10)] * 3, 3, 5),
    "a cell larger than the crop": ([(0, 0, 64, 64)], 1, 7),
    "a thousand cells": (GRID, 4, 4),
    "a crowd of overlaps": ([(i, 0, i + 20, 10) for i in range(10)], 4, 4),
}


@pytest.mark.parametrize(("cells", "of_cells", "of_background"), DRAWS.values(), ids=DRAWS.keys())
def test_samples_of_an_image(cells, of_cells, of_background):
    background = torch.tensor([(20.0 * i, 900, 20 * i + 10, 910) for i in range(20)])
    truth = target(cells, labels=[i % 2 for i in range(len(cells))])
    matched = heads(samples=8, positive_share=0.5).sample([torch.cat([background, truth["boxes"]])], [truth])
    drawn = matched.labels < 2
    assert (int(drawn.sum()), int((~drawn).sum())) == (of_cells, of_background)
    assert (matched.boxes.xyxy[~drawn][:, 1] == 900).all()
    assert (matched.boxes.xyxy[drawn] == matched.goals[drawn]).all()
    assert (truth["boxes"][matched.cells[drawn]] == matched.goals[drawn]).all()
    assert (truth["labels"][matched.cells[drawn]] == matched.labels[drawn]).all()


def test_samples_limit_the_boxes_and_the_masks():
    truth = [target([(x, 0, x + 8, 8) for x in range(0, 48, 8)])]
    head = heads(samples=8, positive_share=0.25)
    matched = head.sample([torch.cat([truth[0]["boxes"], random_boxes(30)])], truth)
    assert len(matched.labels) == 8
    assert int((matched.labels == 0).sum()) == 2
    seen = []
    head.mask_head.register_forward_hook(lambda _module, inputs, _output: seen.append(int(inputs[0].abs().sum(dim=(1, 2, 3)).gt(0).sum())))
    for mask_samples, expected in ((1, 1), (0, 2)):
        head.settings = HeadSettings(**{**head.settings.model_dump(), "mask_samples": mask_samples})
        head.mask_loss(Planes.from_levels(random_levels()), matched, [SIZE], truth)
        assert seen.pop() == expected


def test_mean_over_one_process_is_the_count_itself_and_at_least_one():
    assert [mean_over_processes(n) for n in (0, 1, 7)] == [1, 1, 7]
