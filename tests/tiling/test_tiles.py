import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from somaseg.config import TileSettings
from somaseg.tiling.tiles import tiles

SETTINGS = TileSettings(whole=100, side=80, overlap=16, step=4)


@given(st.integers(1, 700), st.integers(1, 700))
def test_cores_are_the_image_and_tiles_are_no_larger_than_asked(height, width):
    parts = tiles((height, width), SETTINGS)
    owners = np.zeros((height, width), int)
    for part in parts:
        x0, y0, x1, y1 = part.box
        assert 0 <= x0 < x1 <= width
        assert 0 <= y0 < y1 <= height
        left, top, right, bottom = part.core
        assert x0 <= left < right <= x1
        assert y0 <= top < bottom <= y1
        owners[top:bottom, left:right] += 1
        if len(parts) > 1:
            assert max(x1 - x0, y1 - y0) <= SETTINGS.side
            for own, edge, end in ((left, x0, 0), (top, y0, 0), (right, x1, width), (bottom, y1, height)):
                assert edge == own == end or abs(own - edge) >= SETTINGS.overlap // 2
    assert (owners == 1).all()
    assert (len(parts) == 1) == (max(height, width) <= SETTINGS.whole)


def test_a_field_of_the_competition_is_one_tile_and_larger_images_are_several():
    assert len(tiles((520, 704), TileSettings())) == 1
    assert len(tiles((1040, 1392), TileSettings())) == 2
    boxes = [part.box for part in tiles((20000, 20000), TileSettings())]
    assert len(boxes) == 20 * 20
    assert {side for x0, y0, x1, y1 in boxes for side in (x1 - x0, y1 - y0)} <= set(range(900, TileSettings().side + 1))
    assert all(start % 64 == 0 for box in boxes for start in box[:2])


def test_tiles_share_no_more_than_half():
    with pytest.raises(ValidationError, match="give an overlap of at most half of the side"):
        TileSettings(side=100, overlap=51)


@pytest.mark.parametrize("zoom", [1 / 3, 0.5, 2.0, 3.0])
def test_tiles_are_measured_at_the_scale_of_the_weights(zoom):
    settings = TileSettings(whole=300, side=120, overlap=24, step=6)
    size = (1200, 1800)
    at_own = tiles((round(size[0] * zoom), round(size[1] * zoom)), settings)
    shown = tiles(size, settings, zoom)
    assert len(shown) == len(at_own)
    for one, other in zip(shown, at_own, strict=True):
        for length in (0, 1):
            own = other.box[length + 2] - other.box[length]
            assert (one.box[length + 2] - one.box[length]) * zoom == pytest.approx(own, abs=2 + 2 * zoom)
    assert len(tiles((300, 200), settings, 1.0)) == 1
    assert len(tiles((300, 200), settings, 2.0)) > 1
    assert len(tiles((600, 400), settings, 0.5)) == 1
