import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage
from torch import from_numpy
from torch.nn import functional

from scenes import PLAIN, corners, frames_of, random_cell, scene_of
from somaseg.augmentation.scene import crop_scene
from somaseg.augmentation.view import MIN_AREA, CropView, draw_view, look
from somaseg.config import AugmentSettings, EdgeSettings, ZoomSettings
from somaseg.images.resize import size_by_edge

SEEDS = st.integers(0, 2**32 - 1)
SIZES = st.one_of(
    st.builds(lambda side: ZoomSettings(side=side, factor=(0.6, 2.0)), st.integers(32, 64)),
    st.builds(
        lambda edges, draw, crop: EdgeSettings(edges=edges, draw=draw, longest=90, crop=crop),
        st.lists(st.integers(24, 70), min_size=1, max_size=3).map(tuple),
        st.sampled_from(["choice", "range"]),
        st.sampled_from([0.5, 0.9, 1.0]),
    ),
)


def whole(side):
    return CropView(np.eye(2), np.full(2, side / 2), (side, side))


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
            seen = look(scene, (0, 0), CropView(turn, np.full(2, side / 2), (side, side)))
            found.add(np.ascontiguousarray(seen.image).tobytes())
            assert len(seen.masks) == 3
            for number, frame in enumerate(frames_of(seen), start=1):
                np.testing.assert_array_equal(frame, seen.image == number)
    assert found == permutations


@given(SEEDS, SIZES, st.sampled_from(["all", "flips", "none"]))
def test_warping_a_crop_is_warping_the_whole_frame(seed, size, turns):
    random = np.random.default_rng(seed)
    height, width = (int(side) for side in random.integers(20, 90, 2))
    frame = random_cell(random, height, width)
    scene = scene_of([frame])
    view = draw_view(scene, AugmentSettings(size=size, turns=turns, rotate=45), random)
    part, offset = crop_scene(scene, view.window())
    seen = look(part, offset, view)
    start = view.centre - 0.5 + view.turn @ (0.5 - np.array(view.size) / 2)
    warped = ndimage.affine_transform(frame.astype(float), view.turn, start, view.size, order=1, mode="grid-constant")
    certain = np.abs(warped - 0.5) > 1e-5
    if len(seen.masks):
        np.testing.assert_array_equal(frames_of(seen)[0][certain], (warped >= 0.5)[certain])
        assert seen.masks[0].any(axis=1)[[0, -1]].all()  # the box is tight
        assert seen.masks[0].any(axis=0)[[0, -1]].all()
    else:
        scale = 1 / abs(np.linalg.det(view.turn))
        assert (warped >= 0.5).sum() <= max(MIN_AREA, 0.1 * scale * frame.sum()) + (~certain).sum()


@given(SEEDS, SIZES)
def test_looking_through_the_window_shows_the_same_image(seed, size):
    random = np.random.default_rng(seed)
    image = random.normal(size=(60, 70)).astype(np.float32)
    scene = scene_of([random_cell(random, 60, 70)], image=image)
    view = draw_view(scene, AugmentSettings(size=size), random)
    part, offset = crop_scene(scene, view.window())
    assert offset == view.window()[:2]
    near, far = look(part, offset, view), look(scene, (0, 0), view)
    at = np.mgrid[: view.size[0], : view.size[1]].reshape(2, -1) + 0.5 - np.array(view.size)[:, None] / 2
    at = view.turn @ at + view.centre[:, None] - 0.5
    inside = ((at > 0) & (at < np.array([[59], [69]]))).all(axis=0).reshape(view.size)
    np.testing.assert_allclose(near.image[inside], far.image[inside], atol=1e-4)


@given(SEEDS)
def test_views_keep_their_scale_and_stay_inside(seed):
    random = np.random.default_rng(seed)
    scene = scene_of([random_cell(random, 90, 120)])
    settings = AugmentSettings(size=ZoomSettings(side=60, factor=(0.8, 2.0)), rotate_share=0)
    view = draw_view(scene, settings, random)
    assert 0.8 <= abs(np.linalg.det(view.turn)) ** -0.5 <= 2.0
    reach = np.abs(view.turn) @ np.full(2, 30)
    assert (view.centre - reach >= -1e-9).all()
    assert (view.centre + reach <= np.array([90, 120]) + 1e-9).all()


