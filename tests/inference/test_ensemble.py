import warnings

import numpy as np
import pytest
import torch

from somaseg.config import DetectSettings
from somaseg.errors import InputError
from somaseg.inference.detect import detect
from somaseg.inference.ensemble import Ensemble, EnsembleFeatures
from somaseg.inference.views import Turn, View
from somaseg.models.cascade import CascadeMaskRCNN
from somaseg.runtimes.torch_detector import TorchDetector
from tiny import TINY

LABELS = [np.zeros(2, np.int64)]


class Says:
    """A detector that says the same of every box."""

    def __init__(self, proposals=(), logits=(), shift=0.0, probabilities=(0.5, 0.25, 0.25), mask=0.5, settings=TINY):
        self.proposals, self.logits = np.array(proposals, np.float32).reshape(-1, 4), np.array(logits, np.float32)
        self.shift, self.probabilities, self.mask, self.settings = shift, np.array(probabilities, np.float32), mask, settings

    def features(self, images, levels=None):
        return images

    def propose(self, features, fields=1.0):
        return [(self.proposals, self.logits)]

    def refine(self, features, boxes):
        return [(b + self.shift, np.tile(self.probabilities, (len(b), 1))) for b in boxes]

    def segment(self, features, boxes, labels):
        return [np.full((len(b), 28, 28), self.mask, np.float32) for b in boxes]


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return TorchDetector(CascadeMaskRCNN(TINY).eval(), bf16=False)


@pytest.fixture(scope="module")
def image():
    return np.random.default_rng(0).normal(size=(64, 80)).astype(np.float32)


def found(detector, image):
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="proposals reached their cap")  # an untrained network is as sure of all of them
        return detect(detector, [image])[0]


@pytest.mark.parametrize("number", [1, 2, 5])
@pytest.mark.parametrize("turn", [Turn(), Turn(True, 1)])
def test_a_detector_with_itself_changes_nothing(model, image, number, turn):
    view = View(model, turn=turn)
    alone, together = found(view, image), found(Ensemble([view] * number), image)
    assert len(alone) > 5
    np.testing.assert_allclose(together.boxes, alone.boxes, atol=1e-4)
    np.testing.assert_allclose(together.scores, alone.scores, atol=1e-6)
    np.testing.assert_array_equal(together.labels, alone.labels)
    np.testing.assert_allclose(together.mask_probs, alone.mask_probs, atol=1e-3)


def test_means_by_hand():
    members = [Says(shift=0.0, probabilities=(0.9, 0.1, 0.0), mask=1.0), Says(shift=4.0, probabilities=(0.1, 0.5, 0.4), mask=0.0)]
    boxes = [np.array([[0.0, 0, 8, 8], [2, 2, 4, 6]], np.float32)]
    for weights, share in ((None, 0.5), ((1.0, 3.0), 0.75), ((2, 0), 0.0)):
        ensemble = Ensemble(members, weights)
        features = ensemble.features([np.zeros((10, 10))])
        ((moved, probabilities),) = ensemble.refine(features, boxes)
        np.testing.assert_allclose(moved, boxes[0] + 4 * share)
        np.testing.assert_allclose(probabilities[1], np.array([0.9, 0.1, 0.0]) * (1 - share) + np.array([0.1, 0.5, 0.4]) * share, rtol=1e-6)
        (masks,) = ensemble.segment(features, boxes, LABELS)
        np.testing.assert_allclose(masks, np.full((2, 28, 28), 1 - share))


def test_members_share_their_proposals():
    # At NMS IoU .7 the second member's first box is the first member's; its second is new; its third overlaps by .6 and stays.
    first = Says([[0.0, 0, 10, 10], [20, 0, 30, 10], [20, 1, 30, 10], [60, 0, 70, 10]], [3.0, 2.0, 1.5, -2.0])
    second = Says([[0.0, 1, 10, 10], [40, 0, 50, 10], [20, 4, 30, 10]], [5.0, 4.0, -1.0])
    ensemble = Ensemble([first, second])
    ((boxes, logits),) = ensemble.propose(ensemble.features([np.zeros((10, 80))]))
    # The first member's own neighbours do not compete. Six are left, and the four best stay: as many as it proposed.
    assert logits.tolist() == [4.0, 3.0, 2.0, 1.5]
    assert boxes[:, 0].tolist() == [40, 0, 20, 20]
    assert Ensemble([second, first]).propose(EnsembleFeatures([0, 0], [(80, 80)]))[0][1].tolist() == [5.0, 4.0, 2.0, 1.5]


