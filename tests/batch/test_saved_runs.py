"""Saved predictions to results, and the run of `predict` that makes them."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest
import tifffile
from typer.testing import CliRunner

from blobs import CLASSES, BlobSegmenter, blob_image
from somaseg.annotations.read import read_annotations
from somaseg.batch import segment
from somaseg.batch.postprocess import postprocess_folder
from somaseg.batch.prediction_file import load_prediction
from somaseg.batch.saved_runs import read_runs
from somaseg.batch.summary import RunSummary
from somaseg.cli.main import app
from somaseg.config import FuseSettings, PostprocessSettings
from somaseg.errors import InputError
from somaseg.fusion.fuse import fuse
from somaseg.fusion.methods import fused, single
from somaseg.instances import Prediction

SETTINGS = PostprocessSettings(min_area={"default": 4})
A, B, C = (4, 4, 10, 14), (20, 20, 34, 28), (40, 30, 46, 46)


class OtherSegmenter(BlobSegmenter):
    """Another model: all cells one pixel to the right, the last one missing."""

    name = "others"

    def __init__(self) -> None:
        super().__init__(sha256="07he5")

    def predict(self, image):
        found = super().predict(image)[:-1]
        boxes = found.boxes + np.array([1, 0, 1, 0], np.float32)
        return Prediction(found.size, boxes, found.scores, found.labels, found.mask_probs, CLASSES)


@pytest.fixture
def images(tmp_path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    for name, boxes in {"one": (A,), "three": (A, B, C), "none": ()}.items():
        iio.imwrite(folder / f"{name}.png", blob_image(*boxes))
    stack = np.stack([blob_image((4 + i, 4, 10 + i, 14)) for i in range(3)])
    tifffile.imwrite(folder / "stack.ome.tif", stack, metadata={"axes": "ZYX", "PhysicalSizeX": 0.5, "PhysicalSizeXUnit": "µm"})
    (folder / "sub").mkdir()
    iio.imwrite(folder / "sub" / "one.png", blob_image(B))
    return folder


@pytest.fixture
def saved(images, tmp_path) -> Path:
    segment.predict_folder([images], tmp_path / "saved", BlobSegmenter(warn=True))
    return tmp_path / "saved"


@pytest.fixture
def out(tmp_path) -> Path:
    return tmp_path / "out"


def postprocess(saved, out, settings=SETTINGS, **options) -> RunSummary:
    runs = read_runs([saved])
    return postprocess_folder(runs, out, single(settings, runs.classes), **options)


def contents(out: Path) -> dict[str, bytes]:
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in sorted(out.rglob("*")) if path.is_file()}


def untimed(document: dict) -> dict:
    """A manifest or the document of an image without times."""
    return {key: untimed(value) if isinstance(value, dict) else value for key, value in document.items() if key != "seconds"}


def test_predict_saves_each_image(images, saved, tmp_path):
    files = {path.name for path in saved.iterdir() if not path.name.startswith("one-")}
    assert files == {"none.npz", "one.npz", "stack_p000.npz", "stack_p001.npz", "stack_p002.npz", "three.npz", "run.json"}
    assert len(list(saved.glob("one-*.npz"))) == 1  # of sub/one.png
    one = load_prediction(saved / "stack_p001.npz")
    assert (one.origin.page, one.origin.pixel_size, one.origin.file) == (1, 0.5, str(images / "stack.ome.tif"))
    assert one.origin.warnings == ("detections reached their cap of 9",)
    assert one.prediction.boxes.tolist() == [[5, 4, 11, 14]]
    told = json.loads((saved / "run.json").read_bytes())
    assert (told["images"], told["skipped"], told["failures"]) == (7, 0, {})
    assert told["weights"] == {"name": "blobs", "sha256": "b10b"}
    assert told["by_image"]["stack_p002"]["page"] == 2


def test_predict_goes_on_where_it_stopped(images, tmp_path):
    saved = tmp_path / "saved"
    (images / "broken.png").write_bytes(b"")
    with pytest.raises(KeyboardInterrupt):
        segment.predict_folder([images], saved, BlobSegmenter(interrupt_at=3))
    again = BlobSegmenter()
    summary = segment.predict_folder([images], saved, again)
    assert (summary.images, summary.skipped, again.calls) == (7, 2, 5)
    assert set(summary.failures) == {str(images / "broken.png")}
    assert summary.text().splitlines()[-2:] == ["1 file failed, see above and run.json", f"predictions in {saved}"]
    iio.imwrite(images / "one.png", blob_image(C))
    (saved / "none.npz").write_bytes(b"damaged")
    again = BlobSegmenter()
    assert segment.predict_folder([images], saved, again).skipped == 5
    assert again.calls == 2
    other = BlobSegmenter(sha256="other")
    assert segment.predict_folder([images], saved, other).skipped == 0
    viewed = BlobSegmenter(sha256="other")
    viewed.about = {**viewed.about, "tta": {"flips": ["none", "vertical"]}}
    assert segment.predict_folder([images], saved, viewed).skipped == 0


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
    assert not any("overlay" in w for warnings in summary.warnings.values() for w in warnings)


def test_a_damaged_prediction_is_reported_and_the_rest_goes_on(images, saved, out):
    (saved / "three.npz").write_bytes(b"junk")
    with np.load(saved / "none.npz") as file:
        np.savez(saved / "none.npz", **{**file, "scores": np.zeros(9, np.float32)})
    summary = postprocess(saved, out)
    assert summary.images == 5
    assert len(summary.failures) == 2
    assert "three.npz: is no prediction" in summary.failures[str(saved / "three.npz")]
    assert "none.npz: scores: found float32 (9,)" in summary.failures[str(images / "none.png")]


def test_nothing_but_damaged_predictions_is_an_error(tmp_path):
    (tmp_path / "x.npz").write_bytes(b"junk")
    with pytest.raises(InputError, match=r"x\.npz: is no prediction"):
        read_runs([tmp_path])


def test_places_for_results_that_cannot_be_are_refused(saved, out, tmp_path):
    with pytest.raises(InputError, match="saved: is a folder of predictions, expected another one"):
        postprocess(saved, saved)
    (tmp_path / "taken").write_text("")
    with pytest.raises(InputError, match="taken: is a file"):
        postprocess(saved, tmp_path / "taken")
    with pytest.raises(InputError, match="several images are called 'one'"):
        postprocess(saved, out, kaggle=tmp_path / "s.csv")
    assert not out.exists()


def test_a_folder_of_two_models_is_refused(images, saved):
    segment.predict_folder([images / "one.png"], saved, BlobSegmenter(sha256="other"))
    with pytest.raises(
        InputError,
        match=r"\.npz: origin\.weights_sha256, tta and model\.detect: made with weights blobs \(other\), .* weights blobs \(b10b\)",
    ):
        read_runs([saved])


def test_models_of_other_classes_are_refused(images, saved, tmp_path):
    segmenter = BlobSegmenter()
    segmenter.classes = ("neuron",)
    segment.predict_folder([images], tmp_path / "other", segmenter)
    with pytest.raises(InputError, match=r"other/none\.npz: origin.classes: found neuron, .*none\.npz has round, long"):
        read_runs([saved, tmp_path / "other"])


def test_one_name_for_two_images_is_refused(images, saved, tmp_path):
    shutil.copytree(images, tmp_path / "copies")
    iio.imwrite(tmp_path / "copies" / "three.png", blob_image(A))
    segment.predict_folder([tmp_path / "copies"], tmp_path / "other", BlobSegmenter())
    for file in (*saved.glob("one-*.npz"), *(tmp_path / "other").glob("one-*.npz")):
        file.unlink()  # named after the path
    with pytest.raises(InputError, match=r"other/three\.npz: origin.sha256: was made from .*copies/three\.png.* of other content"):
        read_runs([saved, tmp_path / "other"])


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


@pytest.fixture
def command(monkeypatch):
    """The command line with blobs for a network."""
    monkeypatch.setattr("somaseg.inference.deferred.DeferredSegmenter", lambda weights: BlobSegmenter())
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
    assert "expected KEY=VALUE with a key below tta" in str(result.exception)


def test_thresholds_of_another_version_are_refused(images, tmp_path):
    segmenter = BlobSegmenter()
    segmenter.about = {**segmenter.about, "postprocess": {"once": 1}}
    segment.predict_folder([images], tmp_path / "saved", segmenter)
    with pytest.raises(InputError, match=r"none\.npz: origin.postprocess.once: Extra inputs .* made by another version of somaseg"):
        read_runs([tmp_path / "saved"]).settings()


TORCH_FREE = """
import sys
from somaseg.cli.main import app

saved, truth, images, out = sys.argv[1:]
for words in (
    ["postprocess", saved, "--out", out + "/cells"],
    ["fuse", saved, saved, "--out", out + "/fused"],
    ["evaluate", out + "/cells", truth, "--out", out + "/scores"],
    ["tune", saved, "--truth", truth, "--out", out + "/tuned.yaml", "--trials", "1"],
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
