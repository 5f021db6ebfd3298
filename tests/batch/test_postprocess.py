"""Saved predictions to results."""

import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest

from blobs import CLASSES, SETTINGS, A, B, BlobSegmenter, C, blob_image, write_mixed_images
from runs import postprocess
from somaseg.annotations.read import read_annotations
from somaseg.batch import segment
from somaseg.batch.postprocess import postprocess_folder
from somaseg.batch.saved.prediction_file import load_prediction
from somaseg.batch.saved.saved_runs import read_runs
from somaseg.config import FuseSettings, PostprocessSettings
from somaseg.errors import InputError
from somaseg.fusion.fuse import fuse
from somaseg.fusion.methods import fused
from somaseg.instances import Prediction


class OtherSegmenter(BlobSegmenter):
    """Another model: all cells one pixel to the right, the last one missing."""

    name = "others"

    def __init__(self) -> None:
        super().__init__(sha256="07he5")

    def predict(self, image, zoom=1.0, kept=None):
        found = super().predict(image, zoom, kept)[:-1]
        boxes = found.boxes + np.array([1, 0, 1, 0], np.float32)
        return Prediction(found.size, boxes, found.scores, found.labels, found.mask_probs, CLASSES)


@pytest.fixture
def images(tmp_path) -> Path:
    return write_mixed_images(tmp_path / "images")


def contents(out: Path) -> dict[str, bytes]:
    return {
        path.relative_to(out).as_posix(): path.read_bytes() for path in sorted(out.rglob("*")) if path.is_file() and path.name != ".lock"
    }


def untimed(document: dict) -> dict:
    """A manifest or the document of an image without times."""
    return {key: untimed(value) if isinstance(value, dict) else value for key, value in document.items() if key != "seconds"}


def test_postprocess_gives_what_segment_gives(images, saved, out, tmp_path):
    straight = tmp_path / "straight"
    segment.segment_folder([images], straight, BlobSegmenter(warn=True), SETTINGS)
    summary = postprocess(saved, out)
    assert summary.images == 7
    was, now = contents(straight), contents(out)
    assert set(was) == set(now)
    for name in was:
        if name.startswith("coco/"):
            assert untimed(json.loads(was[name])) == untimed(json.loads(now[name]))
        elif name != "run.json":
            assert was[name] == now[name], name
    told = untimed(json.loads(now["run.json"]))
    assert told.pop("predictions") == str(saved)
    assert told == untimed(json.loads(was["run.json"]))


def test_a_submission_is_that_of_segment(images, tmp_path):
    paths = [images / "three.png", images / "stack.ome.tif"]
    segment.segment_folder(paths, tmp_path / "straight", BlobSegmenter(), SETTINGS, kaggle=tmp_path / "straight.csv")
    segment.predict_folder(paths, tmp_path / "some", BlobSegmenter())
    postprocess(tmp_path / "some", tmp_path / "out", kaggle=tmp_path / "saved.csv")
    assert (tmp_path / "saved.csv").read_bytes() == (tmp_path / "straight.csv").read_bytes()


def test_a_second_run_skips_what_is_done(images, saved, out):
    postprocess(saved, out)
    before = contents(out)
    summary = postprocess(saved, out)
    assert (summary.images, summary.skipped) == (7, 7)
    after = contents(out)
    assert {n for n in after if after[n] != before[n]} == {"run.json"}
    assert postprocess(saved, out, PostprocessSettings(min_area={"default": 5})).skipped == 0
    segment.predict_folder([images], saved, BlobSegmenter(sha256="other"))
    assert postprocess(saved, out, PostprocessSettings(min_area={"default": 5})).skipped == 0


def test_pictures_are_drawn_of_unchanged_images_alone(images, saved, out):
    (images / "one.png").unlink()
    iio.imwrite(images / "three.png", blob_image(B))
    summary = postprocess(saved, out)
    assert summary.failures == {}
    drawn = sorted(path.name for path in (out / "overlays").iterdir())
    assert len(drawn) == 5
    assert not {"one_overlay.png", "three_overlay.png"} & set(drawn)
    assert set(summary.warnings) >= {"one", "three"}
    assert summary.warnings["one"][-1] == f"no overlays: the image {images / 'one.png'} is gone or was changed after the prediction"
    assert {s.name: len(s.instances) for s in read_annotations(out)}["three"] == 3
    assert postprocess(saved, out).skipped == 7
    iio.imwrite(images / "three.png", blob_image(A, B, C))
    assert postprocess(saved, out).skipped == 6
    assert (out / "overlays" / "three_overlay.png").exists()


