from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from drawing import draw
from somaseg.config import PostprocessSettings
from somaseg.errors import InputError
from somaseg.instances import Instances, Prediction
from somaseg.masks import crops as mk
from somaseg.postprocessing.candidates import Candidates
from somaseg.postprocessing.steps import READS, SINGLE, STEPS, postprocess, postprocess_with_report, run_steps

CLASSES = ("shsy5y", "astro", "cort")
DEFAULT = PostprocessSettings()
AFTER_PASTE = ("rank", "mask_nms", "fill_holes", "overlaps", "pieces", "min_area", "border")


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


def random_prediction(seed: int, n: int = 40, size: mk.Size = (60, 80)) -> Prediction:
    rng = np.random.default_rng(seed)
    corner = rng.uniform(-5, 75, (n, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(3, 30, (n, 2))], axis=1)
    probs = ndimage.zoom(rng.uniform(size=(n, 7, 7)), (1, 4, 4), order=1)
    return prediction(boxes.tolist(), rng.uniform(0, 1, n).tolist(), rng.integers(0, 3, n).tolist(), size, probs)


def raw(*boxes: list[float], scores: list[float], labels: list[int] | None = None) -> Candidates:
    return Candidates.from_prediction(prediction(list(boxes), scores, labels))


def drawn(*pictures: str, scores: list[float] | None = None, labels: list[int] | None = None) -> Candidates:
    """Candidates as pictures of the whole image, in falling order of score."""
    frames = np.array([draw(picture) for picture in pictures])
    scores = np.linspace(0.9, 0.5, len(frames)).tolist() if scores is None else scores
    return Candidates.from_instances(Instances.from_masks(frames, CLASSES, labels, scores))


def boxes_of(candidates: Candidates) -> list[list[int]]:
    return candidates.pasted.boxes.tolist()


def frames_of(candidates: Candidates) -> np.ndarray:
    return candidates.to_instances().to_masks()


def scores_of(candidates: Candidates) -> list[float]:
    return [round(float(score), 3) for score in candidates.scores]


def with_(**values) -> PostprocessSettings:
    return PostprocessSettings(**values)


# each step alone


def test_vote_sums_scores_or_counts_cells_and_takes_the_first_of_equal_classes():
    found = raw([0, 0, 5, 5], [6, 0, 9, 5], [9, 9, 12, 12], scores=[0.9, 0.4, 0.4], labels=[2, 1, 1])
    assert STEPS["vote"](found, with_(vote="scores")).labels.tolist() == [2, 2, 2]
    assert STEPS["vote"](found, with_(vote="cells")).labels.tolist() == [1, 1, 1]
    even = raw([0, 0, 5, 5], [6, 0, 9, 5], scores=[0.5, 0.5], labels=[2, 1])
    assert STEPS["vote"](even, DEFAULT).labels.tolist() == [1, 1]


def test_screen_takes_the_threshold_of_each_class_and_keeps_a_score_that_equals_it():
    found = raw([0, 0, 5, 5], [6, 0, 9, 5], [9, 9, 12, 12], scores=[0.75, 0.5, 0.4], labels=[0, 0, 2])
    left = STEPS["screen"](found, with_(score_thresh={"default": 0.5, "cort": 0.3}))
    assert scores_of(left) == [0.75, 0.5, 0.4]
    left = STEPS["screen"](found, with_(score_thresh={"default": 0.6, "cort": 0.5}))
    assert scores_of(left) == [0.75]


def test_box_nms_compares_strictly_and_keeps_what_loses_only_to_one_that_went():
    # 0 and 1 share 8 of 12 pixels, so do 1 and 2; 0 and 2 share 6 of 14.
    found = raw([0, 0, 10, 4], [2, 0, 12, 4], [4, 0, 14, 4], scores=[0.9, 0.8, 0.7])
    assert scores_of(STEPS["box_nms"](found, with_(box_nms_iou=0.5))) == [0.9, 0.7]
    assert scores_of(STEPS["box_nms"](found, with_(box_nms_iou=8 / 12))) == [0.9, 0.8, 0.7]
    assert scores_of(STEPS["box_nms"](found, with_(box_nms_iou=0.4))) == [0.9]


