import numpy as np
import pytest
import torch
from torchvision.ops import roi_align

from drawing import draw
from somaseg.config import HeadSettings
from somaseg.models import boxes as bx
from somaseg.models import roi_heads
from somaseg.models.pooling import Planes
from somaseg.models.roi_heads import STAGE_WEIGHTS, Boxes, RoiHeads, mask_targets, mean_over_processes
from tiny import HEADS, target

STRIDES, SIZE = (4, 8, 16), (64, 64)


def heads(**changes):
    torch.manual_seed(0)
    return RoiHeads(HEADS.model_copy(update=changes), 8, STRIDES, 2)


def random_levels(images=1, seed=0):
    random = torch.Generator().manual_seed(seed)
    return [torch.randn(images, 8, 64 // s, 64 // s, generator=random).requires_grad_() for s in STRIDES]


def random_boxes(count, seed=0):
    corners = torch.rand(count, 2, 2, generator=torch.Generator().manual_seed(seed)).sort(dim=1).values
    return corners.view(count, 4) * 60 + torch.tensor([0.0, 0, 4, 4])


def constant_predictors(head, logits, deltas):
    """Make stage s predict the same logits and deltas for every box."""
    for predictor, logit, delta in zip(head.box_predictor, logits, deltas, strict=True):
        for layer, value in ((predictor.cls_score, logit), (predictor.bbox_pred, delta)):
            torch.nn.init.zeros_(layer.weight)
            layer.bias.data = torch.tensor(value)
    return head


@pytest.mark.parametrize(("side", "level"), [(1, 0), (31.9, 0), (32, 1), (63.9, 1), (64, 2), (128, 2), (0, 0)])
def test_level_of_a_box(side, level):
    # Level 1 serves boxes of 32 pixels; each coarser level boxes twice the side. Every map holds 10 * image + its number.
    maps = [torch.stack([torch.full((8, 128 // s, 128 // s), 10.0 * i + n) for i in (0, 1)]) for n, s in enumerate(STRIDES)]
    box = torch.tensor([[0.0, 0, side, side]])
    pooled = heads().pool(Planes.from_levels(maps), 2, Boxes.join([box, box]), 7)
    torch.testing.assert_close(pooled, torch.tensor([level, 10.0 + level])[:, None, None, None].expand(2, 8, 7, 7))


def test_level_follows_the_area():
    maps = [torch.full((1, 8, 128 // s, 128 // s), float(n)) for n, s in enumerate(STRIDES)]
    pooled = heads().pool(Planes.from_levels(maps), 1, Boxes.join([torch.tensor([[0.0, 0, 16, 64]])]), 7)
    torch.testing.assert_close(pooled, torch.ones_like(pooled))


CELL = np.random.default_rng(0).random((28, 28)) < 0.5


def one_target(box, cell_box, mask):
    """The mask target of one box, on a 28 x 28 grid."""
    truth = target([cell_box], [mask])
    return mask_targets(Boxes.join([torch.tensor([box], dtype=torch.float32)]), torch.tensor([0]), [truth])[0].bool().numpy()


def test_mask_target_of_the_box_of_the_cell_is_the_cell():
    cell = (5, 9, 33, 37)
    np.testing.assert_array_equal(one_target(cell, cell, CELL), CELL)


def test_mask_target_of_a_part_of_the_cell():
    cell = np.kron(CELL, np.ones((2, 2), bool))
    np.testing.assert_array_equal(one_target((8, 16, 36, 44), (5, 9, 61, 65), cell), cell[7:35, 3:31])


def test_mask_target_at_half_resolution_takes_the_majority_and_ties():
    # Bins of 2 x 2 pixels, of which at least two must belong to the cell.
    cell = np.zeros((56, 56), bool)
    cell[:4, :6] = draw("#..#.. ...... ##..## ......")
    cell[4:6, 2:4] = True
    expected = np.zeros((28, 28), bool)
    expected[1, [0, 2]] = expected[2, 1] = True
    np.testing.assert_array_equal(one_target((0, 0, 56, 56), (0, 0, 56, 56), cell), expected)


def test_mask_target_of_a_shifted_box():
    expected = np.zeros((28, 28), bool)
    expected[:24, 3:] = CELL[4:, :25]
    np.testing.assert_array_equal(one_target((7, 14, 35, 42), (10, 10, 38, 38), CELL), expected)


def test_mask_target_of_a_cell_of_one_pixel():
    expected = np.zeros((28, 28), bool)
    expected[10, 3] = True
    np.testing.assert_array_equal(one_target((17, 10, 45, 38), (20, 20, 21, 21), np.ones((1, 1), bool)), expected)


def test_mask_target_of_a_cell_at_the_border():
    expected = np.zeros((28, 28), bool)
    expected[:, :10] = CELL[:, :10]
    np.testing.assert_array_equal(one_target((0, 0, 28, 28), (0, 0, 10, 28), CELL[:, :10]), expected)


def test_mask_targets_are_those_of_the_full_frame():
    random = torch.Generator().manual_seed(1)
    frame = torch.zeros(64, 64)
    frame[20:41, 15:45] = (torch.rand(21, 30, generator=random) < 0.7).float()
    boxes = random_boxes(20)
    truth = target([(15, 20, 45, 41)], [frame[20:41, 15:45].bool().numpy()])
    found = mask_targets(Boxes.join([boxes]), torch.zeros(20, dtype=torch.int64), [truth])
    whole = roi_align(frame[None, None], [boxes], 28, 1.0, 0, aligned=True)[:, 0] >= 0.5
    assert (found.bool() != whole).float().mean() < 1e-3


def test_mask_targets_of_several_images_read_their_own_cells():
    truths = [target([]), target([(0, 0, 28, 28), (3, 3, 31, 31)], [CELL, ~CELL]), target([(10, 0, 38, 28)], [CELL.T])]
    boxes = Boxes(torch.cat([truths[1]["boxes"][[1, 0]], truths[2]["boxes"]]), torch.tensor([1, 1, 2]))
    found = mask_targets(boxes, torch.tensor([1, 0, 0]), truths).bool().numpy()
    np.testing.assert_array_equal(found, np.stack([~CELL, CELL, CELL.T]))


LOSS_CASES = {
    "no cell": [target([])],
    "a cell of one pixel": [target([(20, 20, 21, 21)])],
    "the same cell three times": [target([(10, 10, 40, 30)] * 3)],
    "a thousand cells": [target([(x, y, x + 9, y + 7) for x in range(0, 50, 2) for y in range(0, 40)])],
    "a cell that fills the crop": [target([(0, 0, 64, 64)])],
    "one image with cells, one without": [target([(8, 8, 40, 30)], labels=[1]), target([])],
}


@pytest.mark.parametrize("truths", LOSS_CASES.values(), ids=LOSS_CASES.keys())
def test_losses_are_finite_and_have_gradients(truths):
    head, levels = heads(), random_levels(len(truths))
    proposals = [random_boxes(20, seed) for seed in range(len(truths))]
    losses = head.losses(levels, proposals, [SIZE] * len(truths), truths)
    assert set(losses) == {"loss_mask", *(f"loss_{kind}_stage{s}" for kind in ("cls", "box_reg") for s in range(3))}
    assert all(torch.isfinite(loss) for loss in losses.values())
    sum(losses.values()).backward()
    assert all(torch.isfinite(p.grad).all() for p in (*head.parameters(), *levels))
    assert any(level.grad.abs().sum() > 0 for level in levels)
    learns_masks = any(len(truth["boxes"]) for truth in truths)
    assert bool(losses["loss_mask"] > 0) == learns_masks


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
        head.mask_loss(Planes.from_levels(random_levels()), matched, truth)
        assert seen.pop() == expected


def test_mean_over_one_process_is_the_count_itself_and_at_least_one():
    assert [mean_over_processes(n) for n in (0, 1, 7)] == [1, 1, 7]
