"""What differs between the cultures: that each cell type has one, with numbers that make sense."""

import pytest

from somaseg.synth.cells import CELLS
from somaseg.synth.cultures import CULTURES
from somaseg.synth.render import CLASSES


def test_every_cell_type_has_a_shape_and_a_culture():
    assert set(CULTURES) == set(CELLS) == set(CLASSES)


@pytest.mark.parametrize("cell_type", CLASSES)
def test_shares_are_shares_and_ranges_rise(cell_type):
    culture = CULTURES[cell_type]
    assert 0 < culture.count <= culture.most
    for share in ("clumping", "touching", "crossing", "linked", "beads"):
        assert 0 <= getattr(culture, share) <= 1, share
    assert 0 < culture.radius[0] < culture.radius[1]
    assert min(culture.loose, culture.groups, culture.balls, culture.specks, culture.spacing, culture.neurite_length) >= 0
