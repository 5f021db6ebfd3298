from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import somaseg
from somaseg.checkpoints.checkpoint import load_checkpoint
from somaseg.config import DetectSettings, TtaSettings
from somaseg.inference.detect import detect
from somaseg.inference.views import Turn, View, make_views
from somaseg.runtimes.torch_detector import TorchDetector
from somaseg.synth.render import SynthSettings, render
from tiny import TINY

TURNS = [Turn(mirrored, quarters) for mirrored in (False, True) for quarters in range(4)]
turns = st.sampled_from(TURNS)


class Echo:
    """A network that proposes one box, gives back what it is given, and draws a gradient from left to right."""

    settings = TINY

    def features(self, images, levels=None):
        self.images = images
        return images

    def propose(self, features, fields=1.0):
        return [(np.array([[1.0, 2, 5, 4]], np.float32), np.zeros(1, np.float32)) for _ in features]

    def refine(self, features, boxes):
        self.boxes = boxes
        return [(b, np.full((len(b), 3), 1 / 3, np.float32)) for b in boxes]

    def segment(self, features, boxes, labels):
        self.boxes = boxes
        return [np.broadcast_to(np.arange(28, dtype=np.float32), (len(b), 28, 28)) for b in boxes]


def settings(**detections):
    return TINY.model_copy(update={"detect": DetectSettings(**detections)})


def test_turns_by_hand():
    image = np.array([[1, 2, 3], [4, 5, 6]])
    assert Turn(True).image(image).tolist() == [[3, 2, 1], [6, 5, 4]]
    assert Turn(quarters=1).image(image).tolist() == [[3, 6], [2, 5], [1, 4]]
    assert Turn(True, 2).image(image).tolist() == [[4, 5, 6], [1, 2, 3]]  # mirrored and half a turn: upside down
    pixel = np.array([[2.0, 0, 3, 1]], np.float32)  # that of the 3
    assert Turn(True).boxes(pixel, (2, 3)).tolist() == [[0, 0, 1, 1]]
    assert Turn(quarters=1).boxes(pixel, (2, 3)).tolist() == [[0, 0, 1, 1]]
    assert Turn(quarters=2).boxes(pixel, (2, 3)).tolist() == [[0, 1, 1, 2]]
    assert Turn(quarters=3).boxes(pixel, (2, 3)).tolist() == [[1, 2, 2, 3]]
    assert Turn(True, 2).boxes(pixel, (2, 3)).tolist() == [[2, 1, 3, 2]]


@given(turns, st.integers(1, 6), st.integers(1, 6), st.data())
def test_boxes_and_masks_turn_with_the_image(turn, height, width, data):
    image = np.arange(height * width * 2).reshape(height, width, 2)
    x0, y0 = data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, height - 1))
    x1, y1 = data.draw(st.integers(x0 + 1, width)), data.draw(st.integers(y0 + 1, height))
    box = np.array([[x0, y0, x1, y1]], np.float32)
    turned = turn.image(image)
    assert turned.shape[:2] == turn.size((height, width))
    u0, v0, u1, v1 = turn.boxes(box, (height, width))[0].astype(int).tolist()
    grid = image[y0:y1, x0:x1, 0][None]
    assert turned[v0:v1, u0:u1, 0].tolist() == turn.grids(grid)[0].tolist()


@given(turns, st.integers(1, 9), st.integers(1, 9))
def test_there_and_back(turn, height, width):
    image = np.arange(height * width).reshape(height, width)
    box, grid = np.array([[0.5, 1.25, 3, 2]], np.float32), np.arange(9).reshape(1, 3, 3)
    assert np.array_equal(turn.inverse.image(turn.image(image)), image)
    assert turn.inverse.size(turn.size((height, width))) == (height, width)
    assert np.array_equal(turn.inverse.boxes(turn.boxes(box, (height, width)), turn.size((height, width))), box)
    assert np.array_equal(turn.inverse.grids(turn.grids(grid)), grid)


@given(turns, st.integers(5, 40), st.integers(5, 40), st.sampled_from([0.5, 1.0, 1.3, 2.0]))
def test_boxes_of_a_view_go_in_and_come_back(turn, height, width, scale):
    view = View(Echo(), settings(scale=scale), turn)
    features = view.features([np.zeros((height, width), np.float32)])
    boxes = np.array([[0.0, 0, width, height], [1, 2, 4, 5]], np.float32)
    ((found, _),) = view.refine(features, [boxes])
    np.testing.assert_allclose(found, boxes, atol=1e-4, rtol=0)
    # What covers the image covers the network's input.
    shape = view.network.images[0].shape
    np.testing.assert_allclose(view.network.boxes[0][0], [0, 0, shape[2], shape[1]], rtol=1e-5)


