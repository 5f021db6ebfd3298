import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage

from somaseg import masks as mk
from somaseg.config import PostprocessSettings
from somaseg.errors import InputError
from somaseg.instances import Prediction
from somaseg.postprocess import (
    StepReport,
    areas,
    by_class,
    fill_holes,
    largest_pieces,
    paste,
    postprocess,
    postprocess_with_report,
    suppress,
    trim,
    vote,
)

CLASSES = ("shsy5y", "astro", "cort")
BARE = {
    "one_class_per_image": False,
    "rank_by_mask": False,
    "score_thresh": {"default": 0.0},
    "mask_thresh": {"default": 0.5},
    "min_area": {"default": 0.0},
}


def prediction(boxes: list[list[float]], scores: list[float], labels: list[int] | None = None, size=(20, 30), probs=None) -> Prediction:
    n = len(boxes)
    return Prediction(
        size=size,
        boxes=np.array(boxes, np.float32).reshape(n, 4),
        scores=np.array(scores, np.float32),
        labels=np.array([0] * n if labels is None else labels, np.int64),
        mask_probs=np.ones((n, 28, 28), np.float16) if probs is None else np.asarray(probs, np.float16),
        classes=CLASSES,
    )


def mask(*rows: str) -> mk.Mask:
    return np.array([[c == "#" for c in row] for row in rows])


def dense_paste(box: NDArray[np.float32], grid: NDArray[np.floating], size: mk.Size) -> NDArray[np.float64]:
    """Bilinear interpolation at every pixel centre, tap by tap, zeros around the grid."""
    side = len(grid)
    out = np.zeros(size)
    x0, y0, x1, y1 = box.astype(np.float64)
    for y in range(size[0]):
        for x in range(size[1]):
            u = (x + 0.5 - x0) / (x1 - x0) * side - 0.5
            v = (y + 0.5 - y0) / (y1 - y0) * side - 0.5
            for row in (int(np.floor(v)), int(np.floor(v)) + 1):
                for column in (int(np.floor(u)), int(np.floor(u)) + 1):
                    if 0 <= row < side and 0 <= column < side:
                        out[y, x] += float(grid[row, column]) * (1 - abs(v - row)) * (1 - abs(u - column))
    return out


def box_mask(box: list[int]) -> tuple[mk.Boxes, mk.Mask]:
    x0, y0, x1, y1 = box
    return np.array(box, np.int32), np.ones((y1 - y0, x1 - x0), bool)


def full_boxes(*boxes: list[int]) -> tuple[list[mk.Mask], mk.Boxes]:
    pairs = [box_mask(b) for b in boxes]
    return [m for _, m in pairs], np.array([b for b, _ in pairs], np.int32).reshape(-1, 4)


def test_paste_of_a_grid_as_large_as_its_box_copies_it():
    grid = np.array([[[1, 0, 0], [0, 1, 0], [0, 0.9, 1]]], np.float16)
    boxes, crops, means = paste(np.array([[4, 2, 7, 5]], np.float32), grid, np.array([0.5]), (10, 10))
    assert boxes.tolist() == [[4, 2, 7, 5]]
    assert (crops[0] == mask("#..", ".#.", ".##")).all()
    assert means[0] == pytest.approx(3.9 / 4, abs=1e-3)


def test_paste_cuts_at_the_image_and_gives_nothing_for_boxes_without_pixels():
    boxes = np.array([[-4, -4, 4, 4], [30, 30, 40, 40], [5, 5, 5, 9], [6, 3, 4, 9], [np.nan, 0, 3, 3], [2.1, 2.1, 2.3, 2.3]], np.float32)
    tight, crops, means = paste(boxes, np.ones((6, 28, 28), np.float16), np.full(6, 0.6), (10, 12))
    assert tight.tolist() == [[0, 0, 4, 4]] + [[0, 0, 0, 0]] * 5
    assert [c.shape for c in crops] == [(4, 4)] + [(0, 0)] * 5
    assert means.tolist() == [1, 0, 0, 0, 0, 0]


