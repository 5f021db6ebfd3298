"""Images of round cells with the predictions of a model that is not quite right: boxes moved, false alarms, some cells missed."""

import numpy as np

from somaseg.instances import Instances, Prediction
from somaseg.postprocessing import soft_masks

SIZE = (72, 96)
CLASSES = ("small", "large")


def disc(random):
    """A soft disc that fills its box."""
    y, x = (np.mgrid[:28, :28] + 0.5) / 14 - 1
    edge = 12 * (np.hypot(y, x) - 0.85) + random.normal(0, 0.5, (28, 28))
    return (1 / (1 + np.exp(edge))).astype(np.float16)


def culture(seed, label=0, cells=8):
    """A prediction and the truth."""
    random = np.random.default_rng(seed)
    side = (12, 22)[label]
    corner = random.uniform(0, np.array([SIZE[1], SIZE[0]]) - side, (cells, 2))
    boxes = np.concatenate([corner, corner + side * random.uniform(0.8, 1.2, (cells, 2))], axis=1).astype(np.float32)
    probs = np.stack([disc(random) for _ in boxes])
    tight, crops, _ = soft_masks.to_pixels(boxes, probs, np.full(cells, 0.5), SIZE)
    truth = Instances(SIZE, tight, tuple(crops), np.full(cells, label), np.ones(cells), CLASSES)
    found = np.flatnonzero(random.random(cells) < 0.9)
    false = random.uniform(0, np.array([SIZE[1], SIZE[0]]) - side, (cells // 2, 2))
    every = np.concatenate([boxes[found] + random.normal(0, 1, (len(found), 4)), np.concatenate([false, false + side / 2], axis=1)])
    return Prediction(
        size=SIZE,
        boxes=every.astype(np.float32),
        scores=np.concatenate([random.uniform(0.4, 0.9, len(found)), random.uniform(0.2, 0.6, len(false))]).astype(np.float32),
        labels=np.where(random.random(len(every)) < 0.8, label, 1 - label),
        mask_probs=np.stack([disc(random) for _ in every]),
        classes=CLASSES,
    ), truth
