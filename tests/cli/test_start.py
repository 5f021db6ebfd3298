"""What starting costs: libraries that a command does not use are not imported."""

import subprocess
import sys

import pytest

import somaseg

HEAVY = {"numpy", "scipy", "pydantic", "PIL", "tifffile", "imagecodecs", "torch", "polars", "matplotlib", "skimage"}
CELLS = {"torch", "torchvision", "timm", "matplotlib", "skimage", "pytorch_lightning", "faster_coco_eval.extra"}


def imported(code: str) -> set[str]:
    """The modules that are loaded after the code."""
    code += "\nimport sys\nprint(chr(10).join(sys.modules), file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stderr.split())


def test_help_imports_nothing_heavy() -> None:
    assert not imported("from somaseg.cli.main import app\napp(['--help'], standalone_mode=False)") & HEAVY


@pytest.mark.parametrize("module", ["batch.segment", "batch.postprocess", "evaluation.evaluate", "inference.deferred", "data.check"])
def test_cells_and_scores_import_no_network_and_no_figures(module: str) -> None:
    assert not imported(f"import somaseg.{module}") & CELLS


def test_public_names_are_there_before_they_are_imported() -> None:
    assert set(somaseg.__all__) <= set(dir(somaseg))
    assert set(somaseg.PLACES) == set(somaseg.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'segmenter'"):
        somaseg.segmenter  # noqa: B018
