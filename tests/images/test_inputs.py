import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import ValidationError

from somaseg.config import X152, DetectSettings, InputSettings
from somaseg.images.inputs import input_size, prepare
from somaseg.images.normalize import normalize
from somaseg.models.cascade import CascadeMaskRCNN
from tiny import TINY


def settings(values="standard", **detections):
    given = InputSettings(values=values)
    return TINY.model_copy(update={"input": given, "detect": DetectSettings(**{"scale": 1.0, **detections})})


def noise(height=20, width=30):
    return np.random.default_rng(0).integers(0, 256, (height, width), np.uint8)


@pytest.mark.parametrize(
    ("size", "shortest", "longest", "expected"),
    [
        ((520, 704), 800, 1333, (800, 1083)),  # 704 * 800 / 520 = 1083.08
        ((704, 520), 800, 1333, (1083, 800)),
        ((520, 704), 800, None, (800, 1083)),
        ((520, 704), 1300, 1408, (1040, 1408)),
        ((100, 1000), 800, 1333, (133, 1333)),
        ((100, 100), 50, 60, (50, 50)),
        ((2, 5), 3, None, (3, 8)),  # 7.5 is rounded up
        ((1, 500), 1, 100, (1, 100)),
    ],
)
def test_edges(size, shortest, longest, expected):
    assert input_size(size, DetectSettings(shortest_edge=shortest, longest_edge=longest)) == expected


def test_scale_holds_without_edges():
    assert input_size((5, 7), DetectSettings(scale=1.5)) == (8, 10)
    assert input_size((3, 4), DetectSettings(scale=0.1)) == (1, 1)
    with pytest.raises(ValidationError, match="give shortest_edge too"):
        DetectSettings(longest_edge=100)


def test_standard_values_at_their_own_size():
    image = noise()
    given = prepare(image, settings())
    assert (given.dtype, given.shape) == (np.float32, (1, 20, 30))
    np.testing.assert_array_equal(given[0], normalize(image))


@pytest.mark.parametrize("values", ["standard", "grey8"])
def test_a_flat_image_stays_flat_at_any_size(values):
    for edge in (7, 64):
        given = prepare(np.full((20, 30), 9, np.uint8), settings(values, shortest_edge=edge))
        np.testing.assert_allclose(given, np.full((1, edge, int(edge * 1.5 + 0.5)), 9.0 if values == "grey8" else 0.0), rtol=1e-6)


def test_smaller_standard_images_are_smoothed():
    stripes = np.tile(np.array([0, 255], np.uint8), (20, 20))
    assert np.abs(prepare(stripes, settings(scale=0.25))[:, :, 1:-1]).max() < 0.2
    assert np.abs(prepare(stripes, settings(shortest_edge=5))[:, :, 1:-1]).max() < 0.2


def test_grey8_is_what_pillow_makes_of_8_bits():
    image = noise()
    np.testing.assert_array_equal(prepare(image, settings("grey8"))[0], image)
    given = prepare(image, settings("grey8", shortest_edge=33))
    expected = np.asarray(Image.fromarray(np.stack([image] * 3, axis=-1)).resize((50, 33), Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(given[0], expected[..., 0])
    assert given.dtype == np.float32


def test_grey_becomes_channels_less_their_mean_over_their_deviation():
    given = InputSettings(values="grey8", channels=3, mean=(1.0, 2.0, 3.0), std=(1.0, 2.0, 4.0))
    batch, sizes = CascadeMaskRCNN(TINY.model_copy(update={"input": given})).pad([torch.full((1, 14, 16), 11.0)])
    assert sizes == [(14, 16)]
    assert batch.shape == (1, 3, 16, 16)
    assert batch[0, :, 0, 0].tolist() == [10, 4.5, 2]
    assert not batch[:, :, 14:].any()  # padding comes last, so it is zero


@pytest.mark.parametrize("changes", [{"channels": 3}, {"mean": (1.0, 2.0)}, {"std": (0.0,)}])
def test_input_settings_must_fit(changes):
    with pytest.raises(ValidationError):
        InputSettings(**changes)


def test_the_x152_reads_grey8_at_800_pixels():
    given = prepare(noise(52, 70), X152)
    assert given.shape == (1, 800, 1077)
    assert (given == given.round()).all()
