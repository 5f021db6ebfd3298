"""The module of a run: how validations are scored, and which weights are kept."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("pytorch_lightning", reason="needs somaseg[train]")

from somaseg.annotations.samples import Sample
from somaseg.checkpoints.header import read_header
from somaseg.config import Config, EvaluationSettings
from somaseg.instances import Instances
from somaseg.models.cascade import CascadeMaskRCNN
from somaseg.training.module import DetectorModule, SaveBest
from tiny import TINY

MIX = {"shsy5y": 155.0, "astro": 131.0, "cort": 320.0}


def cells(count: int) -> Instances:
    """Cells that touch no other, the first ones of the same row."""
    dense = np.zeros((count, 8, 40), bool)
    for i in range(count):
        dense[i, 2:4, 4 * i : 4 * i + 2] = True
    return Instances.from_masks(dense, ("a",), [0] * count)


def validated(tmp_path: Path, callback: SaveBest, found: dict[str, int], step: int = 1) -> float:
    """The score that a validation saves its weights with; of each cell type `found` of the 4 cells of one image were found."""
    config = Config(model=TINY, evaluation=EvaluationSettings(type_weights=callback.type_weights))
    module = DetectorModule(config, CascadeMaskRCNN(TINY), tmp_path, [])
    module.scored = [(cells(number), Sample(Path("x.png"), cells(4), name, cell_type=name)) for name, number in found.items()]
    module.log = module.log_dict = module.print = lambda *arguments, **options: None  # type: ignore[method-assign]
    trainer = SimpleNamespace(sanity_checking=False, is_global_zero=True, global_step=step)
    callback.on_validation_epoch_end(trainer, module)
    return float(read_header(tmp_path / "last.safetensors").provenance["map_iou"])


def test_no_cell_type_is_weighted_unasked(tmp_path: Path) -> None:
    found = {"shsy5y": 4, "astro": 2, "cort": 0}
    assert validated(tmp_path, SaveBest({}, {}), found) == pytest.approx((1 + 0.5 + 0) / 3)
    assert validated(tmp_path, SaveBest({}, MIX), found) == pytest.approx((155 + 0.5 * 131) / 606)
    assert validated(tmp_path, SaveBest({}, MIX), {"astro": 2, "cort": 0}) == pytest.approx(0.5 * 131 / 451)  # a validation of some images


def test_the_best_weights_are_kept(tmp_path: Path) -> None:
    callback = SaveBest({"data": "x"}, {})
    for step, number in enumerate((2, 4, 1), start=1):
        validated(tmp_path, callback, {"a": number}, step)
    assert read_header(tmp_path / "best.safetensors").provenance == {"data": "x", "step": 2, "map_iou": 1.0}
    assert read_header(tmp_path / "last.safetensors").provenance["step"] == 3


def test_a_run_that_goes_on_compares_scores_of_one_kind() -> None:
    for before, now, best in (({}, {}, 0.5), (MIX, MIX, 0.5), ({}, MIX, -1.0), (MIX, {}, -1.0)):
        first, then = SaveBest({}, before), SaveBest({}, now)
        first.best = 0.5
        then.load_state_dict(first.state_dict())
        assert then.best == best
    of_old = SaveBest({}, MIX)
    of_old.load_state_dict({"best": 0.5})  # runs of before said nothing of weights
    assert of_old.best == 0.5
