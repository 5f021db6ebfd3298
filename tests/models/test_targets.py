import numpy as np
import pytest
import torch
from torchvision.ops import roi_align

from drawing import draw
from somaseg.models.roi_heads import Boxes, mask_targets
from tiny import target

SIZE = (64, 64)

CELL = np.random.default_rng(0).random((28, 28)) < 0.5


def boxes_anywhere(count):
    corners = torch.rand(count, 2, 2, generator=torch.Generator().manual_seed(0)).sort(dim=1).values
    return corners.view(count, 4) * 60 + torch.tensor([0.0, 0, 4, 4])


def one_target(box, cell_box, mask):
    """The mask target of one box, on a 28 x 28 grid."""
    truth = target([cell_box], [mask])
    return mask_targets(Boxes.join([torch.tensor([box], dtype=torch.float32)]), torch.tensor([0]), [SIZE], [truth])[0].bool().numpy()


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


def test_the_box_of_a_pixel_holds_a_blob():
    # Bilinear samples fall off linearly from the pixel's centre, along both axes.
    falls = 1 - abs((np.arange(28) + 0.5) / 28 - 0.5)
    np.testing.assert_array_equal(one_target((20, 20, 21, 21), (20, 20, 21, 21), np.ones((1, 1), bool)), np.outer(falls, falls) >= 0.5)


def test_mask_target_of_a_cell_larger_than_the_crop():
    assert one_target((0, 0, 64, 64), (0, 0, 64, 64), np.ones((64, 64), bool)).all()
    left = np.zeros((64, 64), bool)
    left[:, :32] = True
    expected = np.zeros((28, 28), bool)
    expected[:, :14] = True
    np.testing.assert_array_equal(one_target((0, 0, 64, 64), (0, 0, 64, 64), left), expected)


def test_mask_targets_of_a_thousand_cells():
    random = np.random.default_rng(2)
    masks = random.random((1000, 28, 28)) < 0.5
    corners = random.integers(0, 36, (1000, 2))
    truth = target(np.concatenate([corners, corners + 28], axis=1).tolist(), masks)
    chosen = random.integers(0, 1000, 60)
    found = mask_targets(Boxes.join([truth["boxes"][chosen]]), torch.from_numpy(chosen), [SIZE], [truth])
    np.testing.assert_array_equal(found.bool().numpy(), masks[chosen])


def test_cells_that_overlap_or_share_a_box_keep_their_own_masks():
    truth = target([(10 + i, 10, 38 + i, 38) for i in (0, 0, 1, 2, 3)], [CELL, ~CELL, CELL.T, CELL[::-1], CELL[:, ::-1]])
    box = torch.tensor([[12.0, 10, 40, 38]])
    found = mask_targets(Boxes.join([box.expand(5, 4)]), torch.arange(5), [SIZE], [truth]).bool().numpy()
    expected = np.zeros((5, 28, 28), bool)
    expected[0, :, :26], expected[1, :, :26], expected[2, :, :27] = CELL[:, 2:], ~CELL[:, 2:], CELL.T[:, 1:]
    expected[3], expected[4, :, 1:] = CELL[::-1], CELL[:, ::-1][:, :27]
    np.testing.assert_array_equal(found, expected)


def test_mask_targets_of_no_box():
    assert mask_targets(Boxes.join([torch.zeros(0, 4)]), torch.zeros(0, dtype=torch.int64), [SIZE], [target([])]).shape == (0, 28, 28)


# A cell inside the image, cells that its four borders cut, slivers along them, and one that all borders cut.
@pytest.mark.parametrize(
    "cell", [(15, 20, 45, 41), (0, 0, 20, 13), (47, 50, 64, 64), (0, 9, 1, 30), (9, 62, 40, 64), (20, 0, 30, 2), (0, 0, 64, 64)]
)
def test_mask_targets_are_those_of_the_full_frame(cell):
    x0, y0, x1, y1 = cell
    frame = torch.zeros(64, 64)
    frame[y0:y1, x0:x1] = (torch.rand(y1 - y0, x1 - x0, generator=torch.Generator().manual_seed(1)) < 0.7).float()
    truth = target([cell], [frame[y0:y1, x0:x1].bool().numpy()])
    boxes = torch.cat([boxes_anywhere(18), truth["boxes"], truth["boxes"] * 0.5 + boxes_anywhere(1) * 0.5])
    found = mask_targets(Boxes.join([boxes]), torch.zeros(20, dtype=torch.int64), [SIZE], [truth])
    whole = roi_align(frame[None, None], [boxes], 28, 1.0, 0, aligned=True)[:, 0] >= 0.5
    assert (found.bool() != whole).float().mean() < 1e-4  # a bin that the mask halves may fall to either side


def test_mask_targets_of_several_images_read_their_own_cells():
    truths = [target([]), target([(0, 0, 28, 28), (3, 3, 31, 31)], [CELL, ~CELL]), target([(10, 0, 38, 28)], [CELL.T])]
    boxes = Boxes(torch.cat([truths[1]["boxes"][[1, 0]], truths[2]["boxes"]]), torch.tensor([1, 1, 2]))
    found = mask_targets(boxes, torch.tensor([1, 0, 0]), [SIZE] * 3, truths).bool().numpy()
    np.testing.assert_array_equal(found, np.stack([~CELL, CELL, CELL.T]))
