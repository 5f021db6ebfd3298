"""What a file of weights is, and whether it is whole."""

import math
import re
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.table import Table
from rich.text import Text

from somaseg.checkpoints.architecture import check_described, open_detector
from somaseg.checkpoints.header import CheckpointHeader, read_arrays, read_header
from somaseg.checkpoints.names import known_hash
from somaseg.config import InputSettings, ModelSettings, ResNeXtSettings, TrainedSize
from somaseg.errors import InputError
from somaseg.files import file_sha256


def info(path: Path) -> Table:
    """Architecture, size, classes, origin, input, thresholds and hash of a file of weights, as a table.

    Raises:
        InputError: when the file is missing or no weights.
    """
    about = read_header(path)
    table = Table(show_header=False, title=str(path))
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for name, value in facts(about, file_sha256(path)).items():
        table.add_row(name, Text(value))  # as it is: brackets in a file's words are no markup
    return table


def facts(about: CheckpointHeader, sha256: str) -> dict[str, str]:
    """What `info` shows, in words."""
    model, thresholds = about.config.model, about.config.postprocess
    count = sum(math.prod(shape) for shape in about.shapes.values())
    detect = model.detect
    return {
        "architecture": in_words(model),
        "parameters": f"{count / 1e6:.2f} million in {len(about.shapes)} tensors, stored as {' and '.join(about.types)}",
        "classes": ", ".join(model.classes),
        "input": input_in_words(model.input) + "; " + _size_in_words(model),
        "trained at": size_in_words(model.trained_at),
        "detections": f"score from {detect.score_thresh:g}, box NMS at {detect.nms_iou:g}, at most {detect.max_detections} an image",
        "thresholds": _lines(thresholds.model_dump(mode="json")),
        "provenance": _lines(about.provenance) or "the file says nothing",
        "graphs": ", ".join(about.graphs) + ", for onnxruntime" if about.graphs else "none: runs in torch alone (weights export)",
        "SHA-256": sha256,
    }


def in_words(model: ModelSettings) -> str:
    """The network, part by part."""
    trunk, heads, rpn = model.backbone.trunk, model.heads, model.rpn
    if isinstance(trunk, ResNeXtSettings):
        bent = [f"{kind} in {stage}" for stage, kind in zip(("res2", "res3", "res4", "res5"), trunk.deformable, strict=True) if kind]
        depth = 3 * sum(trunk.blocks) + 2
        name = f"ResNeXt-{depth} {trunk.groups}x{trunk.group_width}d (blocks {', '.join(map(str, trunk.blocks))}; {trunk.norm}"
        name += f"; deformable: {', '.join(bent)})" if bent else ")"
    else:
        name = trunk.name
    box = f"{heads.box_convs} convolutions of {heads.box_conv_width} and " if heads.box_convs else ""
    box += f"{heads.box_fcs} layers of {heads.box_fc_width}"
    return "; ".join(
        (
            f"Cascade Mask R-CNN on {name}",
            f"pyramid of {len(model.backbone.level_strides)} levels with {model.backbone.fpn_width} channels",
            f"{len(rpn.sizes[0]) * len(rpn.ratios)} anchors at a place",
            f"box stages at IoU {', '.join(f'{iou:g}' for iou in heads.ious)}, each {box}",
            f"mask head of {heads.mask_convs} convolutions of {heads.mask_width}",
            f"heads with norm {heads.norm}" if heads.norm else "heads without norm",
        )
    )


def input_in_words(settings: InputSettings) -> str:
    """Values and channels that the network is given."""
    values = "each image less its mean, over its deviation" if settings.values == "standard" else "grey values 0 to 255"
    if settings.channels == 1:
        return f"{values}, one channel, less {settings.mean[0]:g}, over {settings.std[0]:g}"
    return (
        f"{values} in {settings.channels} equal channels, less {', '.join(f'{m:g}' for m in settings.mean)}, "
        f"over {', '.join(f'{s:g}' for s in settings.std)}"
    )


def size_in_words(known: TrainedSize) -> str:
    """The size of cells, and of pixels, that the network knows."""
    cells = ", ".join(f"{name} {diameter:g} px" for name, diameter in known.cell_diameter.items())
    edge = f"{known.pixel_size:g} µm" if known.pixel_size else "not known"
    return f"median diameter of cells: {cells or 'not known'}; edge of a pixel: {edge}"


def _size_in_words(model: ModelSettings) -> str:
    detect = model.detect
    if detect.shortest_edge is None:
        return f"enlarged {detect.scale:g} times"
    return f"shorter edge {detect.shortest_edge} px" + (f", longer at most {detect.longest_edge}" if detect.longest_edge else "")


def _lines(values: Mapping[str, object]) -> str:
    return "\n".join(f"{name}: {_words(value)}" for name, value in values.items())


def _words(value: object) -> str:
    match value:
        case Mapping():
            return ", ".join(f"{key} {_words(item)}" for key, item in value.items())
        case list():
            return ", ".join(_words(item) for item in value)
        case float():
            return f"{value:.4g}"
    return str(value)


def verify(path: Path, sha256: str | None = None) -> tuple[str, list[str]]:
    """Load a file of weights and check that it is whole: finite, of its settings, and with the hash that is known of it.

    Args:
        path: the file.
        sha256: expected hash in hexadecimal digits; None takes the one in SHA256SUMS beside the file, if it stands there.

    Returns:
        The hash, and what is wrong, a line each.

    Raises:
        InputError: when the weights cannot be loaded at all, or `sha256` is no hash.
    """
    if sha256 is not None and not re.fullmatch(r"[0-9a-fA-F]{64}", sha256):
        raise InputError(f"--sha256 {sha256}: expected 64 hexadecimal digits")
    digest, weights = file_sha256(path), _loaded(path)
    problems = [f"{name} holds values that are not finite" for name, values in weights.items() if not np.isfinite(values).all()]
    expected = known_hash(path) if sha256 is None else sha256
    if expected is not None and expected.lower() != digest:
        problems.append(f"the hash is {digest}, expected {expected.lower()}: this is another file, or it was changed")
    return digest, problems


def _loaded(path: Path) -> dict[str, NDArray[np.float32]]:
    """The tensors of a file that fits its settings, in torch if that is installed, else as its graphs take them."""
    if find_spec("torch") is not None:
        from somaseg.checkpoints.checkpoint import load_checkpoint

        return {name: tensor.numpy() for name, tensor in load_checkpoint(path).model.state_dict().items()}
    header = read_header(path)
    check_described(path, header)
    weights = read_arrays(path)
    open_detector(path, header, weights)
    return weights
