"""Wandering processes, and what is laid onto a frame."""

import numpy as np
import pytest

from somaseg.synth.neurites import STEP, grow, neurites, sphere, splat

NONE = np.full((1, 2), np.nan, np.float32)


def f(*rows) -> np.ndarray:
    return np.array(rows, np.float32)


def test_a_path_without_wander_is_straight_and_as_long_as_asked():
    points, path, part = grow(f([10, 20, 0]), NONE, f(30)[:1], 0.0, np.random.default_rng(0))
    assert len(points) == int(30 / STEP)
    np.testing.assert_allclose(points[:, 1], 20, atol=1e-4)
    np.testing.assert_allclose(np.diff(points[:, 0]), STEP, atol=1e-3)
    assert set(path.tolist()) == {0}
    assert (part[0], part.max()) == (0, pytest.approx(1 - STEP / 30, abs=0.05))


def test_a_path_bends_towards_its_target():
    lengths, far = f(60, 60), f([200, 60], [np.nan, np.nan])
    points, path, _ = grow(f([0, 0, 0], [0, 0, 0]), far, lengths, 0.0, np.random.default_rng(0))
    assert points[path == 0][-1, 1] > 1
    assert abs(points[path == 1][-1, 1]) < 1e-4


def test_weights_are_shared_out_and_those_outside_are_left_out():
    frame = splat(f([1, 2], [2.5, 0], [-9, 0]), f(1, 2, 5), (4, 5))
    assert frame[2, 1] == 1
    assert (frame[0, 2], frame[0, 3]) == (1, 1)
    assert frame.sum() == 3


def test_no_process_leaves_the_frame_empty():
    nothing = np.zeros((0, 3), np.float32)
    assert not neurites(nothing, nothing[:, :2], nothing[:, 0], nothing[:, 0], 0.0, 0.1, (8, 9), np.random.default_rng(0)).any()


def test_a_process_has_about_its_delay_near_its_start_and_fades():
    random = np.random.default_rng(0)
    frame = neurites(f([10, 32, 0]), NONE, f(80)[:1], f(0.5)[:1], 0.0, 0.0, (64, 100), random)
    assert 0.2 < frame[:, 20:30].max() < 0.8
    assert frame[:, 80:].max() < frame[:, 20:30].max() / 2


def test_a_ball_is_thickest_in_its_middle_and_takes_nothing_away():
    phase = np.full((20, 20), 0.1, np.float32)
    sphere(phase, 10, 8, 4, 0.9)
    assert phase[8, 10] == pytest.approx(0.9)
    assert phase[8, 13] < 0.9
    assert phase.min() == pytest.approx(0.1)
    before = phase.copy()
    sphere(phase, -50, 8, 4, 0.9)  # outside
    np.testing.assert_array_equal(phase, before)
