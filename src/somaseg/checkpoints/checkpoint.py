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

from somaseg.checkpoints.architecture import TRUNK, architecture, described
from somaseg.checkpoints.header import CheckpointHeader, read_header
from somaseg.config import Config, TimmSettings
from somaseg.errors import InputError
from somaseg.files import file_sha256, whole
from somaseg.models.cascade import CascadeMaskRCNN
from somaseg.models.trunks.timm_trunk import PACKAGED_WEIGHTS, count_weights

Precision = Literal["half", "float"]
FLOATS = {"F16", "F32", "F64", "BF16"}  # as safetensors calls them


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
    """Write weights, settings and provenance to one safetensors file, atomically.

    In half precision what multiplies features is stored in float16; norms and biases, which are few, and weights beyond the range of
    float16 stay in float32.
    """
    tensors = {name: _stored(tensor.detach().cpu(), precision) for name, tensor in model.state_dict().items()}
    # One entry: safetensors writes several in an order of its own, and then the same weights would have many hashes.
    text = {"somaseg": json.dumps({"config": config.model_dump(mode="json"), "provenance": provenance})}
    with whole(path) as part:
        save_file(tensors, part, metadata=text)


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
    _check_before_building(path, header)
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


def _check_before_building(path: Path, header: CheckpointHeader) -> None:
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
    trunk = header.config.model.backbone.trunk
    if isinstance(trunk, TimmSettings) and trunk.name not in PACKAGED_WEIGHTS:
        stored = sum(math.prod(shape) for name, shape in header.shapes.items() if name.startswith(TRUNK))
        if (weights := count_weights(trunk.name)) > 2 * stored + 1000:
            raise InputError(
                f"{path}: tensors do not fit the model of its settings: {trunk.name} has {weights} weights, the file {stored} for it: "
                "use the file as it was written"
            )
