"""What a network is built of, read from the shapes of its tensors."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from somaseg.checkpoints.header import CheckpointHeader
from somaseg.config import ModelSettings, ResNeXtSettings
from somaseg.errors import InputError
from somaseg.runtimes.detector import Floats
from somaseg.runtimes.graphs import OrtFail
from somaseg.runtimes.onnx_detector import OnnxDetector

if TYPE_CHECKING:
    from torch import Tensor

TRUNK = "backbone.bottom_up."
STAGES = ("res2", "res3", "res4", "res5")
FLOATS = {"F16", "F32", "F64", "BF16"}  # as safetensors calls them
DEFORMABLE = {18: "plain", 27: "modulated"}  # channels of the offsets: two of each of nine taps, and a strength


def shapes_of(tensors: "Mapping[str, Tensor]") -> dict[str, tuple[int, ...]]:
    """The shape of each tensor."""
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}


def architecture(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, object]:
    """Its parts in words, as far as the shapes of tensors show them; a part that is not there has no word.

    The number of classes is not among them, since class layers can be adapted.
    """
    facts: dict[str, object] = {}

    def note(fact: str, name: str, axis: int) -> None:
        if len(shapes.get(name, ())) > axis:
            facts[fact] = shapes[name][axis]

    def count(pattern: str) -> int:
        return len({found[1] for name in shapes if (found := re.match(pattern, name))})

    note("input channels", f"{TRUNK}stem.conv1.weight", 1)
    note("stem width", f"{TRUNK}stem.conv1.weight", 0)
    blocks = [count(rf"{re.escape(TRUNK)}{stage}\.(\d+)\.") for stage in STAGES]
    if any(blocks):
        facts["blocks"] = blocks
        note("bottleneck width", f"{TRUNK}res2.0.conv1.weight", 0)
        note("width of a group", f"{TRUNK}res2.0.conv2.weight", 1)
        note("output width", f"{TRUNK}res2.0.conv3.weight", 0)
        offsets = [DEFORMABLE.get(shapes.get(f"{TRUNK}{stage}.0.conv2_offset.weight", (0,))[0], "none") for stage in STAGES]
        if set(offsets) != {"none"}:
            facts["deformable"] = offsets
    note("pyramid width", "backbone.fpn_lateral2.weight", 0)
    note("anchors at a place", "proposal_generator.rpn_head.objectness_logits.weight", 0)
    for fact, pattern in (
        ("pyramid levels", r"backbone\.fpn_output(\d)\."),
        ("box stages", r"roi_heads\.box_predictor\.(\d)\."),
        ("box convolutions", r"roi_heads\.box_head\.0\.conv(\d)\."),
        ("box layers", r"roi_heads\.box_head\.0\.fc(\d)\."),
        ("mask convolutions", r"roi_heads\.mask_head\.mask_fcn(\d)\."),
    ):
        if found := count(pattern):
            facts[fact] = found
    note("box convolution width", "roi_heads.box_head.0.conv1.weight", 0)
    note("box layer width", "roi_heads.box_head.0.fc1.weight", 0)
    note("box deltas", "roi_heads.box_predictor.0.bbox_pred.weight", 0)
    note("mask width", "roi_heads.mask_head.mask_fcn1.weight", 0)
    return facts


def described(settings: ModelSettings) -> dict[str, object]:
    """The same of settings: what `architecture` finds in a file that they describe."""
    trunk, backbone, heads = settings.backbone.trunk, settings.backbone, settings.heads
    facts: dict[str, object] = {
        "pyramid width": backbone.fpn_width,
        "pyramid levels": len(backbone.strides),
        "anchors at a place": len(settings.rpn.sizes[0]) * len(settings.rpn.ratios),
        "box stages": len(heads.ious),
        "box convolutions": heads.box_convs,
        "box convolution width": heads.box_convs and heads.box_conv_width,
        "box layers": heads.box_fcs,
        "box layer width": heads.box_fcs and heads.box_fc_width,
        "mask convolutions": heads.mask_convs,
        "mask width": heads.mask_convs and heads.mask_width,
    }
    if isinstance(trunk, ResNeXtSettings):
        facts |= {"blocks": list(trunk.blocks), "stem width": trunk.stem_width, "output width": trunk.out_width}
        facts |= {"width of a group": trunk.group_width, "bottleneck width": trunk.groups * trunk.group_width}
    return {fact: value for fact, value in facts.items() if value}


def differences(found: Mapping[str, object], expected: Mapping[str, object]) -> list[str]:
    """Facts that contradict each other, in words."""
    return [
        f"{fact}: {found[fact]} in the file, {value} in the settings" for fact, value in expected.items() if found.get(fact, value) != value
    ]


def check_described(path: Path, header: CheckpointHeader) -> None:
    """Raise InputError when the settings describe another network than the file holds, which may be one of any size."""
    if other := sorted(set(header.types) - FLOATS):
        raise InputError(f"{path}: holds tensors of {', '.join(other)}, expected floats: use the file as `somaseg train` wrote it")
    found = architecture(header.shapes)
    for fact, value in described(header.config.model).items():
        if found.get(fact) != value:
            raise InputError(
                f"{path}: tensors do not fit the model of its settings: {fact}: {found.get(fact, 'none')} in the file, {value} in the "
                "settings: use the file as it was written"
            )


def open_detector(path: Path, header: CheckpointHeader, weights: Mapping[str, Floats]) -> OnnxDetector:
    """The network of a file in onnxruntime.

    Raises:
        InputError: when its tensors do not fit its graphs, or these its settings.
    """
    expected = {"dense", "mask", *(f"box{number}" for number in range(len(header.config.model.heads.ious)))}
    rows, classes = header.shapes.get("roi_heads.box_predictor.0.cls_score.bias", (0,))[0], len(header.config.model.classes)
    if header.graphs.keys() != expected or rows != classes + 1:
        found = f"graphs {', '.join(header.graphs) or 'none'} and scores of {rows - 1} classes, {classes} in the settings"
        raise InputError(f"{path}: {found}: tensors do not fit the model of its settings: use the file as it was written")
    try:
        return OnnxDetector(header.config.model, header.graphs, weights)
    except OrtFail as error:
        reason = str(error).splitlines()[0][:300]
        raise InputError(f"{path}: tensors do not fit the model of its settings ({reason}): use the file as it was written") from error