def test_paste_thresholds_each_class_at_full_size_and_removes_what_has_no_pixel():
    probs = np.ones((3, 28, 28))
    probs[:2, :, 14:] = 0.5
    found = Candidates.from_prediction(
        prediction([[0, 0, 8, 4], [10, 0, 18, 4], [40, 40, 50, 50]], [0.9, 0.8, 0.7], [0, 1, 0], probs=probs)
    )
    left = STEPS["paste"](found, with_(mask_thresh={"default": 0.9, "astro": 0.4}))
    assert boxes_of(left) == [[0, 0, 4, 4], [10, 0, 18, 4]]
    assert left.pasted.quality.tolist() == pytest.approx([1, 0.75], abs=0.01)
    assert left.mask_probs is not None
    assert len(left.mask_probs) == 2


def test_paste_moves_masks_by_the_offset():
    # Moved by part of a pixel, a mask takes the pixels whose centres it then holds.
    probs = np.ones((1, 28, 28))
    found = Candidates.from_prediction(prediction([[10, 5, 18, 9]], [0.9], probs=probs))
    for offset, box in {(0, 0): [10, 5, 18, 9], (2, -1): [12, 4, 20, 8], (0, -0.4): [10, 5, 18, 9], (0, -0.6): [10, 4, 18, 8]}.items():
        assert boxes_of(STEPS["paste"](found, with_(mask_thresh=0.5, offset=offset))) == [box]
    cut = STEPS["paste"](found, with_(mask_thresh=0.5, offset=(-13, 0)))
    assert boxes_of(cut) == [[0, 5, 5, 9]]
    assert len(STEPS["paste"](found, with_(mask_thresh=0.5, offset=(0, -20)))) == 0


@pytest.mark.parametrize("rule", ["trim", "probability", "drop", "keep"])
def test_an_offset_of_whole_pixels_moves_every_cell(rule):
    settings, found = PostprocessSettings(score_thresh=0.1, min_area=3, overlaps=rule), random_prediction(5, size=(200, 200))
    inside = replace(found, boxes=found.boxes + np.float32(40))  # so that no cell reaches the edge
    plain, moved = (postprocess(inside, settings.model_copy(update={"offset": offset})) for offset in ((0.0, 0.0), (2.0, -3.0)))
    assert len(plain) > 3
    assert moved.boxes.tolist() == [[x0 + 2, y0 - 3, x1 + 2, y1 - 3] for x0, y0, x1, y1 in plain.boxes.tolist()]
    assert all((a == b).all() for a, b in zip(plain.masks, moved.masks, strict=True))
    np.testing.assert_allclose(moved.scores, plain.scores, rtol=1e-5)


def test_rank_multiplies_sorts_and_screens_again():
    probs = np.ones((3, 28, 28))
    probs[0], probs[2] = 0.5, 0.75
    found = prediction([[0, 0, 8, 8], [10, 0, 18, 8], [20, 0, 28, 8]], [0.9, 0.6, 0.3], probs=probs)
    pasted, _ = run_steps(Candidates.from_prediction(found), ("paste",), with_(mask_thresh=0.4))
    ranked = STEPS["rank"](pasted, with_(score_thresh=0.4))
    assert [box[0] for box in boxes_of(ranked)] == [10, 0]
    assert ranked.scores.tolist() == pytest.approx([0.6, 0.45], abs=0.02)


def test_mask_nms_compares_masks_not_boxes():
    found = drawn("#..... ##.... ###... ####..", ".##### ..#### ...### ....##")
    assert len(STEPS["mask_nms"](found, with_(nms_iou=0))) == 2
    found = drawn("####..", "..####", "#####.")
    assert scores_of(STEPS["mask_nms"](found, with_(nms_iou=0.4))) == [0.9, 0.7]


