"""Pseudo-labels from the command to training: no image that shares a field with a held-out one, their weight, what is refused."""

import logging
from dataclasses import replace
from pathlib import Path

import imageio.v3 as iio
import pytest
import torch
from typer.testing import CliRunner

pytest.importorskip("pytorch_lightning", reason="needs somaseg[train]")

from blobs import CLASSES, BlobSegmenter
from fields import FIELDS, annotated, field
from somaseg.annotations.read import read_annotations
from somaseg.annotations.write import write_coco
from somaseg.batch import segment
from somaseg.checkpoints.checkpoint import load_checkpoint
from somaseg.cli.main import app
from somaseg.config import AugmentSettings, Config, EvaluationSettings, PseudoTrainSettings, TrainSettings, ZoomSettings
from somaseg.errors import InputError
from somaseg.models.targets import Target
from somaseg.training.held_out import read_split
from somaseg.training.module import DetectorModule
from somaseg.training.train import fit
from tiny import TINY

RUN = Config(
    model=TINY.model_copy(update={"classes": CLASSES}),
    augment=AugmentSettings(size=ZoomSettings(side=64, factor=(1, 1))),
    train=TrainSettings(
        init="none", steps=4, batch=2, folds=3, bf16=False, workers=0, ema=0, validate_every=0, validate_images=1, log_every=1,
        pseudo=PseudoTrainSettings(weight=3, start=0.25, full=0.75, share=1),
    ),
)  # fmt: skip


def pseudo_labelled(folder: Path, *near: Path) -> Path:
    """Pseudo-labels of `later0` to `later5`, which show the annotated fields again, and of `other`, by the command."""
    images = folder / "unlabelled"
    images.mkdir(parents=True)
    for number in FIELDS:
        iio.imwrite(images / f"later{number}.png", field(number, (number, 2 - number), noise=number + 1))
    iio.imwrite(images / "other.png", field(97))
    segment.predict_folder([images], folder / "predictions", BlobSegmenter())
    words = ["pseudo", str(folder / "predictions"), "--out", str(folder / "pseudo"), "--set", "pseudo.min_area=4"]
    ran = CliRunner().invoke(app, [*words, *(word for path in near for word in ("--near", str(path)))])
    assert ran.exit_code == 0, ran.output
    return folder / "pseudo" / "annotations.json"


def of_fold(fold: int) -> Config:
    return RUN.model_copy(update={"train": RUN.train.model_copy(update={"fold": fold})})


@pytest.mark.parametrize("grouped", [True, False])
def test_no_pseudo_labelled_image_shows_a_held_out_field(tmp_path: Path, caplog: pytest.LogCaptureFixture, grouped: bool) -> None:
    known = annotated(tmp_path / "known", grouped)
    pseudo = pseudo_labelled(tmp_path, known)
    assert {sample.name for sample in read_annotations(pseudo)} == {"other", *(f"later{n}" for n in FIELDS)}
    seen = set()
    for fold in range(3):
        caplog.clear()
        with caplog.at_level(logging.INFO):
            training, held_out = read_split(of_fold(fold), [pseudo, known])
        assert "left out 2 of 7 pseudo-labelled images: they show the field of a held-out one" in caplog.text
        out = {sample.name for sample in held_out}
        assert len(out) == 2
        seen |= out
        learnt = {f"field{n}" for n in FIELDS} - out
        assert {s.name for s in training if s.source == "manual"} == learnt
        assert {s.name for s in training if s.source == "pseudo"} == {"other", *(name.replace("field", "later") for name in learnt)}
        assert {s.source for s in held_out} == {"manual"}
        assert training[0].source == "manual"
        # What is held out is what would be without pseudo-labels, also where both are in one file.
        alone = read_split(of_fold(fold), [known])
        assert [s.name for s in alone[1]] == [s.name for s in held_out]
        write_coco([*read_annotations(pseudo), *read_annotations(known)], tmp_path / "both.json")
        together = read_split(of_fold(fold), [tmp_path / "both.json"])
        assert [{s.name for s in part} for part in together] == [{s.name for s in training}, out]
    assert seen == {f"field{n}" for n in FIELDS}


def test_a_field_that_was_called_by_another_image_when_the_pseudo_labels_were_made(tmp_path: Path) -> None:
    known = annotated(tmp_path / "known", False)
    pseudo = pseudo_labelled(tmp_path, known)
    samples = read_annotations(known)
    iio.imwrite(known / "before0.png", field(0, (3, 3), noise=7))
    samples.append(replace(samples[0], image=known / "before0.png", name="before0"))
    write_coco(samples, known / "annotations.json")
    for fold in range(3):
        training, held_out = read_split(of_fold(fold), [known, pseudo])
        assert ("before0" in {s.name for s in held_out}) == ("field0" in {s.name for s in held_out})
        assert ("later0" in {s.name for s in training}) == ("field0" in {s.name for s in training})


def test_pseudo_labels_of_unknown_fields_are_refused(tmp_path: Path) -> None:
    known, pseudo = annotated(tmp_path / "known", True), pseudo_labelled(tmp_path)
    with pytest.raises(
        InputError, match=r"annotations\.json: images, group: the pseudo-labelled image later0 has none.*--near ANNOTATIONS"
    ):
        read_split(RUN, [known, pseudo])


def test_pseudo_labels_alone_are_refused(tmp_path: Path) -> None:
    pseudo = pseudo_labelled(tmp_path, annotated(tmp_path / "known", True))
    with pytest.raises(InputError, match="--data: no image that a person annotated"):
        read_split(RUN, [pseudo])


def test_a_run_with_pseudo_labels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known = annotated(tmp_path / "known", True)
    pseudo = pseudo_labelled(tmp_path, known)
    weights = []
    step = DetectorModule.training_step

    def noted(self: DetectorModule, batch: tuple[list[torch.Tensor], list[Target]], index: int) -> torch.Tensor:
        weights.append([target["weight"].item() for target in batch[1]])
        return step(self, batch, index)

    monkeypatch.setattr(DetectorModule, "training_step", noted)
    best = fit(RUN, [known, pseudo], tmp_path / "run")
    assert weights == [[1, 1], [1, 1], [1.5, 1.5], [3, 3]]
    provenance = load_checkpoint(best).provenance
    assert (provenance["images"], provenance["pseudo_images"], provenance["held_out"]) == (4, 5, 2)


def test_a_fold_that_there_is_not_is_refused(tmp_path: Path) -> None:
    known = annotated(tmp_path / "known", True)
    for fold in (3, -1):
        with pytest.raises(InputError, match=rf"train\.fold: is {fold}, but train\.folds is 3: give 0 to 2"):
            read_split(of_fold(fold), [known])
    many = RUN.model_copy(update={"train": RUN.train.model_copy(update={"folds": 7})})
    with pytest.raises(InputError, match=r"train\.folds: is 7, but the images of .*known are of 6 fields of view: give 6 or fewer"):
        read_split(many, [known])


def test_weights_of_cell_types_fit_the_held_out_images(tmp_path: Path) -> None:
    known = annotated(tmp_path / "known", True)
    for weights, fits in (({"round": 2}, True), ({"round": 1, "long": 3}, True), ({"long": 1}, False), ({"round": 1, "flat": 1}, False)):
        config = RUN.model_copy(update={"evaluation": EvaluationSettings(type_weights=weights)})
        if fits:
            read_split(config, [known])
            continue
        with pytest.raises(
            InputError, match=r"evaluation\.type_weights: found .* the images of .*known that are held out are of .* round:"
        ):
            read_split(config, [known])
