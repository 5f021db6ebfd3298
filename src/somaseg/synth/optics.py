"""Phase-contrast imaging of a thin transparent specimen.

Light that the specimen leaves undisturbed is dimmed and shifted by a quarter of a wave, light that it diffracts is not
(Zernike 1942). The phase ring also catches light that is diffracted by small angles only, which is what makes the bright
halo round a cell and the fading towards the middle of a wide one.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from somaseg.synth.cells import Floats, Random

RING_AMPLITUDE = 0.5  # of the undisturbed light; objectives dim it to between .3 and .5
RING_SIGMA = 1.6  # px; the ring's catch at small angles, which sets the width of the halo; matched to real profiles
BLUR = 0.3  # px; lens and sensor together, matched to the finest octave of real images
GREY = 128.0  # the mean of every real image of the competition
CONTRAST = 128.0  # grey levels for a change of intensity by the whole background


def phase_contrast(phase: Floats, halo: float) -> Floats:
    """Intensity over the background's, less 1, of a specimen with optical delays `phase` (H, W) in rad.

    Args:
        phase: optical delay of every pixel, 0 in the empty medium.
        halo: share of the small-angle light that the ring catches: 0 an ideal microscope, 1 the real one.
    """
    wave = np.exp(1j * phase).astype(np.complex64)
    local = ndimage.gaussian_filter(wave.real, RING_SIGMA) + 1j * ndimage.gaussian_filter(wave.imag, RING_SIGMA)
    undisturbed = halo * local + (1 - halo) * wave.mean()
    image = wave + (-1j * RING_AMPLITUDE - 1) * undisturbed
    return np.asarray(np.abs(image) ** 2 / RING_AMPLITUDE**2 - 1, np.float32)


def expose(intensity: Floats, noise: float, unevenness: float, rng: Random) -> NDArray[np.uint8]:
    """An 8-bit picture (H, W) of mean 128: blur, uneven light, sensor noise.

    Args:
        intensity: change against the background, as `phase_contrast` gives it.
        noise: standard deviation of the sensor noise, grey levels.
        unevenness: standard deviation of the slow brightness drift over the field, grey levels.
        rng: source of the noise.
    """
    shape = intensity.shape
    picture = CONTRAST * ndimage.gaussian_filter(intensity, BLUR)
    down, across = (np.cos(np.pi * np.outer(np.arange(3), np.linspace(0, 1, length))) for length in shape)
    drift = down.T @ rng.standard_normal((3, 3)) @ across
    picture += (unevenness * drift / max(float(drift.std()), 1e-9)).astype(np.float32)
    picture += noise * band(rng, shape, 0.45, 1.4)
    return np.asarray(np.clip(np.rint(picture - picture.mean() + GREY), 0, 255), np.uint8)


def band(rng: Random, shape: tuple[int, int], fine: float, coarse: float) -> Floats:
    """Noise (H, W) of unit deviation with structures between `fine` and `coarse` px (Gaussian sigmas)."""
    white = rng.standard_normal(shape, np.float32)
    grain = ndimage.gaussian_filter(white, fine) - ndimage.gaussian_filter(white, coarse)
    return (grain / max(float(grain.std()), 1e-9)).astype(np.float32)
