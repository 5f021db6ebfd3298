"""Which runtime is taken, and what is said where none fits."""

import importlib.util

import pytest

from somaseg.errors import InputError, MissingExtraError
from somaseg.runtimes import choice
from somaseg.runtimes.choice import Runtime, choose


@pytest.fixture
def without_torch(monkeypatch):
    monkeypatch.setattr(choice, "find_spec", lambda name: None)


def test_without_torch_it_is_onnxruntime(without_torch):
    assert choose() == choose("onnx") == choose("auto", "float32", "cpu") == Runtime("onnx", "float32")
    for asked in (("torch",), ("auto", "bfloat16"), ("auto", "auto", "cuda"), ("auto", "auto", None, False)):
        with pytest.raises(MissingExtraError, match=r"torch is not installed: run  pip install 'somaseg\[torch\]'"):
            choose(*asked)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (("onnx", "bfloat16"), "runtime onnx: onnxruntime computes in float32 here, bfloat16 was asked for: take --runtime torch"),
        (("onnx", "auto", "cuda"), "computes on the processor here, cuda was asked for"),
        (("onnx", "auto", None, False), "hold no graph for it, which `somaseg weights export` adds"),
    ],
)
def test_what_onnxruntime_does_not_do(asked, message):
    with pytest.raises(InputError, match=message):
        choose(*asked)


@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="needs torch")
@pytest.mark.parametrize("fast", [False, True])
def test_torch_where_it_is_faster(fast, monkeypatch):
    monkeypatch.setattr("somaseg.runtimes.torch_precision.bf16_is_fast", lambda device: fast)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert choose() == (Runtime("torch", "bfloat16") if fast else Runtime("onnx", "float32"))
    assert choose(graphs=False) == choose("torch") == Runtime("torch", "bfloat16" if fast else "float32")
    assert choose(precision="float32") == Runtime("onnx", "float32")
    assert choose("torch", "float32", "cpu") == Runtime("torch", "float32")
    if fast:
        assert choose(precision="bfloat16") == Runtime("torch", "bfloat16")
    else:
        with pytest.raises(InputError, match=r"precision bfloat16: .* take --precision float32"):
            choose(precision="bfloat16")


def test_what_a_run_tells_of_it(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    about = Runtime("onnx", "float32").about
    assert about | {"processor": ""} == {"name": "onnx", "precision": "float32", "device": "cpu", "threads": 3, "processor": ""}
    assert about["processor"]
    monkeypatch.setenv("OMP_NUM_THREADS", "")
    assert Runtime("onnx", "float32").about["threads"] >= 1