def test_a_view_mirrors_in_and_out():
    network = Echo()
    view = View(network, settings(scale=2.0), Turn(True))
    image = np.arange(30, dtype=np.float32).reshape(5, 6)
    features = view.features([image])
    assert network.images[0].shape == (1, 10, 12)
    assert network.images[0][0, 0, 0] > network.images[0][0, 0, -1]
    ((boxes, _),) = view.propose(features)
    assert boxes.tolist() == [[3.5, 1, 5.5, 2]]
    (masks,) = view.segment(features, [boxes], [np.zeros(1, np.int64)])
    assert network.boxes[0].tolist() == [[1, 2, 5, 4]]
    assert masks[0, 0].tolist() == list(range(27, -1, -1))


@pytest.fixture(scope="module")
def trained():
    checkpoint = load_checkpoint(Path(somaseg.__file__).parent / "weights" / "default.safetensors")
    return TorchDetector(checkpoint.model, bf16=False)


def turned_prediction(found, turn):
    """What a detector found in an image, as if in the turned image."""
    return turn.boxes(found.boxes, found.size), turn.grids(found.mask_probs)


@pytest.mark.parametrize("turn", [Turn(True), Turn(False, 1)])
def test_the_view_of_a_turned_image_is_the_turned_view_of_the_image(trained, turn):
    image = render(SynthSettings(cell_type="cort", size=(70, 90), cells=4), seed=3)[0]
    (plain,) = detect(View(trained), [image])
    (seen,) = detect(View(trained, turn=turn.inverse), [turn.image(image)])
    assert len(plain) > 5
    boxes, masks = turned_prediction(plain, turn)
    np.testing.assert_allclose(seen.boxes, boxes, atol=1e-3)
    np.testing.assert_allclose(seen.scores, plain.scores, atol=1e-5)
    np.testing.assert_array_equal(seen.labels, plain.labels)
    np.testing.assert_allclose(seen.mask_probs, masks, atol=2e-3)


def test_a_mirrored_view_finds_the_same_cells(trained):
    # The network is not symmetric itself (its strided convolutions start at one side), only nearly so by training.
    image = render(SynthSettings(cell_type="cort", size=(128, 160), cells=8), seed=3)[0]
    settings = somaseg.load().settings
    cells, mirrored = (somaseg.postprocess(detect(View(trained, turn=turn), [image])[0], settings) for turn in (Turn(), Turn(True)))
    assert len(cells) > 3
    assert np.median(cells.iou(mirrored).max(axis=1)) > 0.8


def test_flips_and_turns_that_are_the_same_are_seen_once():
    tta = TtaSettings(flips=("none", "horizontal", "vertical"), turns=(0, 90, 180, 270))
    views = make_views(Echo(), TINY, tta)
    assert len(views) == 8
    assert {view.turn for view in views} == set(TURNS)
    assert views[0].turn == Turn()
    (vertical,) = make_views(Echo(), TINY, TtaSettings(flips=("vertical",)))
    assert vertical.turn == Turn(True, 2)
    (plain,) = make_views(Echo(), TINY, TtaSettings())
    assert plain.turn == Turn()
    assert plain.settings == TINY


def test_sizes_of_views():
    views = make_views(Echo(), settings(scale=1.5), TtaSettings(flips=("none", "horizontal"), scales=(1.0, 2.0, 1.0)))
    assert [(view.settings.detect.scale, view.turn.mirrored) for view in views] == [(1.5, False), (1.5, True), (3.0, False), (3.0, True)]
    (view,) = make_views(Echo(), settings(shortest_edge=800, longest_edge=1333), TtaSettings(scales=(0.5,)))
    assert (view.settings.detect.shortest_edge, view.settings.detect.longest_edge) == (400, 666)
    views = make_views(Echo(), TINY, TtaSettings(shortest_edges=(20, 40), longest_edge=50))
    for view in views:
        view.features([np.zeros((10, 15), np.float32)])
    assert [view.settings.detect.shortest_edge for view in views] == [20, 40]
    assert views[1].network.images[0].shape == (1, 33, 50)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"flips": ()}, "at least 1 item"),
        ({"turns": (45,)}, "Input should be 0, 90, 180 or 270"),
        ({"scales": (0.0,)}, "greater than 0"),
        ({"scales": (2.0,), "shortest_edges": (800,)}, "stand in place of scales"),
        ({"longest_edge": 800}, "give shortest_edges too"),
    ],
)
def test_settings_that_make_no_view(given, message):
    with pytest.raises(ValueError, match=message):
        TtaSettings(**given)
