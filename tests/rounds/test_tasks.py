"""The tasks of rounds: what is done is left alone, and rounds are scored on images that members never saw."""

from pathlib import Path

import pytest
import torch

pytest.importorskip("pytorch_lightning", reason="needs somaseg[train]")

from jitter import CLASSES, culture
from somaseg.annotations.samples import Sample
from somaseg.batch.saved.prediction_file import Origin, SavedPrediction, save_prediction
from somaseg.checkpoints.checkpoint import save_checkpoint
from somaseg.config import Config, FuseSettings, PostprocessSettings, TrainSettings, TtaSettings
from somaseg.evaluation.map_iou import map_iou
from somaseg.fusion.fuse import fuse
from somaseg.models.cascade import CascadeMaskRCNN
from somaseg.postprocessing.steps import postprocess
from somaseg.rounds import tasks
from tiny import TINY

THRESHOLDS = PostprocessSettings(score_thresh=0.4, min_area=4)


def saved(folder: Path, number: int, image: Path) -> None:
    """The prediction of an image by a model."""
    origin = Origin(
        file=str(image.resolve()), sha256="", classes=CLASSES, weights="w", weights_sha256="", model={},
        tta=TtaSettings().model_dump(mode="json"), postprocess=THRESHOLDS.model_dump(mode="json"), somaseg="0",
    )  # fmt: skip
    save_prediction(folder / f"{image.stem}.npz", SavedPrediction(culture(number, number % 2)[0], origin))


def test_a_member_is_scored_on_its_own_fold_and_all_on_all_images(tmp_path: Path) -> None:
    held_out: dict[int, list[Sample]] = {0: [], 1: []}
    folders = {"a": (0, tmp_path / "a"), "b": (0, tmp_path / "b"), "c": (1, tmp_path / "c")}
    for number in range(4):
        image, fold = tmp_path / f"i{number}.png", number // 2
        held_out[fold].append(Sample(image, culture(number, number % 2)[1], image.stem, cell_type=CLASSES[number % 2]))
        for own, folder in folders.values():
            if own == fold:
                saved(folder, number, image)
    settings = FuseSettings(method="nms")
    found = tasks.score_round(held_out, folders, settings, THRESHOLDS, {"small": 1, "large": 3})
    assert {name: result.overall.images for name, result in found.members.items()} == {"a": 2, "b": 2, "c": 2}
    predictions = [culture(number, number % 2) for number in range(4)]
    alone = [(postprocess(prediction, THRESHOLDS), truth) for prediction, truth in predictions]
    types, mix = ["small", "large"], {"small": 1.0, "large": 3.0}
    assert found.members["c"] == map_iou(alone[2:], types, mix)
    both = [(fuse([prediction] * 2, settings, THRESHOLDS)[0], truth) for prediction, truth in predictions[:2]]
    assert found.fused == map_iou([*both, *alone[2:]], types * 2, mix)
    assert found.fused.headline == found.fused.weighted


def test_a_member_that_was_trained_to_its_last_step_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trained: list[Path] = []
    monkeypatch.setattr(tasks, "fit", lambda config, data, run: trained.append(run))
    config = Config(model=TINY, train=TrainSettings(steps=3))
    run = tmp_path / "run"
    tasks.train_member(config.model_dump(mode="json"), [], run)
    torch.manual_seed(0)
    for step in (2, 3):
        save_checkpoint(run / "last.safetensors", CascadeMaskRCNN(TINY), config, {"step": step})
        tasks.train_member(config.model_dump(mode="json"), [], run)
    assert trained == [run, run]  # nothing there, then a run that was stopped at step 2
