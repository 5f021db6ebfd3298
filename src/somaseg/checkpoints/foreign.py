"""Weights that other programs wrote, as tensors by name: PyTorch's files, Detectron2's and Caffe2's pickles, safetensors."""

import pickle
import re
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from somaseg.errors import InputError
from somaseg.pickles import read_pickle

ZIP = b"PK\x03\x04"
TORCH_BEFORE_ZIP = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."  # a pickle of the number that PyTorch's older files begin with
PARTS = ("model", "blobs", "state_dict", "model_state")  # where files keep the tensors, if not at the top
GROWTH = 2  # tensors may take twice the bytes of their file, since some share theirs


@dataclass(frozen=True)
class ForeignWeights:
    """Tensors of another program's file.

    Attributes:
        tensors: by name, floating-point ones as float32.
        format: what kind of file it was.
        author: who the file says made it, or "".
    """

    tensors: dict[str, Tensor]
    format: str
    author: str


def read_foreign(path: Path) -> ForeignWeights:
    """Read weights without running anything that the file could hide.

    Raises:
        InputError: when the file is missing, cut off, asks for more than weights need, or holds no tensors.
    """
    try:
        with path.open("rb") as file:
            start = file.read(16)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}): give a file of weights (.pth, .pkl, .safetensors)") from error
    if start.startswith(ZIP):
        _check_zip(path)
        kind, content = "PyTorch", _read_torch(path)
    elif start.startswith(TORCH_BEFORE_ZIP):
        kind, content = "PyTorch before 1.6", _read_torch(path)
    elif start[8:9] == b"{":
        kind, content = "safetensors", _read_safetensors(path)
    else:
        kind, content = "pickle of arrays", read_pickle(path)
    if not isinstance(content, Mapping):
        raise InputError(f"{path}: holds a {type(content).__name__}, expected tensors by name")
    part = next((content[name] for name in PARTS if isinstance(content.get(name), Mapping)), content)
    found = {str(k): v for k, v in part.items() if isinstance(v, np.ndarray | Tensor) and not str(k).endswith("_momentum")}
    if not found:
        names = ", ".join(sorted(str(name) for name in content)[:8])
        raise InputError(f"{path}: holds no tensors, only {names or 'nothing'}: give the file of the weights themselves")
    claimed, size = sum(v.nbytes for v in found.values()), path.stat().st_size
    if claimed > GROWTH * size:
        raise InputError(f"{path}: its tensors claim {claimed} bytes, but the file has {size}: get the file from a source you trust")
    author = content.get("__author__", "")
    return ForeignWeights({k: _tensor(v) for k, v in found.items()}, kind, author if isinstance(author, str) else "")


def _check_zip(path: Path) -> None:
    """PyTorch stores its entries as they are; compressed or overlapping ones could unpack to far more than the file has."""
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise InputError(f"{path}: cannot be read as a PyTorch file ({error}): the file may be cut off, copy it again") from error
    if any(e.compress_type != zipfile.ZIP_STORED for e in entries) or sum(e.file_size for e in entries) > path.stat().st_size:
        raise InputError(f"{path}: refused: its entries are packed, which PyTorch does not do: get the file from a source you trust")


def _read_torch(path: Path) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # PyTorch's advice on what to do with a file like this; the error below gives ours
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        asked = re.search(r"GLOBAL (?P<what>[\w.]+)", str(error))
        what = f"`{asked['what']}`" if asked else "what weights do not need"
        raise InputError(
            f"{path}: refused, and nothing in it was run: it asks for {what:.80}, but weights are tensors in plain containers: "
            "get the file from a source you trust"
        ) from error
    except Exception as error:  # PyTorch raises nearly anything for a broken file
        reason = str(error).partition("\n")[0][:120]
        raise InputError(f"{path}: cannot be read as a PyTorch file ({reason}): the file may be cut off, copy it again") from error


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except SafetensorError as error:
        raise InputError(f"{path}: cannot be read as safetensors ({error}): the file may be cut off, copy it again") from error


def _tensor(value: NDArray[Any] | Tensor) -> Tensor:
    tensor = value if isinstance(value, Tensor) else torch.from_numpy(value.astype(value.dtype.newbyteorder("=")))
    return tensor.float() if tensor.is_floating_point() else tensor
