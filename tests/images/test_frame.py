"""What is measured of a frame, whatever a network is shown of it."""

from pathlib import Path

import numpy as np
import pytest

from somaseg.images.frame import Frame

PATH = Path("x.tif")


@pytest.mark.parametrize(
    ("shape", "about", "names"),
    [
        ((4, 5), {}, ("0",)),
        ((4, 5), {"channels": ("DAPI",)}, ("DAPI",)),
        ((4, 5, 1), {}, ("0",)),
        ((4, 5, 2), {"alpha": "straight"}, ("0",)),
        ((4, 5, 3), {"meaning": "colour"}, ("red", "green", "blue")),
        ((4, 5, 4), {"meaning": "colour", "alpha": "straight"}, ("red", "green", "blue")),
        ((4, 5, 2), {"meaning": "channels", "channels": ("DAPI", " GFP ")}, ("DAPI", "GFP")),
        ((4, 5, 2), {"meaning": "channels", "channels": ("GFP", "GFP")}, ("0", "1")),
        ((4, 5, 2), {"meaning": "channels", "channels": ("GFP", " ")}, ("0", "1")),
        ((4, 5, 2), {"meaning": "channels", "channels": ("GFP",)}, ("0", "1")),
        ((4, 5, 6), {"meaning": "channels"}, ("0", "1", "2", "3", "4", "5")),
    ],
)
def test_every_channel_but_alpha_is_measured(shape, about, names):
    frame = Frame(PATH, None, np.zeros(shape), **about)
    assert frame.measured.names == names
    assert frame.measured.array is frame.array


def test_a_chosen_channel_leaves_the_others_to_be_measured():
    frame = Frame(PATH, None, np.arange(40).reshape(4, 5, 2), meaning="channels", channels=("DAPI", "GFP"))
    chosen = frame.choose("GFP")
    assert chosen.array.shape == (4, 5)
    assert chosen.measured.names == ("DAPI", "GFP")
    assert chosen.measured.array is frame.array
    assert frame.choose(None).measured.array is frame.array
