import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from drawing import draw
from somaseg import masks as mk
from somaseg.config import AugmentSettings
from somaseg.data.augment import MIN_AREA, Scene, View, augment, copy_paste, crop_scene, draw_view, jitter, look

PLAIN = AugmentSettings(crop=48, scale=(1, 1), turn=False, rotate_share=0, paste_share=0, contrast=0, brightness=0, noise=0)
SEEDS = st.integers(0, 2**32 - 1)


def scene_of(frames, labels=None, image=None, dtype=np.float32):
    """A scene from full-frame masks; the image numbers the cells from 1 unless given."""
    size = frames[0].shape
    pairs = [mk.crop_from_mask(frame) for frame in frames]
    numbered = sum((n * frame for n, frame in enumerate(frames, start=1)), np.zeros(size))
    return Scene(
        (numbered if image is None else image).astype(dtype),
        np.array([box for box, _ in pairs], np.int32).reshape(-1, 4),
        tuple(crop for _, crop in pairs),
        np.zeros(len(frames), np.int64) if labels is None else np.array(labels, np.int64),
    )


def random_cell(random, height, width):
    """A ragged cell somewhere in a frame."""
    y, x = np.mgrid[:height, :width]
    row, column, radius = random.uniform(0, height), random.uniform(0, width), random.uniform(4, 14)
    frame = (np.hypot(y - row, x - column) < radius) & (random.random((height, width)) < 0.8)
    frame[int(row), int(column)] = True
    return frame


def frames_of(scene):
    """Full-frame masks of what a view sees."""
    return [mk.paste(mask, box, scene.image.shape) for mask, box in zip(scene.masks, scene.boxes, strict=True)]


def corners(scene):
    return [tuple(box) for box in scene.boxes.tolist()]


def whole(side):
    return View(np.eye(2), np.full(2, side / 2), side)