def test_paste_reaches_half_a_grid_cell_out_of_the_box():
    # A grid of one cell over a box of 4 px: the value falls linearly from 1 at the middle to 0 one grid cell away.
    grid = np.ones((1, 1, 1), np.float16)
    boxes, crops, _ = paste(np.array([[4, 4, 8, 8]], np.float32), grid, np.array([0.2]), (12, 12))
    assert boxes.tolist() == [[3, 3, 9, 9]]
    assert (crops[0] == (dense_paste(np.array([4, 4, 8, 8], np.float32), grid[0], (12, 12))[3:9, 3:9] >= 0.2)).all()


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_paste_equals_the_dense_definition(seed):
    rng = np.random.default_rng(seed)
    size, side = (17, 23), 5
    corner = rng.uniform(-8, 25, (6, 2))
    boxes = np.concatenate([corner, corner + np.exp(rng.uniform(-1, 3.5, (6, 2)))], axis=1).astype(np.float32)
    grids = rng.uniform(0, 1, (6, side, side)).astype(np.float16)
    thresholds = rng.uniform(0.1, 0.7, 6)
    tight, crops, means = paste(boxes, grids, thresholds, size)
    for i in range(6):
        soft = dense_paste(boxes[i], grids[i], size)
        sure = np.abs(soft - thresholds[i]) > 1e-5  # float32 may round the others either way
        pasted = mk.paste(crops[i], tight[i], size)
        assert (pasted == (soft >= thresholds[i]))[sure].all()
        assert tuple(tight[i]) == mk.crop_from_mask(pasted)[0]
        if pasted.any():
            assert means[i] == pytest.approx(soft[pasted].mean(), abs=1e-4)


def test_suppress_keeps_what_loses_only_to_a_suppressed_one():
    # 0 beats 1 (IoU 2/3), 1 would beat 2 (IoU 2/3), 0 and 2 share less (IoU 3/7): 2 stays.
    crops, boxes = full_boxes([0, 0, 10, 4], [2, 0, 12, 4], [4, 0, 14, 4])
    assert suppress(crops, boxes, 0.5).tolist() == [0, 2]
    assert suppress(crops, boxes, 0.4).tolist() == [0]


def test_suppress_compares_strictly_and_by_mask_not_by_box():
    crops, boxes = full_boxes([0, 0, 4, 1], [2, 0, 6, 1])  # IoU 2/6
    assert suppress(crops, boxes, 1 / 3).tolist() == [0, 1]
    assert suppress(crops, boxes, 0.33).tolist() == [0]
    triangle = np.tri(6, k=-1, dtype=bool)
    same = np.array([[0, 0, 6, 6]] * 2, np.int32)
    assert suppress([triangle, triangle.T], same, 0.0).tolist() == [0, 1]


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0, 1))
def test_suppress_equals_greedy_nms_on_the_iou_matrix(seed, iou):
    rng = np.random.default_rng(seed)
    pairs = [mk.crop_from_mask(m) for m in ndimage.zoom(rng.uniform(size=(25, 4, 4)), (1, 5, 5), order=1) > 0.7]
    boxes, crops = np.array([b for b, _ in pairs], np.int32), [c for _, c in pairs]
    matrix = mk.pairwise_iou(crops, boxes, crops, boxes, (20, 20))
    kept: list[int] = []
    for i in range(len(crops)):
        if all(matrix[i, j] <= iou for j in kept):
            kept.append(i)
    assert suppress(crops, boxes, iou).tolist() == kept


def test_fill_holes_fills_only_what_is_closed():
    ring = mask("####", "#..#", "#..#", "####")
    open_ring = mask("####", "#..#", "#...", "####")
    filled = fill_holes([ring, open_ring, np.zeros((0, 0), bool)])
    assert (filled[0] == np.ones((4, 4), bool)).all()
    assert (filled[1] == open_ring).all()
    assert filled[2].shape == (0, 0)


