from dataclasses import replace

import numpy as np

from scenes import corners, frames_of, random_cell, scene_of
from somaseg.augmentation.scene import IGNORED, crop_scene, mirrored


def test_crop_scene_moves_cells_and_fills_with_zeros():
    frames = [np.zeros((10, 12), bool) for _ in range(3)]
    frames[0][0:4, 0:5] = frames[1][6:9, 8:11] = frames[2][0:2, 9:12] = True
    part, offset = crop_scene(scene_of(frames, [4, 5, 6]), (-2, 1, 6, 7))
    assert offset == (-2, 1)
    assert part.image.shape == (6, 8)
    assert part.image[:3, 2:7].tolist() == [[1] * 5] * 3
    assert part.image.sum() == 15
    assert corners(part) == [(2, -1, 7, 3)]  # the second only touches the window, the third lies outside
    assert part.labels.tolist() == [4]
    assert part.masks[0].shape == (4, 5)


def test_outside_the_image_lies_its_mean():
    scene = replace(scene_of([np.ones((2, 2), bool)]), mean=7.0)
    assert crop_scene(scene, (-1, 0, 3, 2))[0].image.tolist() == [[7, 1, 1, 7]] * 2


def test_a_mirrored_scene_is_the_mirror_of_its_frames():
    random = np.random.default_rng(0)
    frames = [random_cell(random, 30, 41) for _ in range(3)]
    scene = scene_of(frames, [2, 0, 1])
    seen = mirrored(scene)
    np.testing.assert_array_equal(seen.image, scene.image[:, ::-1])
    np.testing.assert_array_equal(frames_of(seen), [frame[:, ::-1] for frame in frames])
    assert seen.boxes.dtype == np.int32
    assert seen.labels.tolist() == [2, 0, 1]
    assert corners(mirrored(seen)) == corners(scene)


def test_ignored_regions_move_as_cells_do():
    random = np.random.default_rng(1)
    frames = [random_cell(random, 30, 41) for _ in range(2)]
    cells, unsure = scene_of(frames), scene_of(frames, [IGNORED, IGNORED])
    for change in (mirrored, lambda scene: crop_scene(scene, (2, 3, 40, 29))[0]):
        assert corners(change(unsure)) == corners(change(cells))
        assert set(change(unsure).labels.tolist()) == {IGNORED}