def test_the_view_of_everything_changes_nothing():
    random = np.random.default_rng(0)
    scene = scene_of([random_cell(random, 48, 48) for _ in range(3)], [2, 0, 1], random.normal(size=(48, 48)))
    seen = look(scene, (0, 0), whole(48))
    np.testing.assert_allclose(seen.image, scene.image, atol=1e-6)
    np.testing.assert_array_equal(seen.boxes, scene.boxes)
    np.testing.assert_array_equal(seen.labels, scene.labels)
    for ours, theirs in zip(seen.masks, scene.masks, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("side", [48, 47])
def test_flips_and_quarter_turns_only_move_pixels(side):
    # The image numbers the cells, so a view is right if its masks are where its image has their numbers.
    y, x = np.mgrid[:side, :side]
    frames = [(x - 10) ** 2 + (y - 15) ** 2 < 60, (x > 30) & (y > 20) & (x + y < 80), (x == 2) & (y > 20)]
    scene = scene_of(frames)
    permutations = {np.rot90(part, k).tobytes() for part in (scene.image, scene.image.T) for k in range(4)}
    found = set()
    for quarter in range(4):
        for flip in (1.0, -1.0):
            turn = np.linalg.matrix_power(np.array([[0.0, -1.0], [1.0, 0.0]]), quarter) @ np.diag([1.0, flip])
            seen = look(scene, (0, 0), View(turn, np.full(2, side / 2), side))
            found.add(np.ascontiguousarray(seen.image).tobytes())
            assert len(seen.masks) == 3
            for number, frame in enumerate(frames_of(seen), start=1):
                np.testing.assert_array_equal(frame, seen.image == number)
    assert found == permutations


@given(SEEDS)
def test_warping_a_crop_is_warping_the_whole_frame(seed):
    random = np.random.default_rng(seed)
    height, width = (int(side) for side in random.integers(20, 90, 2))
    frame = random_cell(random, height, width)
    scene = scene_of([frame])
    view = draw_view(scene, AugmentSettings(crop=int(random.integers(32, 64)), scale=(0.6, 2.0), rotate=45), random)
    part, offset = crop_scene(scene, view.window())
    seen = look(part, offset, view)
    start = view.centre - 0.5 + view.turn @ np.full(2, 0.5 - view.side / 2)
    warped = ndimage.affine_transform(frame.astype(float), view.turn, start, (view.side,) * 2, order=1, mode="grid-constant")
    certain = np.abs(warped - 0.5) > 1e-5
    if len(seen.masks):
        np.testing.assert_array_equal(frames_of(seen)[0][certain], (warped >= 0.5)[certain])
        assert seen.masks[0].any(axis=1)[[0, -1]].all()  # the box is tight
        assert seen.masks[0].any(axis=0)[[0, -1]].all()
    else:
        scale = 1 / abs(np.linalg.det(view.turn))
        assert (warped >= 0.5).sum() <= max(MIN_AREA, 0.1 * scale * frame.sum()) + (~certain).sum()


@given(SEEDS)
def test_looking_through_the_window_shows_the_same_image(seed):
    random = np.random.default_rng(seed)
    image = random.normal(size=(60, 70)).astype(np.float32)
    scene = scene_of([random_cell(random, 60, 70)], image=image)
    view = draw_view(scene, AugmentSettings(crop=40, scale=(0.8, 1.6)), random)
    part, offset = crop_scene(scene, view.window())
    assert offset == view.window()[:2]
    near, far = look(part, offset, view), look(scene, (0, 0), view)
    at = np.mgrid[: view.side, : view.side].reshape(2, -1) + 0.5 - view.side / 2
    at = view.turn @ at + view.centre[:, None] - 0.5
    inside = ((at > 0) & (at < np.array([[59], [69]]))).all(axis=0).reshape(view.side, view.side)
    np.testing.assert_allclose(near.image[inside], far.image[inside], atol=1e-4)


@given(SEEDS)
def test_views_keep_their_scale_and_stay_inside(seed):
    random = np.random.default_rng(seed)
    scene = scene_of([random_cell(random, 90, 120)])
    settings = AugmentSettings(crop=60, scale=(0.8, 2.0), rotate_share=0)
    view = draw_view(scene, settings, random)
    assert 0.8 <= abs(np.linalg.det(view.turn)) ** -0.5 <= 2.0
    reach = np.abs(view.turn) @ np.full(2, 30)
    assert (view.centre - reach >= -1e-9).all()
    assert (view.centre + reach <= np.array([90, 120]) + 1e-9).all()


def test_an_image_smaller_than_the_crop_is_centred():
    view = draw_view(scene_of([np.ones((10, 20), bool)]), PLAIN, np.random.default_rng(0))
    assert view.centre.tolist() == [5, 10]


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


def test_small_and_cut_off_cells_go():
    frames = [np.zeros((48, 48), bool) for _ in range(4)]
    frames[0][1:5, 1:5] = True  # 16 pixels
    frames[1][1:4, 10:15] = True  # 15 pixels
    frames[2][8:48, 0:24] = True
    frames[3][8:48, 24:48] = True
    cut = View(np.eye(2), np.array([24.0, 2.0]), 48)  # sees columns -22 to 26: 24 of frame 2, 2 of frame 3
    assert corners(look(scene_of(frames), (0, 0), whole(48))) == [(1, 1, 5, 5), (0, 8, 24, 48), (24, 8, 48, 48)]
    assert corners(look(scene_of(frames), (0, 0), cut)) == [(23, 1, 27, 5), (22, 8, 46, 48)]


def picture(text):
    frame = np.zeros((6, 8), bool)
    rows = draw(text)
    frame[: rows.shape[0], : rows.shape[1]] = rows
    return frame


def test_copy_paste_hides_cells_and_takes_the_donors_pixels():
    below = [picture("####.... ####...."), picture("........ ........ ##......"), picture("........ ........ ........ ######## #######.")]
    above = [picture("..###... ..###... ###....."), picture("........ ........ ........ ........ .......#")]
    scene, donor = scene_of(below, [0, 0, 0], np.full((6, 8), -1)), scene_of(above, [1, 2], np.arange(48).reshape(6, 8))
    pasted = copy_paste(scene, donor, 1.0, 0.1, np.random.default_rng(0))
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
    pasted = copy_paste(scene, donor, 1.0, keep_visible, np.random.default_rng(0))
    assert corners(pasted) == ([(0, 0, 1, 1)] if kept else []) + [(1, 0, 4, 1)]


def test_copy_paste_takes_its_share_and_leaves_the_scene_alone():
    frames = [picture("." * n + "#") for n in range(8)]
    scene, donor = scene_of([picture("........ ........ ###.....")]), scene_of(frames)
    before = scene.image.copy()
    for share, count in ((0.0, 0), (0.5, 4), (1.0, 8)):
        assert len(copy_paste(scene, donor, share, 0.1, np.random.default_rng(1)).masks) == 1 + count
    np.testing.assert_array_equal(scene.image, before)


def test_copy_paste_cuts_cells_at_the_frame():
    donor = Scene(
        np.ones((6, 8), np.float32),
        np.array([[-2, -1, 3, 2], [20, 0, 22, 2]], np.int32),
        (np.ones((3, 5), bool), np.ones((2, 2), bool)),
        np.array([1, 1]),
    )
    nothing = Scene(np.zeros((6, 8), np.float32), np.zeros((0, 4), np.int32), (), np.zeros(0, np.int64))
    pasted = copy_paste(nothing, donor, 1.0, 0.1, np.random.default_rng(0))
    assert corners(pasted) == [(0, 0, 3, 2)]
    assert pasted.image.sum() == 6


def test_jitter_without_strength_changes_nothing():
    image = np.random.default_rng(0).normal(size=(5, 5)).astype(np.float32)
    np.testing.assert_array_equal(jitter(image, PLAIN, np.random.default_rng(0)), image)


@given(SEEDS)
def test_jitter_stays_within_its_limits(seed):
    image = np.array([[-1, 0], [1, 2]], np.float32)
    settings = AugmentSettings(contrast=0.25, brightness=0.5, noise=0)
    out = jitter(image, settings, np.random.default_rng(seed))
    assert out.dtype == np.float32
    assert 0.8 - 1e-6 <= out[1, 1] - out[1, 0] <= 1.25 + 1e-6
    assert abs(out[0, 1]) <= 0.5


@given(SEEDS)
def test_a_crop_follows_from_its_generator_whatever_the_images_precision(seed):
    random = np.random.default_rng(seed)
    frames = [random_cell(random, 60, 70) for _ in range(4)]
    image = random.normal(size=(60, 70)).astype(np.float16)
    settings = AugmentSettings(crop=32, scale=(0.7, 1.5))
    crops = [
        augment(
            scene_of(frames, image=image, dtype=dtype),
            [scene_of(frames[:2], image=-image, dtype=dtype)],
            settings,
            np.random.default_rng(seed),
        )
        for dtype in (np.float16, np.float32)
    ]
    assert crops[0].image.dtype == np.float32
    assert crops[0].image.shape == (32, 32)
    np.testing.assert_array_equal(crops[0].image, crops[1].image)
    np.testing.assert_array_equal(crops[0].boxes, crops[1].boxes)
    for box, mask in zip(crops[0].boxes, crops[0].masks, strict=True):
        assert mk.crop_from_mask(mk.paste(mask, box, (32, 32)))[0] == tuple(box)


def test_donors_are_pasted_before_the_crop_is_drawn():
    # The donor's image is 5 everywhere, so exactly the pasted cells show 5.
    random = np.random.default_rng(3)
    scene = scene_of([np.zeros((48, 48), bool)], image=np.zeros((48, 48)))
    donor = scene_of([random_cell(random, 48, 48) for _ in range(3)], image=np.full((48, 48), 5))
    seen = augment(scene, [donor], PLAIN.model_copy(update={"paste_cells": (1.0, 1.0)}), random)
    assert len(seen.masks) == 3
    np.testing.assert_array_equal(np.any(frames_of(seen), axis=0), seen.image == 5)


@pytest.mark.parametrize("frames", [[], [np.zeros((40, 40), bool)]])
def test_a_scene_without_cells(frames):
    scene = scene_of(frames or [np.zeros((40, 40), bool)])
    scene = scene if frames else Scene(scene.image, scene.boxes[:0], (), scene.labels[:0])
    seen = augment(scene, [scene], AugmentSettings(crop=32), np.random.default_rng(0))
    assert seen.boxes.shape == (0, 4)
    assert seen.boxes.dtype == np.int32
    assert seen.labels.dtype == np.int64
