import builtins
import io
import os
import pickle
import zipfile

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from somaseg.checkpoints.foreign import read_foreign
from somaseg.errors import InputError

TENSORS = {"a.weight": torch.arange(6.0).view(2, 3), "a.steps": torch.tensor(7)}
ARRAYS = {name: tensor.numpy() for name, tensor in TENSORS.items()}


class Call:
    """Pickles as a call of a function."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def torch_file(path, content, zipped=True):
    torch.save(content, path, _use_new_zipfile_serialization=zipped)


def pickle_file(path, content):
    path.write_bytes(pickle.dumps(content))


WRITERS = {
    "PyTorch": lambda path: torch_file(path, {"model": TENSORS, "optimizer": {"state": {}}, "iteration": 3}),
    "PyTorch before 1.6": lambda path: torch_file(path, {"model": TENSORS}, zipped=False),
    "pickle of arrays": lambda path: pickle_file(path, {"model": ARRAYS, "__author__": "me", "matching_heuristics": True}),
    "safetensors": lambda path: save_file(TENSORS, path),
}


@pytest.mark.parametrize("kind", WRITERS)
def test_kinds_of_files(tmp_path, kind):
    path = tmp_path / "weights"
    WRITERS[kind](path)
    read = read_foreign(path)
    assert read.format == kind
    assert read.author == ("me" if kind == "pickle of arrays" else "")
    assert read.tensors.keys() == TENSORS.keys()
    assert all(torch.equal(read.tensors[name], tensor) for name, tensor in TENSORS.items())


@pytest.mark.parametrize("content", [ARRAYS, {"blobs": ARRAYS}, {"state_dict": ARRAYS}, {"model_state": ARRAYS, "epoch": 1}])
def test_places_of_the_tensors(tmp_path, content):
    path = tmp_path / "weights.pkl"
    pickle_file(path, content)
    assert read_foreign(path).tensors.keys() == TENSORS.keys()


def test_numbers_become_float32_of_this_machine(tmp_path):
    path = tmp_path / "weights.pkl"
    pickle_file(path, {"half": np.array([1.5], np.float16), "swapped": np.array([2.5], ">f8"), "x_momentum": np.ones(1)})
    read = read_foreign(path).tensors
    assert {name: (tensor.dtype, tensor.tolist()) for name, tensor in read.items()} == {
        "half": (torch.float32, [1.5]),
        "swapped": (torch.float32, [2.5]),
    }


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("function", [os.system, builtins.eval, builtins.getattr])
def test_a_hostile_file_of_pytorch_runs_nothing(tmp_path, function, zipped):
    path, mark = tmp_path / "weights.pth", tmp_path / "mark"
    argument = {os.system: (f"touch {mark}",), builtins.eval: (f"open({str(mark)!r}, 'w')",), builtins.getattr: (1, "real")}[function]
    torch_file(path, {"model": {**TENSORS, "x": Call(function, *argument)}}, zipped)
    with pytest.raises(InputError, match=rf"weights\.pth: refused, and nothing in it was run: it asks for .*{function.__name__}"):
        read_foreign(path)
    assert not mark.exists()


def test_a_hostile_pickle_in_the_clothes_of_another_runs_nothing(tmp_path):
    path, mark = tmp_path / "weights.pth", tmp_path / "mark"
    pickle_file(path, {"model": {**ARRAYS, "x": Call(os.system, f"touch {mark}")}})
    with pytest.raises(InputError, match="refused, and nothing in it was run"):
        read_foreign(path)
    assert not mark.exists()


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize("share", [0.02, 0.5, 0.97])
def test_a_file_that_is_cut_off(tmp_path, kind, share):
    path = tmp_path / "weights"
    WRITERS[kind](path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(InputError, match=r"weights: cannot be read as .* cut off"):
        read_foreign(path)


def test_packed_entries_are_refused(tmp_path):
    path = tmp_path / "weights.pth"
    torch_file(path, {"model": {"a": torch.zeros(2**20)}})
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    assert path.stat().st_size < 10_000
    with pytest.raises(InputError, match=r"weights\.pth: refused: its entries are packed"):
        read_foreign(path)


def test_tensors_that_claim_more_than_the_file_has(tmp_path):
    path = tmp_path / "weights.pth"
    torch_file(path, {"model": {"a": torch.zeros(1).expand(10**9)}})
    with pytest.raises(InputError, match=r"its tensors claim 4000000000 bytes, but the file has \d+"):
        read_foreign(path)


def test_a_storage_that_claims_more_than_the_file_has(tmp_path):
    content = io.BytesIO()
    torch.save({"model": {"a": torch.arange(4.0)}}, content, _use_new_zipfile_serialization=False)
    lying = content.getvalue().replace(b"cpuq\x08K\x04N", b"cpuq\x08\x8a\x05\x00\x00\x00\x00\x01N")  # 2 ** 32 numbers in place of 4
    assert lying != content.getvalue()
    path = tmp_path / "weights.pth"
    path.write_bytes(lying)
    with pytest.raises(InputError, match=r"weights\.pth: cannot be read as a PyTorch file"):
        read_foreign(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"iteration": 3, "cfg": "..."}, "holds no tensors, only cfg, iteration"),
        ({}, "holds no tensors, only nothing"),
        ([np.zeros(2)], "holds a list, expected tensors by name"),
    ],
)
def test_files_without_tensors(tmp_path, content, message):
    path = tmp_path / "weights.pkl"
    pickle_file(path, content)
    with pytest.raises(InputError, match=message):
        read_foreign(path)


def test_no_file(tmp_path):
    with pytest.raises(InputError, match=r"none\.pth: cannot be read \(No such file"):
        read_foreign(tmp_path / "none.pth")
