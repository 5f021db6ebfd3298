"""COCO segmentations of any kind."""

import math
from typing import Any

import numpy as np
import pytest
from faster_coco_eval.core import mask as coco_mask
from hypothesis import given, settings
from hypothesis import strategies as st

from somaseg.masks.rle import crops_from_runs, runs_from_texts
from somaseg.masks.segmentations import rasterised

SIZE = (4, 5)
SQUARE = np.zeros(SIZE, bool)
SQUARE[1:3, 2:4] = True
FLAT = [2, 1, 4, 1, 4, 3, 2, 3]


def mask(text: bytes, size: tuple[int, int] = SIZE) -> np.ndarray:
    starts, lengths, owner, reasons = runs_from_texts([text], size[0] * size[1])
    assert not reasons
    (box,), (crop,) = crops_from_runs(starts, lengths, owner, 1, size, "F")
    full = np.zeros(size, bool)
    full[box[1] : box[3], box[0] : box[2]] = crop
    return full


@pytest.mark.parametrize(
    "segmentation",
    [
        [FLAT],
        FLAT,
        [[2, 1], [4, 1], [4, 3], [2, 3]],
        [[[2, 1], [4, 1], [4, 3], [2, 3]]],
        [[*FLAT, 2, 1]],
        [[str(number) for number in FLAT]],
        {"size": [4, 5], "counts": "92203"},
        {"size": [4, 5], "counts": b"92203"},
        {"size": [4, 5], "counts": "b'92203'"},
        {"size": [4.0, "5"], "counts": [9, 2, 2, 2, 5]},
        {"size": [4, 5], "counts": ["9", 2.0, "2.0", 2, 5]},
        {"size": [4, 5], "counts": "9 2 2 2 5"},
        {"size": [4, 5], "counts": "[9, 2, 2, 2, 5]"},
    ],
)
def test_every_form_is_the_same_mask(segmentation: Any) -> None:
    found = rasterised(segmentation, SIZE)
    assert np.array_equal(mask(found.text), SQUARE)
    assert (found.bad_pieces, found.outside) == ((), None)


@pytest.mark.parametrize(
    "piece",
    [[40.0, 40.0, 41.0, 41.0], [40, 40], [], [1, 2, 3, 4, 5], [math.nan] * 6, [1, 2, math.inf, 4, 5, 6], None, "x", [None] * 6, {}, 3],
)
def test_a_bad_piece_goes_and_the_cell_stays(piece: Any) -> None:
    found = rasterised([FLAT, piece], SIZE)
    assert np.array_equal(mask(found.text), SQUARE)
    assert len(found.bad_pieces) == 1
    assert found.bad_pieces[0].startswith("piece 1: ")
    with pytest.raises(ValueError, match=r"piece|polygon"):
        rasterised([piece], SIZE)


@pytest.mark.parametrize("far", [1e3, 1e6, 1e12, 1e300])
def test_a_polygon_far_beyond_the_image_costs_nothing(far: float) -> None:
    found = rasterised([[-far, 1, 4, 1, 4, 3, -far, 3]], SIZE)
    expected = np.zeros(SIZE, bool)
    expected[1:3, :4] = True
    assert np.array_equal(mask(found.text), expected)
    assert found.outside is not None
    assert not mask(rasterised([[far, 1, far + 10, 1, far, 9]], SIZE).text).any()


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(-300, 350), st.integers(-300, 350)), min_size=3, max_size=6))
def test_cutting_a_far_polygon_changes_pixels_near_its_outline_alone(points: list[tuple[int, int]]) -> None:
    size = (40, 50)
    flat = [float(v) for point in points for v in point]
    found = mask(rasterised([flat], size).text, size)
    expected = coco_mask.decode(coco_mask.frPyObjects([flat], *size))[..., 0] == 1
    assert (found != expected).sum() <= 4 * len(points) * sum(size) / 10


def test_an_outline_of_millions_of_pixels_is_refused() -> None:
    zigzag = [float(v) for n in range(3000) for v in ((n % 2) * 9999, n)]
    with pytest.raises(ValueError, match="an outline of"):
        rasterised([zigzag], (10_000, 10_000))


def test_counts_that_wrap_around_are_refused() -> None:
    """Two runs of 2**31 - 1 and one of 22 sum to 20 in 32 bits."""

    def digits(number: int) -> str:
        text = ""
        while True:
            low, number = number & 31, number >> 5
            more = number != (-1 if low & 16 else 0)
            text += chr(48 + (low | 32 if more else low))
            if not more:
                return text

    counts = [0, 2**31 - 1, 2**31 - 1, 22]
    text = "".join(digits(n if i < 3 else n - counts[i - 2]) for i, n in enumerate(counts)).encode()
    assert runs_from_texts([text], 20)[3]
    assert "too many digits" in runs_from_texts([b"o" * 40 + b"0"], 20)[3][0]
