"""The tasks of rounds of self-training: each goes on from what it left on disk, so a worker may be killed at any time."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from somaseg.annotations.samples import Sample
from somaseg.batch.saved.prediction_file import load_origin, load_prediction, prediction_files
from somaseg.batch.segment import predict_folder
from somaseg.checkpoints.header import read_header
from somaseg.config import Config, FuseSettings, PostprocessSettings, TtaSettings
from somaseg.errors import InputError
from somaseg.evaluation.map_iou import MapIou, map_iou, present_weights
from somaseg.evaluation.matching import Pair
from somaseg.fusion.fuse import fuse
from somaseg.inference.segmenter import load
from somaseg.postprocessing.steps import postprocess
from somaseg.rounds.state import WEIGHTS
from somaseg.rounds.status import RoundScores
from somaseg.training.train import fit

Pairs = list[Pair]


def train_member(config: Mapping[str, Any], data: Sequence[Path], run: Path) -> None:
    """Train a member, from its checkpoint if it was begun; nothing is done when it has ended."""
    settings = Config.model_validate(config)
    weights = run / WEIGHTS
    if not (weights.is_file() and read_header(weights).provenance.get("step") == settings.train.steps):
        fit(settings, data, run)


def predict_images(weights: Path, images: Sequence[Path], out: Path, tta: Mapping[str, Any]) -> None:
    """Predict images with a member; those that are done are skipped.

    Raises:
        InputError: when an image cannot be predicted: rounds need all of them.
    """
    segmenter = load(weights)
    segmenter.tta = TtaSettings.model_validate(tta)
    summary = predict_folder(images, out, segmenter)
    if summary.failures:
        raise InputError("; ".join(summary.failures.values()))


def score_round(
    held_out: Mapping[int, Sequence[Sample]],
    members: Mapping[str, tuple[int, Path]],
    settings: FuseSettings,
    thresholds: PostprocessSettings,
    type_weights: Mapping[str, float],
) -> RoundScores:
    """Score members and what they make together, each image with those that never saw it.

    Args:
        held_out: images by fold.
        members: fold and folder of predictions of each, by name.
        settings: of fusion.
        thresholds: of post-processing.
        type_weights: see `EvaluationSettings`.
    """
    files = {name: {load_origin(file).file: file for file in prediction_files(folder).values()} for name, (_, folder) in members.items()}
    alone: dict[str, Pairs] = {name: [] for name in members}
    together: Pairs = []
    for fold, samples in held_out.items():
        own = [name for name, (other, _) in members.items() if other == fold]
        for sample in samples:
            found = {name: load_prediction(files[name][str(sample.image.resolve())]).prediction for name in own}
            cells = {name: postprocess(prediction, thresholds) for name, prediction in found.items()}
            for name in own:
                alone[name].append((cells[name], sample.instances, sample.ignored))
            fused = fuse(list(found.values()), settings, thresholds)[0] if len(own) > 1 else cells[own[0]]
            together.append((fused, sample.instances, sample.ignored))
    types = {fold: [sample.type_name for sample in samples] for fold, samples in held_out.items()}
    return RoundScores(
        members={name: _map_iou(alone[name], types[fold], type_weights) for name, (fold, _) in members.items()},
        fused=_map_iou(together, [name for of_fold in types.values() for name in of_fold], type_weights),
    )


def _map_iou(pairs: Pairs, types: Sequence[str], weights: Mapping[str, float]) -> MapIou:
    return map_iou(pairs, types, present_weights(weights, types))
