import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from drawing import draw
from somaseg.postprocessing.pieces import fill_holes, largest_pieces, split_pieces


def test_fill_holes_fills_only_what_is_closed():
    ring = draw("#### #..# #..# ####")
    open_ring = draw("#### #..# #... ####")
    filled = fill_holes([ring, open_ring, np.zeros((0, 0), bool)])
    assert (filled[0] == np.ones((4, 4), bool)).all()
    assert (filled[1] == open_ring).all()
    assert filled[2].shape == (0, 0)


def test_largest_pieces_takes_the_largest_and_of_equal_ones_the_first():
    pieces = largest_pieces([draw("#..## ...##"), draw("##. ..# ..#"), np.zeros((2, 2), bool)])
    assert (pieces[0] == draw("...## ...##")).all()
    assert (pieces[1] == draw("##. ... ...")).all()
    assert not pieces[2].any()


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_holes_and_pieces_on_the_sheet_equal_one_mask_at_a_time(seed):
    rng = np.random.default_rng(seed)
    crops = [rng.uniform(size=rng.integers(1, 30, 2)) > 0.45 for _ in range(60)] + [np.ones((3, 1500), bool)]
    for crop, filled in zip(crops, fill_holes(crops), strict=True):
        assert (filled == ndimage.binary_fill_holes(crop)).all()
    for crop, largest in zip(crops, largest_pieces(crops), strict=True):
        pieces, count = ndimage.label(crop)
        sizes = np.bincount(pieces.ravel())[1:]
        assert (largest == (pieces == 1 + np.argmax(sizes) if count else crop)).all()


def test_split_pieces_gives_each_in_order_of_its_first_pixel():
    whole = draw("## ##")
    owners, parts = split_pieces([draw("..#.# #...#"), np.zeros((0, 0), bool), whole])
    assert owners.tolist() == [0, 0, 0, 2]
    assert [part.tolist() for part in parts[:3]] == [
        draw("..#.. .....").tolist(),
        draw("....# ....#").tolist(),
        draw("..... #....").tolist(),
    ]
    assert parts[3] is whole
    assert split_pieces([])[0].tolist() == []


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_split_pieces_are_the_mask_parted_without_contact(seed):
    rng = np.random.default_rng(seed)
    crops = [rng.uniform(size=rng.integers(1, 12, 2)) > 0.5 for _ in range(20)]
    owners, parts = split_pieces(crops)
    for i, crop in enumerate(crops):
        own = [part for part, owner in zip(parts, owners, strict=True) if owner == i]
        assert len(own) == ndimage.label(crop)[1]
        assert (np.sum(own, axis=0) == crop).all() if own else not crop.any()
        assert all(ndimage.label(part)[1] == 1 for part in own)