def test_without_overlay_no_image_is_needed(images, saved, out):
    shutil.rmtree(images)
    summary = postprocess(saved, out, formats=["labels"])
    assert summary.images == 7
    assert not any("no overlays" in w for warnings in summary.warnings.values() for w in warnings)
    assert summary.warnings["one"][-1] == f"no intensities: the image {images / 'one.png'} is gone or was changed after the prediction"
    assert "intensity_mean" not in (out / "cells.csv").read_text().splitlines()[0]


def test_intensities_come_when_the_image_comes_back(images, saved, out):
    image = (images / "one.png").read_bytes()
    (images / "one.png").unlink()
    postprocess(saved, out, formats=["labels"])
    (images / "one.png").write_bytes(image)
    assert postprocess(saved, out, formats=["labels"]).skipped == 6
    with (out / "cells.csv").open(newline="") as file:
        found = [row["intensity_mean"] for row in csv.DictReader(file) if row["image"] == "one"]
    assert found == ["200.0"]


def test_a_damaged_prediction_is_reported_and_the_rest_goes_on(images, saved, out):
    (saved / "three.npz").write_bytes(b"junk")
    with np.load(saved / "none.npz") as file:
        np.savez(saved / "none.npz", **{**file, "scores": np.zeros(9, np.float32)})
    summary = postprocess(saved, out)
    assert summary.images == 5
    assert len(summary.failures) == 2
    assert "three.npz: is no prediction" in summary.failures[str(saved / "three.npz")]
    assert "none.npz: scores: found float32 (9,)" in summary.failures[str(images / "none.png")]


def test_places_for_results_that_cannot_be_are_refused(saved, out, tmp_path):
    with pytest.raises(InputError, match="saved: is a folder of predictions, expected another one"):
        postprocess(saved, saved)
    (tmp_path / "taken").write_text("")
    with pytest.raises(InputError, match="taken: is a file"):
        postprocess(saved, tmp_path / "taken")
    with pytest.raises(InputError, match="several images are called 'one'"):
        postprocess(saved, out, kaggle=tmp_path / "s.csv")
    assert not out.exists()


def test_fusion_of_saved_predictions(images, saved, out, tmp_path):
    segment.predict_folder([images], tmp_path / "other", OtherSegmenter())
    runs = read_runs([saved, tmp_path / "other"])
    settings = FuseSettings(method="nms")
    summary = postprocess_folder(runs, out, fused(settings, SETTINGS, runs.classes))
    assert summary.images == 7
    pair = [load_prediction(folder / "three.npz").prediction for folder in runs.folders]
    expected, counts = fuse(pair, settings, SETTINGS)
    found = {s.name: s.instances for s in read_annotations(out)}["three"]
    assert found.boxes.tolist() == expected.boxes.tolist() == [list(A), list(B), list(C)]
    told = json.loads((out / "run.json").read_bytes())
    assert told["by_image"]["three"]["steps"] == counts
    assert counts["detections"] == 5
    assert [m["weights"]["name"] for m in told["members"]] == ["blobs", "others"]
    assert [Path(m["predictions"]).name for m in told["members"]] == ["saved", "other"]
    assert told["settings"]["fuse"]["method"] == "nms"

    swapped = read_runs([tmp_path / "other", saved])
    assert postprocess_folder(swapped, out, fused(settings, SETTINGS, runs.classes)).skipped == 0
    assert postprocess_folder(swapped, out, fused(settings, SETTINGS, runs.classes)).skipped == 7


TORCH_FREE = """
import sys
from importlib.util import find_spec
from somaseg.cli.main import app

saved, truth, images, out = sys.argv[1:]
for words in (
    ["postprocess", saved, "--out", out + "/cells"],
    ["fuse", saved, saved, "--out", out + "/fused"],
    ["evaluate", out + "/cells", truth, "--out", out + "/scores"],
    *([["tune", saved, "--truth", truth, "--out", out + "/tuned.yaml", "--trials", "1"]] if find_spec("optuna") else []),
    ["compare", truth, saved, out + "/fused", "--images", images, "--steps", "--image", "three", "--out", out + "/pictures"],
):
    code = app(words, standalone_mode=False)
    assert not code, words
heavy = {"torch", "torchvision", "timm", "pytorch_lightning"} & set(sys.modules)
assert not heavy, heavy
"""


def test_from_saved_predictions_on_torch_is_never_loaded(images, saved, tmp_path):
    segment.segment_folder([images], tmp_path / "truth", BlobSegmenter(), SETTINGS)
    words = [sys.executable, "-c", TORCH_FREE, str(saved), str(tmp_path / "truth"), str(images), str(tmp_path / "cold")]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    scores = json.loads((tmp_path / "cold" / "scores" / "metrics.json").read_bytes())
    assert scores["map_iou"]["overall"]["value"] == 1.0