def test_fill_holes_fills_only_what_is_closed():
    left = STEPS["fill_holes"](drawn("####. #..#. ####.", ".###. .#.#. .#.#."), DEFAULT)
    assert (frames_of(left) == [draw("####. ####. ####."), draw(".###. .#.#. .#.#.")]).all()


THREE = ("####......", "...####...", "..#######.")  # a quarter of the second is covered, five sevenths of the third


@pytest.mark.parametrize(
    ("rule", "max_covered", "expected"),
    [
        ("trim", 0.3, ["####......", "....###..."]),
        ("trim", 1.0, ["####......", "....###...", ".......##."]),
        ("trim", 0.2, ["####......"]),
        ("drop", 0.3, ["####......", "...####..."]),
        ("drop", 1.0, list(THREE)),
        ("keep", 0.0, list(THREE)),
    ],
)
def test_overlaps_by_rule(rule, max_covered, expected):
    left = STEPS["overlaps"](drawn(*THREE), with_(overlaps=rule, max_covered=max_covered))
    assert (frames_of(left) == [draw(picture) for picture in expected]).all()


def test_a_dropped_cell_takes_nothing():
    left = STEPS["overlaps"](drawn("####....", ".######.", "....####"), with_(max_covered=0.4))
    assert (frames_of(left) == [draw("####...."), draw("....####")]).all()


def test_a_cell_without_a_pixel_left_goes_even_if_any_share_may_be_covered():
    left = STEPS["overlaps"](drawn("####", ".##.", "##.."), with_(max_covered=1))
    assert scores_of(left) == [0.9]


def test_overlaps_by_probability_share_each_pixel_out():
    probs = np.stack([np.linspace(1, 0.5, 28)[None].repeat(28, 0), np.linspace(0.5, 1, 28)[None].repeat(28, 0)])
    found = prediction([[0, 0, 20, 4], [4, 0, 24, 4]], [0.9, 0.5], probs=probs)
    chosen = with_(overlaps="probability", max_covered=1, score_thresh=0, mask_thresh=0.4)
    pasted, _ = run_steps(Candidates.from_prediction(found), ("paste",), chosen)
    left = STEPS["overlaps"](pasted, chosen)
    assert boxes_of(left) == [[0, 0, 12, 4], [12, 0, 24, 4]]  # both have .7 between columns 11 and 12
    assert scores_of(left) == [0.9, 0.5]


def test_overlaps_by_probability_say_that_they_need_probabilities():
    with pytest.raises(InputError, match=r"masks without probabilities.*set postprocess\.overlaps to trim, drop or keep"):
        STEPS["overlaps"](drawn("##", ".#"), with_(overlaps="probability", max_covered=1))


def test_pieces_leave_the_largest_or_split():
    found = drawn("##..### ....###", ".#..... #.#....")
    largest = STEPS["pieces"](found, with_(pieces="largest"))
    assert boxes_of(largest) == [[4, 0, 7, 2], [1, 0, 2, 1]]
    split, removed = run_steps(found, ("pieces",), with_(pieces="split"))
    assert boxes_of(split) == [[0, 0, 2, 1], [4, 0, 7, 2], [1, 0, 2, 1], [0, 1, 1, 2], [2, 1, 3, 2]]
    assert scores_of(split) == [0.9, 0.9, 0.5, 0.5, 0.5]
    assert removed == {"pieces": -3}


def test_min_area_by_class_counts_pixels():
    found = drawn("###..", "...##", "#....", labels=[0, 1, 1])
    assert scores_of(STEPS["min_area"](found, with_(min_area={"default": 3, "astro": 2}))) == [0.9, 0.7]
    assert len(STEPS["min_area"](found, with_(min_area=0))) == 3


def test_border_removes_what_touches_any_edge():
    found = drawn(".#.. .... ....", "#... .... ....", ".... ...# ....", ".... .... .#..", ".... .##. ....")
    assert boxes_of(STEPS["border"](found, DEFAULT)) == [[1, 1, 3, 2]]


# every step on extreme input


