"""The commands that make cells of images, with blobs for a network."""

import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from blobs import SETTINGS, BlobSegmenter, write_images, write_mixed_images
from somaseg.cli.main import app
from somaseg.errors import InputError


@pytest.fixture
def images(tmp_path) -> Path:
    return write_mixed_images(tmp_path / "images")


@pytest.fixture
def three(tmp_path) -> Path:
    return write_images(tmp_path / "three")


@pytest.fixture
def out(tmp_path) -> Path:
    return tmp_path / "out"


@pytest.fixture
def command(monkeypatch):
    """The command line with blobs for a network."""
    monkeypatch.setattr("somaseg.inference.deferred.DeferredSegmenter", lambda *given: BlobSegmenter())
    return lambda *words: CliRunner().invoke(app, [*map(str, words)])


def thresholds(out: Path) -> dict:
    return json.loads((out / "run.json").read_bytes())["settings"]["postprocess"]


def test_the_commands(command, images, out, tmp_path):
    saved, settings = tmp_path / "saved", tmp_path / "settings.yaml"
    assert command("predict", images, "--out", saved).exit_code == 0
    assert command("postprocess", saved, "--out", out).exit_code == 0
    assert thresholds(out)["min_area"] == {"default": 4}  # those that came with the weights
    settings.write_text("postprocess:\n  nms_iou: 0.7\n  score_thresh: {default: 0.1, long: 0.2}\nfuse: {method: mask_nms}\n")
    words = ("--out", out, "--settings", settings, "--set", "postprocess.score_thresh.round=0.65")
    for given in (("postprocess", saved), ("fuse", saved, saved), ("segment", images)):
        result = command(*given, *words)
        assert result.exit_code == 0, result.output
        found = thresholds(out)
        assert found["score_thresh"] == {"default": 0.1, "long": 0.2, "round": 0.65}
        assert (found["nms_iou"], found["min_area"]) == (0.7, {"default": 4})
        assert "7 images" in result.output

    (saved / "three.npz").write_bytes(b"junk")
    result = command("postprocess", saved, "--out", out, "--no-overlay")
    assert result.exit_code == 1
    assert "three.npz: is no prediction" in result.output


def test_settings_that_cannot_take_effect_are_refused(command, images, out, tmp_path):
    saved, settings = tmp_path / "saved", tmp_path / "settings.yaml"
    command("predict", images, "--out", saved)
    settings.write_text("postprocess: {min_area: {astro: 5, default: 1}}")
    for words, message in (
        (("--set", "tta.flips=[none,vertical]"), "tta: the predictions in .* run `somaseg predict` with these, or leave tta out"),
        (("--settings", settings), "min_area names class 'astro', the detector knows round, long"),
        (("--set", "postprocess.nms=1"), "postprocess.nms: there is no such setting"),
    ):
        result = command("postprocess", saved, "--out", out, *words)
        assert isinstance(result.exception, InputError)
        assert re.search(message, str(result.exception))
    result = command("predict", images, "--out", saved, "--set", "postprocess.nms_iou=1")
    assert "expected KEY=VALUE with a key below magnification, tta" in str(result.exception)


def manifest(out: Path) -> dict:
    return json.loads((out / "run.json").read_bytes())


def test_the_command_segments_a_folder(command, three, out):
    result = command(
        "segment", three, "--out", out, "--no-overlay", "--kaggle", out / "submission.csv", "--set", "postprocess.min_area.round=100"
    )
    assert result.exit_code == 0
    assert "3 images" in result.output
    assert manifest(out)["settings"] == {
        "postprocess": {**SETTINGS.model_dump(mode="json"), "min_area": {"default": 4, "round": 100}},
        "overlay": False,
    }
    assert (out / "submission.csv").read_text().count("\n") == 4


def test_the_command_fails_when_an_image_does(command, three, out):
    (three / "cut.tif").write_bytes(b"")
    result = command("segment", three, "--out", out)
    assert result.exit_code == 1
    assert "failed: " in result.output
    assert "cut.tif" in result.output
    assert "3 images" in result.output


def test_ctrl_c_says_that_a_rerun_goes_on(monkeypatch, three, out):
    monkeypatch.setattr("somaseg.inference.deferred.DeferredSegmenter", lambda *given: BlobSegmenter(interrupt_at=3))
    stopped = CliRunner().invoke(app, ["segment", str(three), "--out", str(out)])
    assert stopped.exit_code == 130
    assert "stopped: what is done is kept, and the same command again goes on from there" in stopped.output.replace("\n", " ")
    monkeypatch.setattr("somaseg.inference.deferred.DeferredSegmenter", lambda *given: BlobSegmenter())
    assert "2 of them unchanged" in CliRunner().invoke(app, ["segment", str(three), "--out", str(out)]).output


def test_the_command_names_a_wrong_setting(command, three, out):
    result = command("segment", three, "--out", out, "--set", "postprocess.nms=1")
    assert isinstance(result.exception, InputError)
    assert "postprocess.nms: there is no such setting" in str(result.exception)


def test_export_beside_a_run_and_afterwards(command, three, out, tmp_path):
    assert command("segment", three, "--out", out, "--export", "imagej,qupath", "--export", "qupath").exit_code == 0
    assert (out / "imagej/three.zip").exists()
    assert (out / "qupath/three.geojson").exists()
    done = command("export", out, "--to", "qupath", "--out", tmp_path / "fix")
    assert done.exit_code == 0, done.output
    (tmp_path / "fix/qupath/three.geojson").write_text("[]")
    again = command("export", out, "--to", "qupath", "--out", tmp_path / "fix")
    assert again.exit_code == 1
    assert "is there and differs" in again.output
    for words in (("export", out, "--to", "png"), ("segment", three, "--out", out, "--export", "png")):
        failed = command(*words)
        assert isinstance(failed.exception, InputError)
        assert "format 'png' is not known: there are coco, labels, overlays, outlines, imagej, qupath" in str(failed.exception)
