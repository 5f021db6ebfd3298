"""Which files weights are: a name, a file, a folder of members."""

import pytest
import torch

from somaseg.checkpoints import names as weights_files
from somaseg.checkpoints.checkpoint import save_checkpoint
from somaseg.config import Config
from somaseg.errors import InputError
from somaseg.files import file_sha256
from somaseg.inference.segmenter import load
from somaseg.models.cascade import CascadeMaskRCNN
from tiny import TINY

# An untrained network is as sure of its last proposal as of its first; with this cap it has no last one.
WIDE = TINY.model_copy(update={"rpn": TINY.rpn.model_copy(update={"post_nms": 200})})


@pytest.fixture(scope="module")
def tiny_model():
    torch.manual_seed(0)
    return CascadeMaskRCNN(WIDE).eval()


@pytest.fixture
def members(tmp_path, tiny_model):
    """A folder of two members, and the hash of each by its name."""
    folder = tmp_path / "members"
    torch.manual_seed(1)
    for name, model in (("2_b", CascadeMaskRCNN(WIDE)), ("1_a", tiny_model)):
        save_checkpoint(folder / f"{name}.safetensors", model, Config(model=WIDE), {"member": name})
    return folder, {path.name: file_sha256(path) for path in folder.iterdir()}


def write_sums(folder, hashes):
    (folder / "SHA256SUMS").write_text("".join(f"{digest}  {name}\n" for name, digest in hashes.items()))


def test_a_folder_is_the_ensemble_of_its_files_in_the_order_of_their_names(members):
    folder, hashes = members
    both = load(folder, device="cpu")
    assert both.name == str(folder)
    assert both.provenance == {"member": "1_a"}
    assert both.sha256 == load([folder / "1_a.safetensors", folder / "2_b.safetensors"], device="cpu").sha256
    assert load([folder, folder / "1_a.safetensors"], device="cpu").sha256 != both.sha256
    write_sums(folder, hashes)
    assert load(str(folder), device="cpu").sha256 == both.sha256


def test_files_of_a_folder_are_those_that_its_sums_list(members):
    folder, hashes = members
    write_sums(folder, hashes | {"2_b.safetensors": "a" * 64})
    with pytest.raises(InputError, match=rf"2_b\.safetensors: its SHA-256 is {hashes['2_b.safetensors']}, SHA256SUMS beside it says aaaa"):
        load(folder)
    write_sums(folder, hashes | {"3_c.safetensors": "a" * 64})
    with pytest.raises(InputError, match=r"SHA256SUMS: 3_c\.safetensors: is missing"):
        load(folder)
    write_sums(folder, {"1_a.safetensors": hashes["1_a.safetensors"]})
    with pytest.raises(InputError, match=r"SHA256SUMS: 2_b\.safetensors: is not listed"):
        load(folder)


def test_load_by_name(members, monkeypatch):
    folder, hashes = members
    monkeypatch.setattr(weights_files, "SHIPPED", folder)
    assert weights_files.shipped_names() == ["1_a", "2_b"]
    spare = load("1_a", device="cpu")
    assert (spare.name, spare.sha256) == ("1_a", hashes["1_a.safetensors"])
    with pytest.raises(InputError, match=r"best: no such weights: .* that come with somaseg: 1_a, 2_b$"):
        load("best")
    monkeypatch.setattr(weights_files, "SHIPPED", folder.parent)
    assert weights_files.shipped_names() == ["members"]
    ensemble = load("members", device="cpu")
    assert (ensemble.name, ensemble.sha256) == ("members", load(folder, device="cpu").sha256)


def test_one_model_is_not_a_folder_of_several(members, tmp_path):
    with pytest.raises(InputError, match=r"holds 2 models, expected one: give a file, such as .*1_a\.safetensors"):
        weights_files.weights_path(members[0])
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="empty: holds no weights"):
        load(tmp_path / "empty")


@pytest.mark.parametrize("name", ["no_such_weights", "no/such/file.safetensors", ""])
def test_load_what_is_not_there(name):
    with pytest.raises(InputError, match=r"no such weights: give a \.safetensors file .*: best, default"):
        load(name)