@pytest.mark.parametrize("name", STEPS)
@pytest.mark.parametrize("size", [(0, 0), (0, 7), (1, 1), (20, 30)])
def test_a_step_on_nothing_gives_nothing(name, size):
    nothing, _ = run_steps(Candidates.from_prediction(prediction([], [], size=size)), ("paste",), DEFAULT)
    left, removed = run_steps(nothing, (name,), DEFAULT)
    assert len(left) == 0
    assert removed == {name: 0}


@pytest.mark.parametrize("name", AFTER_PASTE)
def test_a_step_on_one_pixel_that_is_the_image(name):
    left, _ = run_steps(drawn("#"), (name,), with_(min_area=1))
    assert len(left) == (0 if name == "border" else 1)


@pytest.mark.parametrize(("name", "left"), [("mask_nms", 1), ("overlaps", 1), ("box_nms", 1), ("fill_holes", 1000), ("pieces", 1000)])
def test_a_thousand_equal_cells(name, left):
    cells = Instances((9, 9), [[2, 2, 6, 6]] * 1000, (np.ones((4, 4), bool),) * 1000, [0] * 1000, np.linspace(1, 0.5, 1000), CLASSES)
    result, _ = run_steps(Candidates.from_instances(cells), (name,), with_(nms_iou=0.5, box_nms_iou=0.5))
    assert len(result) == left
    assert result.scores[0] == 1


def test_a_thousand_cells_apart_all_stay():
    y, x = np.divmod(np.arange(1000), 40)
    boxes = np.stack([x * 10 + 1, y * 10 + 1, x * 10 + 9, y * 10 + 9], axis=1)
    found = prediction(boxes.tolist(), np.linspace(1, 0.5, 1000).tolist(), size=(250, 400))
    cells, report = postprocess_with_report(found, with_(steps=("paste", *AFTER_PASTE), min_area=64))
    assert cells.boxes.tolist() == boxes.tolist()
    assert set(cells.area.tolist()) == {64}
    assert report["detections"] == report["cells"] == 1000


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.permutations(AFTER_PASTE), st.sampled_from(["trim", "probability", "drop", "keep"]), st.booleans())
def test_steps_in_any_order_rank_and_invent_no_pixel(seed, order, rule, split):
    chosen = with_(score_thresh=0.1, min_area={"default": 12, "cort": 20}, overlaps=rule, pieces="split" if split else "largest")
    before, _ = run_steps(Candidates.from_prediction(random_prediction(seed)), ("paste", "fill_holes"), chosen)
    inked = frames_of(before).any(axis=0)
    after, removed = run_steps(before, order, chosen)
    assert list(removed) == list(order)
    assert len(before) - sum(removed.values()) == len(after)
    cells = after.to_instances()  # checks that crops fit their boxes
    assert (np.diff(cells.scores) <= 0).all()
    assert not (cells.to_masks().any(axis=0) & ~inked).any()
    assert all(mk.crop_from_mask(mask)[1].shape == mask.shape for mask in cells.masks)
    if rule in ("trim", "probability") and order.index("fill_holes") < order.index("overlaps"):
        assert cells.to_label_image()[1] == 0


# the list of steps


class Watched:
    """Settings that note which of them are read."""

    def __init__(self, settings: PostprocessSettings):
        self.settings, self.read = settings, set()

    def __getattr__(self, name: str):
        self.read.add(name)
        return getattr(self.settings, name)


@pytest.mark.parametrize("name", STEPS)
def test_a_step_reads_the_settings_that_it_is_said_to_read(name):
    watched, found = Watched(PostprocessSettings(mask_thresh=0.5)), raw([0, 0, 9, 9], [5, 5, 15, 15], scores=[0.9, 0.8])
    STEPS[name](found if name in ("vote", "screen", "box_nms", "paste") else STEPS["paste"](found, DEFAULT), watched)
    assert watched.read == set(READS[name])
    assert set(READS[name]) <= set(PostprocessSettings.model_fields)


