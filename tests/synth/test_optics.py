"""Phase-contrast imaging of synthetic cells, and the camera."""

import numpy as np
import pytest

from somaseg.synth.optics import band, expose, phase_contrast

RANDOM = np.random.default_rng


def specimen() -> np.ndarray:
    phase = np.zeros((96, 96), np.float32)
    phase[40:56, 40:56] = 0.6
    return phase


def test_an_empty_medium_looks_like_the_background():
    np.testing.assert_allclose(phase_contrast(np.zeros((20, 30), np.float32), 1.0), 0, atol=1e-5)


def test_what_delays_light_is_dark_and_the_halo_makes_a_bright_rim_and_a_faded_middle():
    ideal, real = (phase_contrast(specimen(), halo) for halo in (0.0, 1.0))
    inside, rim, far = (48, 48), (48, 38), (10, 10)
    assert ideal[inside] < -0.8
    assert ideal[rim] == pytest.approx(ideal[far], abs=1e-4)
    assert real[41, 41] < -0.5  # just inside the outline
    assert abs(real[inside]) < 0.05
    assert real[rim] > real[far] + 0.2


def test_a_picture_has_the_mean_grey_and_the_noise_that_was_asked_for():
    flat = np.zeros((128, 160), np.float32)
    quiet, noisy = (expose(flat, noise, 0.0, RANDOM(0)) for noise in (0.0, 3.0))
    assert (quiet.dtype, quiet.shape) == (np.uint8, (128, 160))
    assert np.ptp(quiet) == 0
    assert noisy.mean() == pytest.approx(128, abs=0.5)
    assert noisy.std() == pytest.approx(3.0, abs=0.3)
    np.testing.assert_array_equal(noisy, expose(flat, 3.0, 0.0, RANDOM(0)))


def test_a_drift_is_slow():
    drift = expose(np.zeros((128, 160), np.float32), 0.0, 4.0, RANDOM(1)).astype(float)
    assert drift.std() == pytest.approx(4.0, abs=0.5)
    assert max(np.abs(np.diff(drift, axis=axis)).max() for axis in (0, 1)) <= 1


def test_a_band_has_unit_deviation_and_no_slow_part():
    grain = band(RANDOM(2), (200, 200), 1.0, 4.0)
    assert grain.std() == pytest.approx(1, abs=1e-3)
    assert abs(grain.reshape(10, 20, 10, 20).mean(axis=(1, 3))).max() < 0.5
