"""From files of weights to networks on a runtime; torch is loaded only where it computes."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from somaseg.checkpoints.architecture import check_described, open_detector
from somaseg.checkpoints.header import read_arrays, read_header
from somaseg.checkpoints.names import check_hash
from somaseg.config import Config
from somaseg.errors import InputError
from somaseg.files import file_sha256
from somaseg.runtimes.choice import Runtime, choose
from somaseg.runtimes.detector import Detector, Floats

if TYPE_CHECKING:
    from somaseg.checkpoints.checkpoint import Checkpoint


@dataclass(frozen=True)
class Network:
    """A network that is ready, and what its file says.

    Attributes:
        detector: finds cells in prepared images.
        config, sha256, provenance: as in `somaseg.checkpoints.checkpoint.Checkpoint`.
    """

    detector: Detector[Floats]
    config: Config
    sha256: str
    provenance: dict[str, Any]


def load_networks(files: Sequence[Path], runtime: Runtime) -> list[Network]:
    """The networks of files whose hashes are those in SHA256SUMS beside them, if they stand there.

    Raises:
        InputError: when one cannot be read, has another hash, or holds what is no number.
    """
    if runtime.name == "onnx":
        return [_in_onnxruntime(path) for path in files]
    return [in_torch(load_whole(path), runtime) for path in files]


def in_torch(checkpoint: "Checkpoint", runtime: Runtime | None = None) -> Network:
    """A checkpoint as a network in torch; without a runtime, on the device and in the numbers that are fast."""
    from somaseg.runtimes.torch_detector import TorchDetector

    runtime = runtime or choose("torch")
    detector = TorchDetector(checkpoint.model.to(runtime.device), bf16=runtime.precision == "bfloat16")
    return Network(detector, checkpoint.config, checkpoint.sha256, checkpoint.provenance)


def load_whole(path: Path) -> "Checkpoint":
    """A checkpoint whose hash is the one in SHA256SUMS beside it, if it stands there.

    Raises:
        InputError: when it cannot be read, has another hash, or holds what is no number.
    """
    from somaseg.checkpoints.checkpoint import load_checkpoint

    checkpoint = load_checkpoint(path)
    check_hash(path, checkpoint.sha256)
    _check_finite(path, {name: tensor.numpy() for name, tensor in checkpoint.model.state_dict().items()})
    return checkpoint


def _in_onnxruntime(path: Path) -> Network:
    header, digest = read_header(path), file_sha256(path)
    check_hash(path, digest)
    check_described(path, header)
    weights = read_arrays(path)
    _check_finite(path, weights)
    return Network(open_detector(path, header, weights), header.config, digest, header.provenance)


def _check_finite(path: Path, weights: dict[str, Floats]) -> None:
    bad = next((name for name, values in weights.items() if not np.isfinite(values).all()), None)
    if bad is not None:
        raise InputError(f"{path}: {bad} holds values that are not finite, and would find no cell: take weights of an earlier step")