def test_an_image_smaller_than_the_crop_is_centred():
    view = draw_view(scene_of([np.ones((10, 20), bool)]), PLAIN, np.random.default_rng(0))
    assert view.centre.tolist() == [5, 10]


def test_small_and_cut_off_cells_go():
    frames = [np.zeros((48, 48), bool) for _ in range(4)]
    frames[0][1:5, 1:5] = True  # 16 pixels
    frames[1][1:4, 10:15] = True  # 15 pixels
    frames[2][8:48, 0:24] = True
    frames[3][8:48, 24:48] = True
    cut = CropView(np.eye(2), np.array([24.0, 2.0]), (48, 48))  # sees columns -22 to 26: 24 of frame 2, 2 of frame 3
    assert corners(look(scene_of(frames), (0, 0), whole(48))) == [(1, 1, 5, 5), (0, 8, 24, 48), (24, 8, 48, 48)]
    assert corners(look(scene_of(frames), (0, 0), cut)) == [(23, 1, 27, 5), (22, 8, 46, 48)]


@given(SEEDS, st.integers(20, 60), st.integers(20, 60), st.sampled_from(["all", "flips", "none"]))
def test_a_resized_view_shows_exactly_its_crop(seed, height, width, turns):
    random = np.random.default_rng(seed)
    settings = AugmentSettings(size=EdgeSettings(edges=(35, 50), longest=70, crop=0.8), turns=turns, rotate_share=0)
    view = draw_view(scene_of([np.ones((height, width), bool)]), settings, random)
    cropped = int(height * 0.8 + 0.5), int(width * 0.8 + 0.5)
    sizes = [size_by_edge(cropped, edge, 70) for edge in (35, 50)]
    assert view.size in sizes + ([size[::-1] for size in sizes] if turns == "all" else [])
    reach = np.abs(view.turn) @ (np.array(view.size) / 2)
    np.testing.assert_allclose(reach * 2, cropped)
    assert (view.centre - reach >= -1e-9).all()
    assert (view.centre + reach <= np.array([height, width]) + 1e-9).all()


def test_resizing_by_a_view_is_bilinear_resizing():
    image = np.random.default_rng(0).normal(size=(20, 30)).astype(np.float32)
    scene = scene_of([np.ones((20, 30), bool)], image=image)
    settings = PLAIN.model_copy(update={"size": EdgeSettings(edges=(47,), longest=100, crop=1)})
    view = draw_view(scene, settings, np.random.default_rng(0))
    expected = functional.interpolate(from_numpy(image)[None, None], size=(47, 71), mode="bilinear", align_corners=False)[0, 0].numpy()
    assert view.size == (47, 71)
    np.testing.assert_allclose(look(scene, (0, 0), view).image[2:-2, 2:-2], expected[2:-2, 2:-2], atol=1e-4)


def test_edges_are_drawn_from_a_list_or_a_range():
    scene = scene_of([np.ones((30, 40), bool)])

    def drawn(draw):
        settings = PLAIN.model_copy(update={"size": EdgeSettings(edges=(30, 33), draw=draw, crop=1)})
        return {min(draw_view(scene, settings, np.random.default_rng(seed)).size) for seed in range(40)}

    assert drawn("choice") == {30, 33}
    assert drawn("range") == {30, 31, 32, 33}


def test_flips_alone_keep_rows_and_columns():
    scene = scene_of([np.ones((30, 40), bool)])
    settings = PLAIN.model_copy(update={"size": EdgeSettings(edges=(30,), crop=1), "turns": "flips"})
    turns = {tuple(np.diag(draw_view(scene, settings, np.random.default_rng(seed)).turn)) for seed in range(40)}
    assert turns == {(1, 1), (1, -1), (-1, 1), (-1, -1)}