@given(st.integers(0, 200), st.integers(1, 30))
def test_single_steps_make_of_a_candidate_what_they_would_make_of_it_alone(seed, number):
    found = Candidates.from_prediction(random_prediction(seed, 30))
    for name in SINGLE:
        together, alone = STEPS[name](found, DEFAULT), STEPS[name](found[np.array([number - 1])], DEFAULT)
        assert set(alone.numbers.tolist()) == set(together.numbers.tolist()) & set(found.numbers[number - 1 : number].tolist())


def test_a_step_that_lacks_masks_says_so():
    with pytest.raises(InputError, match="put the step `paste` before this one"):
        run_steps(raw([0, 0, 5, 5], scores=[0.9]), ("rank",), DEFAULT)
    with pytest.raises(InputError, match="leave out the step `paste`"):
        run_steps(drawn("#"), ("paste",), DEFAULT)


def test_each_listed_step_counts_what_it_removes_in_its_order():
    found = prediction(
        boxes=[[0, 0, 10, 10], [1, 0, 11, 10], [8, 8, 12, 12], [7, 0, 14, 9], [20, 0, 22, 2], [25, 15, 29, 19], [40, 40, 50, 50]],
        scores=[0.9, 0.8, 0.7, 0.6, 0.5, 0.1, 0.9],
    )
    chosen = with_(
        steps=["paste", "screen", "mask_nms", "overlaps", "min_area", "border"], mask_thresh=0.5, max_covered=0.2, nms_iou=0.5, min_area=5
    )
    cells, report = postprocess_with_report(found, chosen)
    assert list(report.items()) == [
        ("detections", 7),
        ("paste", 1),
        ("screen", 1),
        ("mask_nms", 1),
        ("overlaps", 2),
        ("min_area", 1),
        ("border", 1),
        ("cells", 0),
    ]
    assert len(cells) == 0


def test_a_step_that_is_not_listed_is_not_done():
    found = prediction([[0, 0, 5, 5], [3, 0, 8, 5]], [0.9, 0.1], [2, 1])
    cells = postprocess(found, with_(steps=["paste"]))
    assert cells.labels.tolist() == [2, 1]
    assert cells.boxes.tolist() == [[0, 0, 5, 5], [3, 0, 8, 5]]


def test_the_class_that_was_voted_sets_the_thresholds():
    found = prediction([[0, 0, 5, 5], [10, 0, 15, 5], [20, 0, 25, 5]], [0.9, 0.4, 0.8], [2, 1, 2])
    thresholds = {"default": 0.0, "cort": 0.5}
    assert postprocess(found, with_(steps=["vote", "screen", "paste"], score_thresh=thresholds)).labels.tolist() == [2, 2]
    assert postprocess(found, with_(steps=["screen", "paste"], score_thresh=thresholds)).labels.tolist() == [2, 2, 1]


def test_a_cut_cell_keeps_its_largest_piece_in_a_tight_box():
    # The upright bar cuts the lying one into pieces of 3 and 8 columns.
    found = prediction(boxes=[[3, 0, 7, 20], [0, 8, 15, 12]], scores=[0.9, 0.8])
    cells = postprocess(found, with_(mask_thresh=0.5, min_area=0))
    assert cells.boxes.tolist() == [[3, 0, 7, 20], [7, 8, 15, 12]]
    assert cells.area.tolist() == [80, 32]


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_pasting_before_screening_changes_no_cell(seed):
    # So a tuner may paste once and try score thresholds afterwards.
    found = Candidates.from_prediction(random_prediction(seed))
    later = ("rank", "mask_nms", "fill_holes", "overlaps", "pieces", "min_area")
    chosen = with_(score_thresh={"default": 0.3, "astro": 0.2}, min_area=20)
    one, _ = run_steps(found, ("vote", "screen", "paste", *later), chosen)
    other, _ = run_steps(found, ("vote", "paste", "screen", *later), chosen)
    np.testing.assert_allclose(one.scores, other.scores, rtol=1e-6)  # rounding depends on what is pasted together
    assert (frames_of(one) == frames_of(other)).all()