def test_members_see_the_image_at_sizes_of_their_own(model, image):
    half = TINY.model_copy(update={"detect": DetectSettings(scale=0.5, score_thresh=0.0)})
    members = [View(model), View(model, half, Turn(True))]
    ensemble = Ensemble(members)
    boxes, labels = [np.array([[8.0, 8, 40, 40], [20, 10, 60, 60]], np.float32)], LABELS
    features = ensemble.features([image])
    parts = [member.refine(f, boxes)[0] for member, f in zip(members, features.members, strict=True)]
    ((moved, _),) = ensemble.refine(features, boxes)
    np.testing.assert_allclose(moved, (parts[0][0] + parts[1][0]) / 2)
    (masks,) = ensemble.segment(features, boxes, labels)
    assert masks.shape == (2, 28, 28)
    prediction = found(ensemble, image)
    assert len(prediction) > 5
    assert (prediction.boxes[:, 2] <= 80 + 1e-3).all()


def test_duplicates_by_the_first_member_are_background():
    boxes = [np.array([[0.0, 0, 10, 10], [0, 0, 10, 9], [20, 0, 30, 10]], np.float32)]
    ensemble = Ensemble([Says(probabilities=(0.6, 0.1, 0.3)), Says(shift=2.0, probabilities=(0.2, 0.1, 0.7))])
    ((moved, probabilities),) = ensemble.refine(ensemble.features([np.zeros((40, 40))]), boxes)
    np.testing.assert_allclose(probabilities, [[0.4, 0.1, 0.5], [0, 0, 1], [0.4, 0.1, 0.5]], rtol=1e-6)
    np.testing.assert_allclose(moved[[0, 2]], boxes[0][[0, 2]] + 1)


def test_the_first_members_propose():
    members = [Says([[0.0, 0, 10, 10]], [1.0]), Says([[40.0, 0, 50, 10]], [2.0])]
    ((boxes, _),) = Ensemble(members, proposers=1).propose(EnsembleFeatures([0, 0], [(80, 80)]))
    assert boxes.tolist() == [[0, 0, 10, 10]]
    for number in (0, 3):
        with pytest.raises(InputError, match=f"proposers: found {number}: give a number of detectors, 1 to 2"):
            Ensemble(members, proposers=number)


def test_a_member_that_proposes_nothing():
    nothing = Says()
    something = Says([[0.0, 0, 10, 10]], [1.0])
    for members in ([nothing, something], [something, nothing]):
        ((boxes, logits),) = Ensemble(members).propose(EnsembleFeatures([0, 0], [(80, 80)]))
        assert (boxes.tolist(), logits.tolist()) == ([[0, 0, 10, 10]], [1.0])
    assert len(Ensemble([nothing, nothing]).propose(EnsembleFeatures([0, 0], [(80, 80)]))[0][0]) == 0


@pytest.mark.parametrize(
    ("members", "weights", "message"),
    [
        ([], None, "found no detector"),
        (
            [Says(), Says(settings=TINY.model_copy(update={"classes": ("long", "round")}))],
            None,
            r"detectors\[1\] knows the classes long, round",
        ),
        ([Says()], (1.0, 1.0), r"weights: found \[1\.0, 1\.0\] for 1 detectors"),
        ([Says(), Says()], (1.0, -1.0), "give each a number, and one above 0"),
        ([Says()], (0.0,), "one above 0"),
    ],
)
def test_what_is_no_ensemble(members, weights, message):
    with pytest.raises(InputError, match=message):
        Ensemble(members, weights)
