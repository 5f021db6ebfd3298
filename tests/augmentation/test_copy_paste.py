import numpy as np
import pytest

from scenes import corners, frames_of, picture, scene_of
from somaseg.augmentation.copy_paste import copy_paste
from somaseg.augmentation.scene import IGNORED, Scene
from somaseg.config import PasteSettings

PASTE = PasteSettings()


def test_copy_paste_hides_cells_and_takes_the_donors_pixels():
    below = [picture("####.... ####...."), picture("........ ........ ##......"), picture("........ ........ ........ ######## #######.")]
    above = [picture("..###... ..###... ###....."), picture("........ ........ ........ ........ .......#")]
    scene, donor = scene_of(below, [0, 0, 0], np.full((6, 8), -1)), scene_of(above, [1, 2], np.arange(48).reshape(6, 8))
    pasted = copy_paste(scene, donor, 1.0, PASTE, np.random.default_rng(0))
    cover = above[0] | above[1]
    np.testing.assert_array_equal(pasted.image, np.where(cover, donor.image, -1))
    assert pasted.image.dtype == np.float32
    frames = frames_of(pasted)
    # The first cell loses its right half, the second is gone, the third is as it was; the donor's come after, in any order.
    np.testing.assert_array_equal(frames[0], below[0] & ~cover)
    np.testing.assert_array_equal(frames[1], below[2])
    assert corners(pasted)[:2] == [(0, 0, 2, 2), (0, 3, 8, 5)]
    assert len(frames) == 4
    assert sorted(zip(pasted.labels[2:].tolist(), corners(pasted)[2:], strict=True)) == [(1, (0, 0, 5, 3)), (2, (7, 4, 8, 5))]


@pytest.mark.parametrize(("keep_visible", "kept"), [(0.1, True), (0.24, True), (0.25, False)])
def test_a_covered_cell_stays_if_enough_of_it_shows(keep_visible, kept):
    scene, donor = scene_of([picture("####")]), scene_of([picture(".###")])
    pasted = copy_paste(scene, donor, 1.0, PasteSettings(keep_visible=keep_visible), np.random.default_rng(0))
    assert corners(pasted) == ([(0, 0, 1, 1)] if kept else []) + [(1, 0, 4, 1)]


def test_ignored_regions_are_covered_but_never_pasted():
    below = [picture("####...."), picture("........ ##......")]
    above = [picture("..##.... #......."), picture("....####"), picture("........ ##......")]
    scene, donor = scene_of(below, [IGNORED, IGNORED]), scene_of(above, [1, IGNORED, IGNORED], np.full((6, 8), 9))
    pasted = copy_paste(scene, donor, 1.0, PASTE, np.random.default_rng(0))
    assert pasted.labels.tolist() == [IGNORED, IGNORED, 1]
    assert corners(pasted) == [(0, 0, 2, 1), (1, 1, 2, 2), (0, 0, 4, 2)]
    assert (pasted.image == 9).sum() == 3
    covering = scene_of([picture("........ ###.....")], [1])
    assert copy_paste(scene, covering, 1.0, PASTE, np.random.default_rng(0)).labels.tolist() == [IGNORED, 1]


def test_copy_paste_takes_its_share_and_leaves_the_scene_alone():
    frames = [picture("." * n + "#") for n in range(8)]
    scene, donor = scene_of([picture("........ ........ ###.....")]), scene_of(frames)
    before = scene.image.copy()
    for share, count in ((0.0, 0), (0.5, 4), (1.0, 8)):
        assert len(copy_paste(scene, donor, share, PASTE, np.random.default_rng(1)).masks) == 1 + count
    np.testing.assert_array_equal(scene.image, before)


def test_copy_paste_cuts_cells_at_the_frame():
    donor = Scene(
        np.ones((6, 8), np.float32),
        np.array([[-2, -1, 3, 2], [20, 0, 22, 2]], np.int32),
        (np.ones((3, 5), bool), np.ones((2, 2), bool)),
        np.array([1, 1]),
    )
    nothing = Scene(np.zeros((6, 8), np.float32), np.zeros((0, 4), np.int32), (), np.zeros(0, np.int64))
    pasted = copy_paste(nothing, donor, 1.0, PASTE, np.random.default_rng(0))
    assert corners(pasted) == [(0, 0, 3, 2)]
    assert pasted.image.sum() == 6


def test_feathering_fades_beyond_the_outline_and_leaves_masks_exact():
    cell = picture("........ ...#....")
    scene, donor = scene_of([picture("##......")], image=np.zeros((6, 8))), scene_of([cell], image=np.full((6, 8), 3))
    hard, soft = (copy_paste(scene, donor, 1.0, PasteSettings(feather=px), np.random.default_rng(0)) for px in (0, 2))
    np.testing.assert_array_equal(soft.boxes, hard.boxes)
    np.testing.assert_array_equal(frames_of(soft), frames_of(hard))
    np.testing.assert_array_equal(frames_of(soft)[1], cell)
    # Two pixels fade in steps of a third: 3 in the cell, 2 and 1 beside it, 0 from the third pixel on.
    np.testing.assert_allclose(soft.image[1], [0, 1, 2, 3, 2, 1, 0, 0], atol=1e-6)
    np.testing.assert_allclose(soft.image[2, 3:5], [2, 3 * (1 - 2**0.5 / 3)], atol=1e-6)
    assert hard.image[1].tolist() == [0, 0, 0, 3, 0, 0, 0, 0]
