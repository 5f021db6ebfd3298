"""Numbers on pictures: those of the table, on their cells, never over each other."""

import numpy as np
import pytest

from somaseg.export.numbers import SMALLEST, digits, draw_numbers
from somaseg.instances import Instances


def squares(*corners: tuple[int, int], edge: int = 20, size: tuple[int, int] = (120, 160)) -> Instances:
    return Instances.build(size, [((x, y, x + edge, y + edge), np.ones((edge, edge), bool)) for x, y in corners], ("cell",))


def changed(cells: Instances, scale: float = 1) -> tuple[np.ndarray, int]:
    """Where a grey picture was written on, and how many numbers were left out."""
    picture = np.full((round(cells.size[0] * scale), round(cells.size[1] * scale), 3), 128, np.uint8)
    left_out = draw_numbers(picture, cells, scale)
    return (picture != 128).any(axis=2), left_out


@pytest.mark.parametrize("scale", [0.5, 1, 2, 4])
def test_a_number_lies_on_its_cell(scale):
    where, left_out = changed(squares((30, 40), edge=30), scale)
    y, x = np.nonzero(where)
    assert left_out == 0
    assert (y.min() >= 40 * scale, y.max() < 70 * scale, x.min() >= 30 * scale, x.max() < 60 * scale) == (True,) * 4


def test_the_digits_are_those_of_the_number():
    cells = squares(*[(0, 0)] * 11, (40, 60), edge=30)
    picture = np.zeros((120, 160, 3), np.uint8)
    draw_numbers(picture, cells, 1)
    font = digits(13)
    expected = np.concatenate([font.light[1], font.light[2]], axis=1)  # the twelfth cell
    windows = np.lib.stride_tricks.sliding_window_view(picture[60:90, 40:70, 0], expected.shape)
    assert (windows == expected).all(axis=(2, 3)).sum() == 1


def test_light_digits_have_dark_around():
    font = digits(SMALLEST)
    assert font.light.max() > 240
    assert ((font.light > 160).sum(axis=(1, 2)) > 4).all()
    for digit in range(10):
        assert len({font.light[digit].tobytes(), *(font.light[other].tobytes() for other in range(digit))}) == digit + 1
        assert font.left[digit][font.light[digit] < 20].min() < 140


def test_a_number_that_would_hide_another_moves_or_is_left_out():
    crowd = squares(*[(50, 50)] * 9)
    _, left_out = changed(crowd)
    assert left_out == 6  # one in the middle, one above, one below


def test_a_number_larger_than_its_cell_is_left_out():
    where, left_out = changed(squares((30, 40), edge=4))
    assert (left_out, where.any()) == (1, False)


def test_cells_on_the_border_and_pictures_smaller_than_a_number():
    where, left_out = changed(squares((0, 0), (140, 100)))
    assert left_out == 0
    assert where[:20, :20].any()
    assert where[100:, 140:].any()
    assert changed(squares((0, 0), edge=5, size=(5, 5)))[1] == 1
    assert changed(Instances.empty((5, 5), ("cell",)))[1] == 0


def test_cells_without_pixels_keep_the_numbers_of_the_others():
    empty = Instances.build((120, 160), [((0, 0, 0, 0), np.zeros((0, 0), bool))], ("cell",))
    where, left_out = changed(Instances.cat([empty, squares((30, 40))]))
    assert left_out == 0
    assert where[40:60, 30:50].any()
