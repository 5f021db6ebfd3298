"""What a file of weights says of its model, read without its tensors and without torch."""

import base64
import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from somaseg.config import Config
from somaseg.errors import InputError

MOST = 1 << 24  # bytes of a graph, many times those of any network here


@dataclass(frozen=True)
class CheckpointHeader:
    """What a file says of its model, without the weights.

    Attributes:
        config, provenance: as in `Checkpoint`.
        shapes: by tensor.
        types: names of the number types that the tensors are stored in, sorted.
        graphs: for onnxruntime, by part; empty where the file holds none.
    """

    config: Config
    provenance: dict[str, Any]
    shapes: dict[str, tuple[int, ...]]
    types: tuple[str, ...]
    graphs: dict[str, bytes] = field(default_factory=dict)


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
        graphs = unpacked(about.get("graphs", {}))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, zlib.error) as error:
        raise InputError(f"{path}: its settings are not those of this version of somaseg: {str(error)[:1000]}") from error
    return CheckpointHeader(config, provenance, shapes, types, graphs)


def read_arrays(path: Path) -> dict[str, NDArray[np.float32]]:
    """The tensors of a file, by name.

    Raises:
        InputError: when a tensor is of a number type that NumPy does not have.
    """
    with safe_open(path, framework="numpy") as file:
        try:
            return {name: np.asarray(file.get_tensor(name), np.float32) for name in file.keys()}  # noqa: SIM118  not a dict
        except (SafetensorError, TypeError, ValueError) as error:
            raise InputError(f"{path}: holds numbers that need torch ({error}): run it in torch, with --runtime torch") from error


def packed(graphs: Mapping[str, bytes]) -> dict[str, str]:
    """Graphs as JSON takes them."""
    return {name: base64.b64encode(zlib.compress(graph, 9)).decode() for name, graph in graphs.items()}


def unpacked(texts: Mapping[str, str]) -> dict[str, bytes]:
    """What `packed` packed."""
    return {name: zlib.decompressobj().decompress(base64.b64decode(text, validate=True), MOST) for name, text in texts.items()}