def test_largest_pieces_takes_the_largest_and_of_equal_ones_the_first():
    pieces = largest_pieces([mask("#..##", "...##"), mask("##.", "..#", "..#"), np.zeros((2, 2), bool)])
    assert (pieces[0] == mask("...##", "...##")).all()
    assert (pieces[1] == mask("##.", "...", "...")).all()
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


def test_trim_takes_used_pixels_away_and_drops_what_is_mostly_covered():
    crops, boxes = full_boxes([0, 0, 4, 4], [3, 0, 7, 4], [1, 1, 6, 3], [6, 0, 10, 4])
    kept, trimmed = trim(crops, boxes, (4, 10), max_covered=0.3)
    assert kept.tolist() == [0, 1, 3]  # 2 is covered whole; 1 and 3 by a quarter each
    assert (trimmed[1] == mask(".###", ".###", ".###", ".###")).all()
    assert (trimmed[2] == mask(".###", ".###", ".###", ".###")).all()


def test_trim_lets_a_dropped_mask_take_nothing():
    crops, boxes = full_boxes([0, 0, 4, 1], [1, 0, 7, 1], [4, 0, 8, 1])
    kept, trimmed = trim(crops, boxes, (1, 8), max_covered=0.4)
    assert kept.tolist() == [0, 2]
    assert trimmed[1].all()


def test_vote_sums_scores():
    assert vote(np.array([0, 0, 2]), np.array([0.2, 0.2, 0.5], np.float32)) == 2
    assert vote(np.array([1, 0]), np.array([0.5, 0.5], np.float32)) == 0


def test_by_class_falls_back_to_the_default_and_refuses_unknown_names():
    assert by_class({"default": 1.0, "astro": 3.0}, CLASSES, "min_area").tolist() == [1, 3, 1]
    with pytest.raises(InputError, match=r"postprocess\.min_area names class 'asto', the detector knows shsy5y, astro, cort"):
        by_class({"default": 1.0, "asto": 3.0}, CLASSES, "min_area")


def test_settings_refuse_a_field_without_default_and_a_threshold_above_one():
    with pytest.raises(ValueError, match="give a value for `default`"):
        PostprocessSettings(score_thresh={"astro": 0.5})
    with pytest.raises(ValueError, match="less than or equal to 1"):
        PostprocessSettings(nms_iou=1.5)


def test_all_steps_count_what_they_remove():
    found = prediction(
        boxes=[[0, 0, 10, 10], [1, 0, 11, 10], [8, 8, 12, 12], [7, 0, 14, 9], [20, 0, 22, 2], [25, 15, 29, 19], [40, 40, 50, 50]],
        scores=[0.9, 0.8, 0.7, 0.6, 0.5, 0.1, 0.9],
    )
    chosen = PostprocessSettings(
        **{**BARE, "score_thresh": {"default": 0.3}, "min_area": {"default": 5}, "max_covered": 0.2, "nms_iou": 0.5}
    )
    cells, report = postprocess_with_report(found, chosen)
    assert report == StepReport(detections=7, low_score=1, empty_mask=1, duplicates=1, covered=2, small=1, cells=1)
    assert cells.boxes.tolist() == [[0, 0, 10, 10]]
    assert cells.scores.tolist() == pytest.approx([0.9])


def test_keep_leaves_overlaps_and_trim_leaves_none():
    found = prediction(boxes=[[0, 0, 10, 10], [8, 0, 18, 10]], scores=[0.5, 0.9])
    kept = postprocess(found, PostprocessSettings(**BARE, overlaps="keep"))
    assert kept.boxes.tolist() == [[8, 0, 18, 10], [0, 0, 10, 10]]
    assert kept.area.tolist() == [100, 100]
    trimmed = postprocess(found, PostprocessSettings(**BARE, overlaps="trim"))
    assert trimmed.boxes.tolist() == [[8, 0, 18, 10], [0, 0, 8, 10]]
    assert trimmed.area.tolist() == [100, 80]


