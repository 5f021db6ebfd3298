"""Pooling in NumPy is that of the network in torch."""

import numpy as np
import pytest

from somaseg.runtimes.pooling import level_of, roi_pool

RNG = np.random.default_rng(0)


def test_a_bin_is_the_mean_of_its_samples_by_hand():
    rows = np.arange(16, dtype=np.float32).reshape(4, 4, 1)
    # A box of one pixel's size around the centre of pixel (1, 2), and one around four pixels.
    boxes = np.array([[2, 1, 3, 2], [1, 1, 3, 3]], np.float32)
    pooled = roi_pool([rows], np.zeros(2, np.int64), boxes, 1)
    assert pooled[:, 0, 0, 0].tolist() == [6, (5 + 6 + 9 + 10) / 4]
    assert roi_pool([rows], np.zeros(0, np.int64), np.zeros((0, 4), np.float32), 7).shape == (0, 7, 7, 1)


def test_larger_boxes_are_read_from_coarser_levels():
    boxes = np.array([[0, 0, side, side] for side in (1, 55, 57, 112, 225, 9999, 0)], np.float32)
    assert level_of(boxes, 2, 112.0, 4).tolist() == [0, 0, 1, 2, 3, 3, 0]


@pytest.mark.parametrize("ratio", [0, 1, 2, 3])
@pytest.mark.parametrize("size", [7, 14])
def test_torch_pools_the_same(size, ratio):
    torch = pytest.importorskip("torch")
    from somaseg.models.pooling import Planes
    from somaseg.models.pooling import roi_pool as torch_pool

    levels = [RNG.normal(size=shape).astype(np.float32) for shape in ((40, 50, 6), (20, 25, 6), (1, 2, 6))]
    corners = RNG.uniform(-10, 45, (60, 2))
    boxes = np.concatenate([corners, corners + RNG.uniform(0, 60, (60, 2))], axis=1).astype(np.float32)
    level = RNG.integers(0, 3, 60)
    planes = Planes.from_levels([torch.from_numpy(rows).permute(2, 0, 1)[None] for rows in levels])
    expected = torch_pool(planes, torch.from_numpy(level), torch.from_numpy(boxes), size, ratio).permute(0, 2, 3, 1).numpy()
    np.testing.assert_allclose(roi_pool(levels, level, boxes, size, ratio), expected, atol=2e-6)
