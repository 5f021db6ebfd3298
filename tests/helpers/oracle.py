"""A detector that knows its answers beforehand."""

import numpy as np

from somaseg.config import DetectSettings
from tiny import TINY

# An untrained network is as sure of its last proposal as of its first; with this cap it has no last one.
WIDE = TINY.model_copy(update={"rpn": TINY.rpn.model_copy(update={"post_nms": 200})})


def settings(**detections):
    return WIDE.model_copy(update={"detect": DetectSettings(**{"scale": 1.0, "score_thresh": 0.1, **detections})})


class Oracle:
    """A detector that answers every image with the same boxes and probabilities, as filled masks."""

    def __init__(self, boxes, probabilities):
        self.boxes, self.probabilities = np.array(boxes, np.float32), np.array(probabilities, np.float32)
        self.given = []

    def features(self, images, levels=None):
        self.given = images
        return images

    def propose(self, features, fields=1.0):
        return [(self.boxes, self.probabilities[:, 0]) for _ in features]

    def refine(self, features, boxes):
        return [(b, self.probabilities) for b in boxes]

    def segment(self, features, boxes, labels):
        return [np.full((len(b), 28, 28), 0.75, np.float32) for b in boxes]