def test_one_class_per_image_moves_every_cell_to_the_winner_and_its_thresholds():
    found = prediction(boxes=[[0, 0, 5, 5], [10, 0, 15, 5], [20, 0, 25, 5]], scores=[0.9, 0.4, 0.8], labels=[2, 1, 2])
    thresholds = {"default": 0.0, "cort": 0.5}
    voted = postprocess(found, PostprocessSettings(**{**BARE, "one_class_per_image": True, "score_thresh": thresholds}))
    assert voted.labels.tolist() == [2, 2]
    free = postprocess(found, PostprocessSettings(**{**BARE, "score_thresh": thresholds}))
    assert free.labels.tolist() == [2, 2, 1]


def test_rank_by_mask_multiplies_and_thresholds_the_product():
    probs = np.ones((2, 28, 28))
    probs[0] = 0.5
    found = prediction(boxes=[[0, 0, 8, 8], [10, 0, 18, 8]], scores=[0.9, 0.6], probs=probs)
    ranked = postprocess(found, PostprocessSettings(**{**BARE, "rank_by_mask": True, "mask_thresh": {"default": 0.4}}))
    assert ranked.boxes[:, 0].tolist() == [10, 0]
    assert ranked.scores.tolist() == pytest.approx([0.6, 0.45], abs=0.02)
    high = PostprocessSettings(**{**BARE, "rank_by_mask": True, "mask_thresh": {"default": 0.4}, "score_thresh": {"default": 0.5}})
    assert postprocess(found, high).boxes[:, 0].tolist() == [10]


def test_a_cut_cell_keeps_its_largest_piece_in_a_tight_box():
    # The upright bar cuts the lying one into pieces of 3 and 8 columns.
    found = prediction(boxes=[[3, 0, 7, 20], [0, 8, 15, 12]], scores=[0.9, 0.8])
    cells = postprocess(found, PostprocessSettings(**BARE))
    assert cells.boxes.tolist() == [[3, 0, 7, 20], [7, 8, 15, 12]]
    assert cells.area.tolist() == [80, 32]


@pytest.mark.parametrize("size", [(0, 0), (0, 7), (1, 1), (20, 30)])
def test_no_detection_gives_no_cell(size):
    cells, report = postprocess_with_report(prediction([], [], size=size), PostprocessSettings())
    assert len(cells) == 0
    assert cells.size == size
    assert report.cells == report.detections == 0


def test_one_pixel_image():
    cells = postprocess(prediction([[0, 0, 1, 1]], [0.9], size=(1, 1)), PostprocessSettings(**BARE))
    assert cells.boxes.tolist() == [[0, 0, 1, 1]]


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from(["trim", "keep"]))
def test_result_is_ranked_large_whole_and_free_of_overlap_when_trimmed(seed, overlaps):
    rng = np.random.default_rng(seed)
    n, size = 40, (60, 80)
    corner = rng.uniform(-5, 75, (n, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(3, 30, (n, 2))], axis=1)
    probs = ndimage.zoom(rng.uniform(size=(n, 7, 7)), (1, 4, 4), order=1)
    found = prediction(boxes.tolist(), rng.uniform(0, 1, n).tolist(), rng.integers(0, 3, n).tolist(), size, probs)
    chosen = PostprocessSettings(score_thresh={"default": 0.1}, min_area={"default": 12, "cort": 20}, overlaps=overlaps)
    cells, report = postprocess_with_report(found, chosen)
    assert (np.diff(cells.scores) <= 0).all()
    assert (cells.scores >= 0.1).all()
    least = by_class(chosen.min_area, CLASSES, "min_area")[cells.labels]
    assert (areas(cells.masks) >= least).all()
    assert all(ndimage.label(m)[1] == 1 for m in cells.masks)
    assert all(mk.crop_from_mask(m)[1].shape == m.shape for m in cells.masks)
    assert report.detections - report.low_score - report.empty_mask - report.duplicates - report.covered - report.small == report.cells
    if overlaps == "trim":
        assert cells.to_label_image()[1] == 0
