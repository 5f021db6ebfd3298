"""Weights as safetensors with their settings inside, so that one file is a whole model."""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from somaseg.checkpoints.architecture import TRUNK, check_described
from somaseg.checkpoints.header import CheckpointHeader, packed, read_header
from somaseg.checkpoints.to_onnx import graphs_of
from somaseg.config import Config, TimmSettings
from somaseg.errors import InputError
from somaseg.files import file_sha256, whole
from somaseg.models.cascade import CascadeMaskRCNN
from somaseg.models.trunks.timm_trunk import PACKAGED_WEIGHTS, count_weights

Precision = Literal["half", "float"]


@dataclass(frozen=True)
class Checkpoint:
    """A model read from a file.

    Attributes:
        model: in evaluation mode, float32.
        config: the resolved settings of its training, and the thresholds that go with it.
        sha256: of the file.
        provenance: what else the file says of itself, such as data, split and terms.
    """

    model: CascadeMaskRCNN
    config: Config
    sha256: str
    provenance: dict[str, Any]


def save_checkpoint(path: Path, model: CascadeMaskRCNN, config: Config, provenance: dict[str, Any], precision: Precision = "half") -> None:
    """Write weights, settings, provenance and the graphs that onnxruntime runs to one safetensors file, atomically.

    A network that has no graph, such as one with deformable convolutions, is written without.
    In half precision what multiplies features is stored in float16; norms and biases, which are few, and weights beyond the range of
    float16 stay in float32.
    """
    tensors = {name: _stored(tensor.detach().cpu(), precision) for name, tensor in model.state_dict().items()}
    # One entry: safetensors writes several in an order of its own, and then the same weights would have many hashes.
    about = {"config": config.model_dump(mode="json"), "provenance": provenance, "graphs": packed(_graphs(model))}
    text = {"somaseg": json.dumps(about)}
    with whole(path) as part:
        save_file(tensors, part, metadata=text)


def _graphs(model: CascadeMaskRCNN) -> dict[str, bytes]:
    try:
        return graphs_of(model.settings)
    except InputError:  # torch alone runs it; whoever asks for another runtime is told
        return {}


def _stored(tensor: Tensor, precision: Precision) -> Tensor:
    if precision == "half" and tensor.ndim > 1 and tensor.abs().max() <= torch.finfo(torch.float16).max:
        tensor = tensor.half()
    return tensor.contiguous()


def load_checkpoint(path: Path) -> Checkpoint:
    """Read what `save_checkpoint` wrote.

    Raises:
        InputError: when the file is missing or cut off, or is no somaseg model, or its tensors do not fit its settings or are no
            finite numbers.
    """
    header = read_header(path)
    check_described(path, header)
    _check_size(path, header)
    model = CascadeMaskRCNN(header.config.model)
    own = model.state_dict()
    wrong = sorted(
        k for k in own.keys() | header.shapes.keys() if k not in own or k not in header.shapes or tuple(own[k].shape) != header.shapes[k]
    )
    if wrong:
        raise InputError(
            f"{path}: {len(wrong)} tensors do not fit the model of its settings, such as {wrong[0]}: use the file as it was written"
        )
    with safe_open(path, framework="pt") as file:
        for name, tensor in own.items():
            tensor.copy_(file.get_tensor(name))  # one by one, so that no second copy of a large model is ever whole
    return Checkpoint(model.eval(), header.config, file_sha256(path), header.provenance)


def _check_size(path: Path, header: CheckpointHeader) -> None:
    """Raise InputError when the trunk that the settings name is far larger than what the file holds for it."""
    trunk = header.config.model.backbone.trunk
    if isinstance(trunk, TimmSettings) and trunk.name not in PACKAGED_WEIGHTS:
        stored = sum(math.prod(shape) for name, shape in header.shapes.items() if name.startswith(TRUNK))
        if (weights := count_weights(trunk.name)) > 2 * stored + 1000:
            raise InputError(
                f"{path}: tensors do not fit the model of its settings: {trunk.name} has {weights} weights, the file {stored} for it: "
                "use the file as it was written"
            )
