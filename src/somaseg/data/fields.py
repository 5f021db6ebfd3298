"""Find images of the same field of view taken at different times, by cross-correlation of their local contrast."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage, sparse

from somaseg.annotations.samples import Sample
from somaseg.images.normalize import to_grey
from somaseg.images.read import read_image

BLOCK = 8  # pixels; the size of a small cell, so that a cell that moved a little still counts
SMOOTH = 8.0  # blocks; slower changes of contrast are the same lamp and the same well, not the same field
MAX_SHIFT = 24  # pixels; how far a stage misses its place
# On 419 competition images the 160 pairs of one field correlate with .235 or more. Of the other 87,411 pairs, one correlates
# with .220 (by eye it shows one field as well), the rest with .157 or less.
THRESHOLD = 0.2


def contrast_map(image: NDArray[Any]) -> NDArray[np.float32]:
    """Local standard deviation in blocks of 8 x 8 pixels, less its smooth part, of zero mean and unit norm."""
    grey = to_grey(image)
    height, width = (n // BLOCK * BLOCK for n in grey.shape)
    if not height or not width:
        return np.zeros((1, 1), np.float32)
    blocks = grey[:height, :width].reshape(height // BLOCK, BLOCK, width // BLOCK, BLOCK)
    contrast = blocks.std(axis=(1, 3))
    contrast -= ndimage.gaussian_filter(contrast, SMOOTH)
    contrast -= contrast.mean()
    norm = float(np.linalg.norm(contrast))
    return np.asarray(contrast / norm if norm > 0 else contrast, np.float32)


def correlations(maps: NDArray[np.float32]) -> NDArray[np.float32]:
    """Highest correlation of each pair of maps (N, h, w) over shifts of up to `MAX_SHIFT` pixels, (N, N), above the diagonal."""
    shape = maps.shape[1:]
    spectra = fft.rfft2(maps)
    reach = MAX_SHIFT // BLOCK
    rows, columns = (np.unique(np.arange(-reach, reach + 1) % n) for n in shape)
    result = np.zeros((len(maps), len(maps)), np.float32)
    for i in range(len(maps) - 1):
        products = fft.irfft2(spectra[i].conj() * spectra[i + 1 :], shape)
        result[i, i + 1 :] = products[:, rows[:, None], columns].max(axis=(1, 2))
    return result


def find_groups(samples: Sequence[Sample], threshold: float = THRESHOLD) -> dict[str, str]:
    """Group of each image by its name: images whose contrast correlates, directly or through a third one, share it.

    Only images of one size are compared. A group is called by the first of its names.

    Raises:
        InputError: when an image cannot be read.
    """
    ordered = sorted(samples, key=lambda sample: sample.name)
    by_size: dict[tuple[int, ...], list[tuple[str, NDArray[np.float32]]]] = {}
    for sample in ordered:
        field = contrast_map(np.asarray(read_image(Path(sample.image)).picture))
        by_size.setdefault(field.shape, []).append((sample.name, field))
    groups: dict[str, str] = {}
    for fields in by_size.values():
        names = [name for name, _ in fields]
        linked = sparse.csr_array((correlations(np.stack([field for _, field in fields])) > threshold).astype(np.int8))
        _, component = sparse.csgraph.connected_components(linked, directed=False)
        first = {int(number): names[i] for i, number in reversed(list(enumerate(component)))}
        groups.update({name: first[int(number)] for name, number in zip(names, component, strict=True)})
    return groups
