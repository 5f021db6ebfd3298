"""Weights as safetensors with their settings inside, so that one file is a whole model."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from somaseg.config import Config
from somaseg.errors import InputError
from somaseg.files import file_sha256
from somaseg.models.cascade import CascadeMaskRCNN

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


@dataclass(frozen=True)
class CheckpointHeader:
    """What a file says of its model, without the weights.

    Attributes:
        config, provenance: as in `Checkpoint`.
        shapes: by tensor.
        types: names of the number types that the tensors are stored in, sorted.
    """

    config: Config
    provenance: dict[str, Any]
    shapes: dict[str, tuple[int, ...]]
    types: tuple[str, ...]


def save_checkpoint(path: Path, model: CascadeMaskRCNN, config: Config, provenance: dict[str, Any], precision: Precision = "half") -> None:
    """Write weights, settings and provenance to one safetensors file, atomically.

    In half precision what multiplies features is stored in float16; norms and biases, which are few, and weights beyond the range of
    float16 stay in float32.
    """
    tensors = {name: _stored(tensor.detach().cpu(), precision) for name, tensor in model.state_dict().items()}
    part = path.with_name(path.name + ".part")
    path.parent.mkdir(parents=True, exist_ok=True)
    # One entry: safetensors writes several in an order of its own, and then the same weights would have many hashes.
    save_file(tensors, part, metadata={"somaseg": json.dumps({"config": config.model_dump(mode="json"), "provenance": provenance})})
    part.replace(path)


def _stored(tensor: Tensor, precision: Precision) -> Tensor:
    if precision == "half" and tensor.ndim > 1 and tensor.abs().max() <= torch.finfo(torch.float16).max:
        tensor = tensor.half()
    return tensor.contiguous()


def read_about(path: Path) -> CheckpointHeader:
    """Read settings, provenance and shapes of what `save_checkpoint` wrote, and no weights.

    Raises:
        InputError: when the file is missing or cut off, or is no somaseg model.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such weights: give a .safetensors file that `somaseg train` wrote, or the name `default`")
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118  not a dict
            shapes = {name: tuple(part.get_shape()) for name, part in slices.items()}
            types = tuple(sorted({part.get_dtype() for part in slices.values()}))
    except SafetensorError as error:
        raise InputError(f"{path}: cannot be read as safetensors ({error}): the file may be cut off, copy it again") from error
    if "somaseg" not in header:
        raise InputError(
            f"{path}: carries no somaseg settings: give a file that `somaseg train` wrote, or convert it with `somaseg weights convert`"
        )
    try:
        about = json.loads(header["somaseg"])
        config, provenance = Config.model_validate(about["config"]), dict(about["provenance"])
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: its settings are not those of this version of somaseg: {error}") from error
    return CheckpointHeader(config, provenance, shapes, types)


def load_checkpoint(path: Path) -> Checkpoint:
    """Read what `save_checkpoint` wrote.

    Raises:
        InputError: when the file is missing or cut off, or is no somaseg model, or its tensors do not fit its settings.
    """
    about = read_about(path)
    model = CascadeMaskRCNN(about.config.model)
    own = model.state_dict()
    wrong = sorted(
        k for k in own.keys() | about.shapes.keys() if k not in own or k not in about.shapes or tuple(own[k].shape) != about.shapes[k]
    )
    if wrong:
        raise InputError(
            f"{path}: {len(wrong)} tensors do not fit the model of its settings, such as {wrong[0]}: use the file as it was written"
        )
    with safe_open(path, framework="pt") as file:
        for name, tensor in own.items():
            tensor.copy_(file.get_tensor(name))  # one by one, so that no second copy of a large model is ever whole
    return Checkpoint(model.eval(), about.config, file_sha256(path), about.provenance)
