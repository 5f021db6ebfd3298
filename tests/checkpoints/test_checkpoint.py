import hashlib
import json
import stat

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from somaseg.checkpoints.checkpoint import load_checkpoint, save_checkpoint
from somaseg.checkpoints.header import read_header
from somaseg.config import Config, PostprocessSettings
from somaseg.errors import InputError
from somaseg.models.cascade import CascadeMaskRCNN
from tiny import TINY

CONFIG = Config(model=TINY, postprocess=PostprocessSettings(nms_iou=0.17))


@pytest.fixture
def saved(tmp_path):
    torch.manual_seed(0)
    model, path = CascadeMaskRCNN(TINY).train(), tmp_path / "tiny.safetensors"
    save_checkpoint(path, model, CONFIG, {"data": "drawn", "fold": 0})
    return model, path


def header(path):
    with safe_open(path, framework="pt") as file:
        return file.metadata()


def test_round_trip_in_half_precision(saved):
    model, path = saved
    read = load_checkpoint(path)
    assert read.config == CONFIG
    assert read.provenance == {"data": "drawn", "fold": 0}
    assert read.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert not read.model.training
    own, found = model.state_dict(), read.model.state_dict()
    assert own.keys() == found.keys()
    for name, tensor in own.items():
        assert found[name].dtype == torch.float32
        torch.testing.assert_close(found[name], tensor.half().float() if tensor.ndim > 1 else tensor, atol=0, rtol=0)
    assert path.stat().st_size < 1.2 * 2 * sum(t.numel() for t in own.values()) + 30_000


def test_round_trip_in_float(saved, tmp_path):
    model, _ = saved
    path = tmp_path / "folder" / "float.safetensors"
    save_checkpoint(path, model, CONFIG, {}, "float")
    found = load_checkpoint(path).model.state_dict()
    assert all(torch.equal(found[name], tensor) for name, tensor in model.state_dict().items())
    assert read_header(path).types == ("F32",)


def test_what_half_precision_cannot_hold_stays_float(saved):
    model, path = saved
    name = "roi_heads.mask_head.predictor.weight"
    with torch.no_grad():
        model.state_dict()[name][0, 0] = 1e6
    save_checkpoint(path, model, CONFIG, {})
    assert load_checkpoint(path).model.state_dict()[name].max() == 1e6


def test_what_a_file_says_of_itself_is_read_without_its_weights(saved):
    model, path = saved
    about = read_header(path)
    assert about.config == CONFIG
    assert about.provenance == {"data": "drawn", "fold": 0}
    assert about.shapes == {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    assert about.types == ("F16", "F32")


def test_saving_what_was_read_gives_the_same_file(saved):
    _, path = saved
    read, again = load_checkpoint(path), path.with_name("again.safetensors")
    save_checkpoint(again, read.model, read.config, read.provenance)
    assert load_checkpoint(again).sha256 == read.sha256
    assert sorted(p.name for p in path.parent.iterdir()) == ["again.safetensors", "tiny.safetensors"]


def test_missing_file(tmp_path):
    with pytest.raises(InputError, match=r"none\.safetensors: no such weights"):
        load_checkpoint(tmp_path / "none.safetensors")


@pytest.mark.parametrize("share", [0, 1e-5, 0.01, 0.9, 0.9999])
def test_file_that_is_cut_off(saved, share):
    _, path = saved
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(InputError, match=r"tiny\.safetensors: cannot be read as safetensors .* cut off"):
        load_checkpoint(path)


@pytest.mark.parametrize("content", [b"PK\x03\x04 a pickle in a zip, as torch.save writes it", b"\x00" * 64])
def test_file_of_another_kind(tmp_path, content):
    path = tmp_path / "model.pth"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"model\.pth: cannot be read as safetensors"):
        load_checkpoint(path)


@pytest.mark.parametrize("metadata", [None, {"format": "pt"}])
def test_safetensors_of_another_program(tmp_path, metadata):
    path = tmp_path / "foreign.safetensors"
    save_file({"weight": torch.zeros(2)}, path, metadata)
    with pytest.raises(InputError, match=r"foreign\.safetensors: carries no somaseg settings"):
        load_checkpoint(path)


def test_tensors_must_fit_the_settings(saved):
    _, path = saved
    tensors, metadata = load_file(path), header(path)
    name = "roi_heads.mask_head.predictor.weight"
    for change in ({name: None}, {name: torch.zeros(5, 16, 1, 1)}, {"roi_heads.mask_head.unknown": torch.zeros(1)}):
        (changed,) = change
        save_file({k: v for k, v in (tensors | change).items() if v is not None}, path, metadata)
        with pytest.raises(InputError, match=rf"tiny\.safetensors: 1 tensors do not fit .* such as {changed}"):
            load_checkpoint(path)


@pytest.mark.parametrize("change", [{"colour": "red"}, {"train": {"steps": 0}}])
def test_settings_of_another_version(saved, change):
    _, path = saved
    metadata = header(path)
    about = json.loads(metadata["somaseg"])
    metadata["somaseg"] = json.dumps(about | {"config": about["config"] | change})
    save_file(load_file(path), path, metadata)
    with pytest.raises(InputError, match=r"tiny\.safetensors: its settings are not those of this version"):
        load_checkpoint(path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"backbone": {"fpn_width": 10**7}}, "pyramid width: 16 in the file, 10000000 in the settings"),
        ({"heads": {"box_fc_width": 10**8}}, "box layer width: 32 in the file"),
        ({"heads": {"mask_convs": 10**6}}, "mask convolutions: 1 in the file"),
        ({"heads": {"box_convs": 10**6}}, "box convolutions: none in the file"),
        ({"rpn": {"ratios": [1.0] * 10**5}}, "anchors at a place: 1 in the file"),
        ({"backbone": {"trunk": {"kind": "resnext", "blocks": [10**6] * 4}}}, "blocks: none in the file"),
        ({"backbone": {"trunk": {"kind": "timm", "name": "convnext_xxlarge"}}}, r"convnext_xxlarge has 8\d+ weights"),
        ({"backbone": {"trunk": {"kind": "timm", "name": "nothing"}}}, "timm has no 'nothing'"),
    ],
)
def test_settings_of_a_giant_network_are_refused_before_it_is_built(saved, changes, message):
    _, path = saved
    tensors, about = load_file(path), json.loads(header(path)["somaseg"])
    for part, values in changes.items():
        about["config"]["model"][part] |= values
    save_file(tensors, path, metadata={"somaseg": json.dumps(about)})
    with pytest.raises(InputError, match=message):
        load_checkpoint(path)


def test_tensors_that_are_no_floats_are_refused(saved):
    _, path = saved
    about = header(path)
    save_file({name: tensor.int() for name, tensor in load_file(path).items()}, path, metadata=about)
    with pytest.raises(InputError, match="holds tensors of I32, expected floats"):
        load_checkpoint(path)


def test_a_file_gets_the_mode_of_the_umask(saved):
    _, path = saved
    plain = path.with_name("plain")
    plain.touch()
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE(plain.stat().st_mode)
