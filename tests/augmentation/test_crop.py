from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scenes import PLAIN, frames_of, random_cell, scene_of
from somaseg.augmentation.crop import augment, jitter
from somaseg.augmentation.scene import Scene
from somaseg.config import AugmentSettings, PasteSettings, ZoomSettings
from somaseg.masks import crops as mk

SEEDS = st.integers(0, 2**32 - 1)


def test_jitter_without_strength_changes_nothing():
    image = np.random.default_rng(0).normal(size=(5, 5)).astype(np.float32)
    np.testing.assert_array_equal(jitter(scene_of([np.ones((5, 5), bool)], image=image), PLAIN, np.random.default_rng(0)), image)


@given(SEEDS)
def test_jitter_stays_within_its_limits(seed):
    image = np.array([[-1, 0], [1, 2]], np.float32)
    settings = AugmentSettings(contrast=0.25, brightness=0.5, noise=0)
    out = jitter(scene_of([np.ones((2, 2), bool)], image=image), settings, np.random.default_rng(seed))
    assert out.dtype == np.float32
    assert 0.8 - 1e-6 <= out[1, 1] - out[1, 0] <= 1.25 + 1e-6
    assert abs(out[0, 1]) <= 0.5


@given(SEEDS)
def test_jitter_measures_in_the_images_own_deviation(seed):
    standard = np.random.default_rng(0).normal(size=(9, 9)).astype(np.float32)
    scene = scene_of([np.ones((9, 9), bool)], image=standard)
    grey = replace(scene, image=standard * 20 + 128, mean=128.0, deviation=20.0)
    ours, theirs = (jitter(s, AugmentSettings(), np.random.default_rng(seed)) for s in (scene, grey))
    np.testing.assert_allclose(theirs, ours * 20 + 128, atol=1e-3)


@given(SEEDS)
def test_a_crop_follows_from_its_generator_whatever_the_images_precision(seed):
    random = np.random.default_rng(seed)
    frames = [random_cell(random, 60, 70) for _ in range(4)]
    image = random.normal(size=(60, 70)).astype(np.float16)
    settings = AugmentSettings(size=ZoomSettings(side=32, factor=(0.7, 1.5)))
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
    seen = augment(scene, [donor], PLAIN.model_copy(update={"paste": PasteSettings(cells=(1.0, 1.0))}), random)
    assert len(seen.masks) == 3
    np.testing.assert_array_equal(np.any(frames_of(seen), axis=0), seen.image == 5)


@pytest.mark.parametrize("frames", [[], [np.zeros((40, 40), bool)]])
def test_a_scene_without_cells(frames):
    scene = scene_of(frames or [np.zeros((40, 40), bool)])
    scene = scene if frames else Scene(scene.image, scene.boxes[:0], (), scene.labels[:0])
    seen = augment(scene, [scene], AugmentSettings(size=ZoomSettings(side=32)), np.random.default_rng(0))
    assert seen.boxes.shape == (0, 4)
    assert seen.boxes.dtype == np.int32
    assert seen.labels.dtype == np.int64
