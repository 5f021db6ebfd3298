"""The golden network of Detectron2, as its tests share it."""

from pathlib import Path

import pytest

GOLDEN = Path(__file__).parents[1] / "golden" / "tiny_cascade.safetensors"


@pytest.fixture(scope="module")
def golden():
    from safetensors.torch import load_file  # not at the top: without torch other tests of the room still run

    return load_file(GOLDEN)


@pytest.fixture(scope="module")
def weights(golden):
    return {name.removeprefix("weights/"): tensor for name, tensor in golden.items() if name.startswith("weights/")}
