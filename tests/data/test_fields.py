from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest
from scipy import ndimage

from somaseg.annotations.read import read_annotations
from somaseg.annotations.samples import Sample
from somaseg.data.fields import contrast_map, correlations, find_groups
from somaseg.instances import Instances

SHARED = Path(__file__).parents[3] / "shared" / "data"


def culture(seed: int, shift: tuple[int, int] = (0, 0), time: int = 0) -> np.ndarray:
    """Blobs of texture on noise under a lamp that is the same for all."""
    rng = np.random.default_rng(seed)
    blobs = ndimage.gaussian_filter((rng.random((200, 240)) < 0.002).astype(float), 4)
    texture = np.random.default_rng([seed, time]).normal(size=blobs.shape)
    image = 100 + 4000 * blobs * texture + np.linspace(0, 60, 240) + np.random.default_rng(time).normal(size=blobs.shape)
    return np.roll(image, shift, (0, 1)).clip(0, 255).astype(np.uint8)


def test_same_field_at_other_times_and_places_is_found(tmp_path: Path) -> None:
    images = {"a": culture(1), "b": culture(1, (9, -14), 5), "c": culture(2, time=7), "d": culture(2, (0, 20)), "e": culture(3)}
    images["wide"] = culture(3)[:, :160]
    images["flat"] = np.full((200, 240), 7, np.uint8)
    samples = []
    for name, image in images.items():
        iio.imwrite(tmp_path / f"{name}.png", image)
        samples.append(Sample(tmp_path / f"{name}.png", Instances.empty(image.shape, ("cell",)), name))
    expected = {"a": "a", "b": "a", "c": "c", "d": "c", "e": "e", "wide": "wide", "flat": "flat"}
    assert find_groups(samples) == expected
    assert find_groups(samples[::-1]) == expected


def test_contrast_map_and_its_correlation() -> None:
    maps = np.stack([contrast_map(culture(1)), contrast_map(culture(1).astype(np.float32) * 300), contrast_map(culture(2))])
    assert maps.shape == (3, 25, 30)
    assert maps[0].mean() == pytest.approx(0, abs=1e-6)
    assert np.linalg.norm(maps[0]) == pytest.approx(1, abs=1e-5)
    found = correlations(maps)
    assert found[0, 1] == pytest.approx(1, abs=1e-5)
    assert found[0, 2] < 0.2
    assert not np.tril(found).any()


def test_an_image_smaller_than_a_block() -> None:
    assert contrast_map(np.zeros((3, 100), np.uint8)).tolist() == [[0]]


@pytest.mark.skipif(not SHARED.is_dir(), reason="the real images are not beside the repository")
def test_fields_of_real_astro_images() -> None:
    samples = [s for s in read_annotations(SHARED / "sartorius") if s.cell_type == "astro"]
    found = find_groups(samples)
    # The annotation's groups and one pair more, which by eye is of one field as well.
    pairs = {(a.name, b.name) for a in samples for b in samples if a.name < b.name and found[a.name] == found[b.name]}
    given = {(a.name, b.name) for a in samples for b in samples if a.name < b.name and a.group == b.group}
    assert pairs - given == {("085eb8fec206", "182c3da676bd")}
    assert given <= pairs
