"""The stage `tune`, from folders of predictions to a settings file."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from jitter import CLASSES, culture
from somaseg.annotations.samples import Sample
from somaseg.annotations.write import write_coco
from somaseg.batch.saved.prediction_file import Origin, SavedPrediction, save_prediction
from somaseg.batch.saved.saved_runs import read_runs
from somaseg.cli.main import app
from somaseg.config import EvaluationSettings, PostprocessSettings, SegmentSettings, TtaSettings, TuneRunSettings
from somaseg.errors import InputError
from somaseg.instances import Instances
from somaseg.tuning.cross_fitting import TuningResult
from somaseg.tuning.report import verdict
from somaseg.tuning.trials import Case
from somaseg.tuning.tune import TuneRequest, read_cases, tune_runs

THRESHOLDS = PostprocessSettings(score_thresh={"default": 0.85}, min_area={"default": 20})
BAD_START, SETTINGS = SegmentSettings(postprocess=THRESHOLDS), TuneRunSettings(postprocess=THRESHOLDS)
COUNT = 12


@pytest.fixture
def folder(tmp_path) -> Path:
    """Predictions of two models and the truth, two images of a field."""
    for model in "ab":
        for n in range(COUNT):
            prediction, _ = culture(n, n % 2)
            moved = replace(prediction, boxes=prediction.boxes + np.float32(0.5 * (model == "b")))
            save_prediction(tmp_path / model / f"i{n}.npz", SavedPrediction(moved, origin(n, model)))
    write_coco([sample(n) for n in range(COUNT)], tmp_path / "truth.json")
    return tmp_path


def origin(n, model):
    return Origin(
        file=f"/nowhere/i{n}.png",
        sha256=f"{n}",
        classes=CLASSES,
        weights=model,
        weights_sha256=model,
        model={},
        tta=TtaSettings().model_dump(mode="json"),
        postprocess=BAD_START.postprocess.model_dump(mode="json"),
        somaseg="0",
    )


def sample(n):
    truth = culture(n, n % 2)[1]
    return Sample(Path(f"i{n}.png"), truth, f"i{n}", group=f"g{n // 2}", cell_type=CLASSES[n % 2])


def cases():
    return [Case(f"i{n}", (culture(n, n % 2)[0],), culture(n, n % 2)[1], CLASSES[n % 2]) for n in range(COUNT)]


def run(folder, models="a", **options):
    runs = read_runs([folder / model for model in models])
    arguments = {"settings": SETTINGS, "out": folder / "tuned.yaml", "trials": 10, "processes": 1} | options
    return tune_runs(runs, TuneRequest(folder / "truth.json", **arguments))


def command(*words):
    return CliRunner().invoke(app, [*map(str, words)])


def test_the_proportions_of_the_cell_types_are_a_setting(folder):
    words = ("tune", folder / "a", "--truth", folder / "truth.json", "--trials", 2, "--processes", 1, "--out", folder / "mixed.yaml")
    result = command(*words, "--set", "evaluation.type_weights={small: 1, large: 3}")
    assert result.exit_code == 0, result.output
    assert "map_iou of 12 images, weighted by cell type (large 3, small 1), with 95 % intervals" in result.output
    tuned = TuningResult.model_validate_json((folder / "mixed" / "tuning.json").read_bytes())
    by_class = tuned.start.by_class
    assert tuned.start.headline.value == pytest.approx((by_class["small"].value + 3 * by_class["large"].value) / 4)
    assert yaml.safe_load((folder / "mixed.yaml").read_text()).keys() == {"magnification", "tta", "postprocess"}  # `segment` takes the file
    assert "other starting settings" in str(command(*words).exception)  # trials of another score are not gone on with
    wrong = r"evaluation\.type_weights: found .*'astro'.*truth\.json that were predicted are of the cell types large, small"
    with pytest.raises(InputError, match=wrong):
        run(folder, settings=SETTINGS.model_copy(update={"evaluation": EvaluationSettings(type_weights={"astro": 1})}))


def test_a_sure_gain_is_written(folder):
    tuned, files = run(folder)
    assert tuned.is_sure
    assert "The gain is outside the noise." in verdict(tuned)
    assert [file.relative_to(folder).as_posix() for file in files] == ["tuned.yaml", "tuned/tuning.json", "tuned/response.png", "tuned.db"]
    assert all(file.stat().st_size for file in files)
    assert TuningResult.model_validate_json(files[1].read_bytes()) == tuned
    written = yaml.safe_load(files[0].read_text())
    assert written.keys() == {"magnification", "tta", "postprocess"}
    assert PostprocessSettings.model_validate(written["postprocess"]) == tuned.settings.postprocess
    assert max(written["postprocess"]["score_thresh"][name] for name in CLASSES) < 0.7
    result = command("postprocess", folder / "a", "--out", folder / "cells", "--settings", files[0])
    assert result.exit_code == 0, result.output
    told = json.loads((folder / "cells" / "run.json").read_bytes())
    assert told["settings"]["postprocess"] == tuned.settings.postprocess.model_dump(mode="json")


def test_a_gain_inside_the_noise_is_said_and_not_written(folder):
    tuned, files = run(folder, trials=1)  # the start alone, so that there is no gain
    assert not tuned.is_sure
    assert "inside the noise" in verdict(tuned)
    assert yaml.safe_load(files[0].read_text())["postprocess"] == BAD_START.postprocess.model_dump(mode="json")
    begin = "# somaseg tune: thresholds to begin with, as tuning gained nothing that is sure.\n# map_iou of 12"
    assert files[0].read_text().startswith(begin)
    run(folder, trials=1, force=True)
    assert files[0].read_text().startswith("# somaseg tune: thresholds chosen on all images.\n# map_iou of 12")


def test_several_models_are_tuned_with_their_fusion(folder):
    out = folder / "fused.yaml"
    words = ("--truth", folder / "truth.json", "--out", out, "--trials", 8, "--processes", 1, "--force")
    result = command("tune", folder / "a", folder / "b", *words)
    assert result.exit_code == 0, result.output
    assert "fuse.box_iou" in result.output
    assert "map_iou of 12 images, with 95 % intervals" in result.output
    assert "wrote" in result.output
    assert yaml.safe_load(out.read_text()).keys() == {"magnification", "tta", "postprocess", "fuse"}
    result = command("fuse", folder / "a", folder / "b", "--out", folder / "cells", "--settings", out)
    assert result.exit_code == 0, result.output


def test_the_study_goes_on_and_refuses_other_input(folder):
    first = run(folder)[0]
    study = (folder / "tuned.db").stat().st_mtime_ns
    assert run(folder)[0] == first
    assert (folder / "tuned.db").stat().st_mtime_ns == study
    prediction, own = culture(0)[0], origin(0, "a")
    save_prediction(folder / "a" / "i0.npz", SavedPrediction(prediction, own.model_copy(update={"sha256": "other"})))
    with pytest.raises(InputError, match="is of a search with other predictions, starting settings: give the same again"):
        run(folder, settings=TuneRunSettings())
    save_prediction(folder / "a" / "i0.npz", SavedPrediction(prediction, own))
    write_coco([sample(n) for n in range(1, COUNT)], folder / "truth.json")
    with pytest.raises(InputError, match="other predictions, truth, folds"):
        run(folder)


def test_what_does_not_fit_is_refused(folder, tmp_path):
    runs = read_runs([folder / "a"])
    with pytest.raises(InputError, match="none of its 12 images is among the 1 of the truth: images are paired by name"):
        read_cases(runs, [replace(sample(0), name="other")])
    with pytest.raises(InputError, match=r"i0\.npz: size: found \(72, 96\), the truth of i0 has \(9, 9\)"):
        read_cases(runs, [replace(sample(0), instances=Instances.empty((9, 9), CLASSES))])
    with pytest.raises(InputError, match="tuned: expected the name of a YAML file"):
        run(folder, out=tmp_path / "tuned")
    with pytest.raises(InputError, match=r"--folds: is 7, but the images of .*truth\.json are of 6 fields of view: give 6 or fewer"):
        run(folder, folds=7)
    (folder / "a" / "i3.npz").write_bytes(b"damaged")
    with pytest.raises(InputError, match=r"i3\.npz: is no prediction"):
        run(folder)
