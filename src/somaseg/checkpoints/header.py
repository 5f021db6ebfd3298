"""What a file of weights says of its model, read without its tensors and without torch."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from somaseg.config import Config
from somaseg.errors import InputError


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


def read_header(path: Path) -> CheckpointHeader:
    """Read settings, provenance and shapes of what `save_checkpoint` wrote, and no weights.

    Raises:
        InputError: when the file is missing or cut off, or is no somaseg model.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such weights: give a .safetensors file that `somaseg train` wrote, or the name `default`")
    try:
        with safe_open(path, framework="numpy") as file:
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
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(f"{path}: its settings are not those of this version of somaseg: {str(error)[:1000]}") from error
    return CheckpointHeader(config, provenance, shapes, types)
