import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from drawing import draw
from somaseg.masks import crops as mk
from somaseg.postprocessing.overlaps import share_out, trim


def full_boxes(*boxes: list[int]) -> tuple[list[mk.Mask], mk.Boxes]:
    return [np.ones((y1 - y0, x1 - x0), bool) for x0, y0, x1, y1 in boxes], np.array(boxes, np.int32).reshape(-1, 4)


def test_trim_takes_used_pixels_away_and_drops_what_is_mostly_covered():
    crops, boxes = full_boxes([0, 0, 4, 4], [3, 0, 7, 4], [1, 1, 6, 3], [6, 0, 10, 4])
    kept, trimmed = trim(crops, boxes, (4, 10), max_covered=0.3)
    assert kept.tolist() == [0, 1, 3]  # 2 is covered whole; 1 and 3 by a quarter each
    assert (trimmed[1] == draw(".### .### .### .###")).all()
    assert (trimmed[2] == draw(".### .### .### .###")).all()


def test_trim_lets_a_dropped_mask_take_nothing():
    crops, boxes = full_boxes([0, 0, 4, 1], [1, 0, 7, 1], [4, 0, 8, 1])
    kept, trimmed = trim(crops, boxes, (1, 8), max_covered=0.4)
    assert kept.tolist() == [0, 2]
    assert trimmed[1].all()


def test_trim_returns_the_very_mask_that_lost_nothing():
    crops, boxes = full_boxes([0, 0, 2, 2], [2, 0, 4, 2])
    kept, trimmed = trim(crops, boxes, (2, 4), 0.0)
    assert kept.tolist() == [0, 1]
    assert trimmed[0] is crops[0]
    assert trimmed[1] is crops[1]


def test_share_out_gives_a_pixel_to_the_largest_probability_and_of_equal_ones_to_the_first():
    crops, boxes = full_boxes([0, 0, 4, 1], [1, 0, 5, 1], [6, 0, 7, 1])
    probabilities = [
        np.array([[0.9, 0.8, 0.5, 0.4]], np.float32),
        np.array([[0.5, 0.5, 0.6, 0.9]], np.float32),
        np.zeros((1, 1), np.float32),
    ]
    shared = share_out(crops, boxes, (1, 7), probabilities)
    assert (shared[0] == draw("###.")).all()
    assert (shared[1] == draw("..##")).all()
    assert shared[2] is crops[2]  # nobody else claims it, though its probability is 0


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([0.0, 0.3, 1.0]))
def test_no_pixel_is_shared_invented_or_lost(seed, max_covered):
    rng = np.random.default_rng(seed)
    size = (25, 30)
    corner = rng.integers(0, 20, (12, 2))
    boxes = np.concatenate([corner, corner + rng.integers(1, 6, (12, 2))], axis=1).astype(np.int32)
    crops = [rng.uniform(size=(y1 - y0, x1 - x0)) < 0.8 for x0, y0, x1, y1 in boxes.tolist()]

    def count(masks, where):
        return np.sum([mk.paste(mask, box, size).astype(int) for mask, box in zip(masks, where, strict=True)], axis=0)

    kept, trimmed = trim(crops, boxes, size, max_covered)
    assert (count(trimmed, boxes[kept]) == (count([crops[i] for i in kept], boxes[kept]) > 0)).all()
    if max_covered == 1:
        assert len(kept) == len(crops)
    shared = share_out(crops, boxes, size, [rng.integers(0, 3, crop.shape).astype(np.float32) for crop in crops])
    assert (count(shared, boxes) == (count(crops, boxes) > 0)).all()
    for before, after in zip(crops, shared, strict=True):
        assert not (after & ~before).any()
