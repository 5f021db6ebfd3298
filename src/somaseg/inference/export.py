"""Weights of an earlier release, or of other programs, made ready for onnxruntime: the same tensors, and graphs beside them."""

from pathlib import Path

import numpy as np

from somaseg.checkpoints.checkpoint import load_checkpoint, save_checkpoint
from somaseg.checkpoints.header import read_arrays, read_header
from somaseg.checkpoints.to_onnx import graphs_of
from somaseg.errors import InputError
from somaseg.images.inputs import prepare
from somaseg.images.read import read_image
from somaseg.runtimes.boxes import iou
from somaseg.runtimes.detector import Detector, Floats
from somaseg.runtimes.onnx_detector import OnnxDetector
from somaseg.runtimes.torch_detector import TorchDetector

NEAR = 1e-3  # most that probabilities may differ by; boxes ten times as much, in pixels
SAME = 0.95  # IoU from which two proposals are one
SIDE = 192  # pixels of the image that is drawn where none is given


def export(source: Path, out: Path, image: Path | None = None) -> None:
    """Write weights with graphs for onnxruntime, where it finds in an image what torch finds.

    Args:
        source: weights, with graphs or without.
        out: the file to write; may be `source`.
        image: to look at in both; a drawn one if None.

    Raises:
        InputError: when the network has no graph, or onnxruntime finds something else; nothing is written then.
    """
    checkpoint = load_checkpoint(source)
    settings = checkpoint.config.model
    ours = OnnxDetector(settings, graphs_of(settings), read_arrays(source))
    pixels = _drawn() if image is None else np.asarray(read_image(image).picture)
    differences = compared(TorchDetector(checkpoint.model, bf16=False), ours, prepare(pixels, settings))
    if far := {name: value for name, value in differences.items() if not value <= NEAR}:
        told = ", ".join(f"{name} by up to {value:.3g}" for name, value in far.items())
        raise InputError(f"{source}: onnxruntime finds something else than torch: {told}: nothing was written, run these weights in torch")
    types = read_header(source).types
    save_checkpoint(out, checkpoint.model, checkpoint.config, checkpoint.provenance, "half" if "F16" in types else "float")


def compared(torch: Detector[Floats], other: Detector[Floats], image: Floats) -> dict[str, float]:
    """By how much what two runtimes say of a prepared image differs at most.

    Of proposals a tenth of the share of the first that the second does not make; of boxes a tenth of the pixels; else of probabilities.
    """
    theirs, ours = (detector.features([image]) for detector in (torch, other))
    ((proposed, _),), ((also, _),) = torch.propose(theirs), other.propose(ours)
    ((boxes, classes),), ((moved, judged),) = torch.refine(theirs, [proposed]), other.refine(ours, [proposed])
    likely = np.argsort(classes[:, -1], kind="stable")[:100]
    labels = [classes[likely, :-1].argmax(axis=1)]
    (masks,), (drawn,) = torch.segment(theirs, [boxes[likely]], labels), other.segment(ours, [boxes[likely]], labels)
    # A proposal that stands just at a limit may be suppressed in one of the two: at most one in a hundred.
    alone = float((iou(proposed, also) < SAME).all(axis=1).mean()) if len(proposed) and len(also) else float(len(proposed) != len(also))
    return {
        "proposals": alone / 10,
        "boxes": _largest(boxes, moved) / 10,
        "classes": _largest(classes, judged),
        "masks": _largest(masks, drawn),
    }


def _largest(one: Floats, two: Floats) -> float:
    """The largest difference; of another number of boxes, or what is no number, infinite."""
    if one.shape != two.shape:
        return np.inf
    return float(np.abs(one - two).max(initial=0.0))


def _drawn() -> Floats:
    """Bright spots of several sizes on noise."""
    generator = np.random.default_rng(0)
    image = generator.normal(0, 0.05, (SIDE, SIDE))
    y, x = np.mgrid[:SIDE, :SIDE]
    for radius in np.linspace(3, 24, 24):
        row, column = generator.uniform(0, SIDE, 2)
        image += np.exp(-((y - row) ** 2 + (x - column) ** 2) / (2 * radius**2))
    return image.astype(np.float32)
