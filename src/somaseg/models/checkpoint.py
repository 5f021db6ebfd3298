"""Weights as safetensors with their settings inside, so that one file is a whole model."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from somaseg.config import Config
from somaseg.errors import InputError
from somaseg.models.cascade import CascadeMaskRCNN


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


def save_checkpoint(path: Path, model: CascadeMaskRCNN, config: Config, provenance: dict[str, Any]) -> None:
    """Write weights in half precision, settings and provenance to one safetensors file, atomically."""
    tensors = {k: v.detach().cpu().to(torch.float16).contiguous() for k, v in model.state_dict().items()}
    part = path.with_name(path.name + ".part")
    # One entry: safetensors writes several in an order of its own, and then the same weights would have many hashes.
    save_file(tensors, part, metadata={"somaseg": json.dumps({"config": config.model_dump(mode="json"), "provenance": provenance})})
    part.replace(path)


def load_checkpoint(path: Path) -> Checkpoint:
    """Read what `save_checkpoint` wrote.

    Raises:
        InputError: when the file is missing or cut off, or is no somaseg model, or its tensors do not fit its settings.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such weights: give a .safetensors file that `somaseg train` wrote, or the name `default`")
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            tensors = {key: file.get_tensor(key).float() for key in file.keys()}  # noqa: SIM118  not a dict
    except SafetensorError as error:
        raise InputError(f"{path}: cannot be read as safetensors ({error}): the file may be cut off, copy it again") from error
    if "somaseg" not in header:
        raise InputError(f"{path}: carries no somaseg settings: give a file that `somaseg train` wrote")
    try:
        about = json.loads(header["somaseg"])
        config = Config.model_validate(about["config"])
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: its settings are not those of this version of somaseg: {error}") from error
    model = CascadeMaskRCNN(config.model)
    own = model.state_dict()
    wrong = sorted(k for k in own.keys() | tensors.keys() if k not in own or k not in tensors or own[k].shape != tensors[k].shape)
    if wrong:
        raise InputError(
            f"{path}: {len(wrong)} tensors do not fit the model of its settings, such as {wrong[0]}: use the file as it was written"
        )
    model.load_state_dict(tensors)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return Checkpoint(model.eval(), config, digest, about["provenance"])
