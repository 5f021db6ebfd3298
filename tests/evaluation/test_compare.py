"""Pictures of the worst images, truth and results side by side: the command, and what it refuses."""

from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest
from matplotlib.colors import to_rgb
from PIL import Image
from typer.testing import CliRunner

from blobs import BlobSegmenter, blob_image
from somaseg.annotations.read import read_annotations
from somaseg.batch import segment
from somaseg.cli.main import app
from somaseg.config import PostprocessSettings
from somaseg.errors import InputError
from somaseg.evaluation import compare as stage
from somaseg.evaluation import panels as pictures

SIZE = (48, 64)
A, B, C, D = (4, 4, 14, 14), (20, 20, 34, 30), (40, 30, 52, 42), (40, 4, 50, 14)


def has_colour(picture: Image.Image, name: str) -> bool:
    """Whether some pixel above the legend is nearly of a colour."""
    wanted = np.array(to_rgb(getattr(pictures, name))) * 255
    return bool((np.abs(np.asarray(picture, np.float64)[: -pictures.LEGEND_HEIGHT] - wanted).max(axis=2) < 25).any())


@pytest.fixture
def files(tmp_path) -> Path:
    """Images, cells of all blobs as the truth, predictions, and results that lack small or unlikely cells."""
    folder = tmp_path / "images"
    folder.mkdir()
    for name, boxes in {"one": (A,), "many": (A, B, C, D), "none": ()}.items():
        iio.imwrite(folder / f"{name}.png", blob_image(*boxes, size=SIZE))
    segment.segment_folder([folder], tmp_path / "truth", BlobSegmenter(), PostprocessSettings(min_area={"default": 4}))
    segment.predict_folder([folder], tmp_path / "saved", BlobSegmenter(warn=True))
    segment.segment_folder([folder], tmp_path / "cells", BlobSegmenter(), PostprocessSettings(score_thresh={"default": 0.75}))
    return tmp_path


def run(files: Path, *words: str) -> str:
    base = ["compare", str(files / "truth"), "--images", str(files / "images"), "--out", str(files / "out")]
    ran = CliRunner().invoke(app, [*base, *words])
    if ran.exception is not None:
        raise ran.exception
    return ran.output


def test_the_worst_images_are_drawn_first_and_warnings_shown(files):
    shown = run(files, str(files / "saved"), str(files / "cells"), "--worst", "2")
    assert sorted(path.name for path in (files / "out").iterdir()) == ["01_many.png", "02_none.png"]
    assert "note: saved: many: detections reached their cap of 9" in shown
    with Image.open(files / "out" / "01_many.png") as picture:
        assert has_colour(picture.convert("RGB"), "HIT")
        assert has_colour(picture.convert("RGB"), "PARTLY")


def test_chosen_images_by_score_with_steps(files):
    run(files, str(files / "saved"), "--image", "many", "--steps", "--set", "postprocess.score_thresh=0.75", "--colour", "score")
    assert sorted(path.name for path in (files / "out").iterdir()) == ["01_many.png", "01_many_steps_saved.png"]
    with Image.open(files / "out" / "01_many_steps_saved.png") as picture:
        assert has_colour(picture.convert("RGB"), "MISS")


def test_results_are_judged_alike_from_predictions_and_from_cells(files):
    samples = read_annotations(files / "truth", files / "images")
    results = stage.read_results([files / "saved", files / "cells"], files / "truth", samples, None, ["postprocess.score_thresh=0.75"])
    first, *_ = stage.compare(samples, results, files / "out", stage.PictureSettings())
    assert first.name == "many"
    assert [(one.name, one.hits, one.false_alarms) for one in first.judged] == [("saved", 2, 0), ("cells", 2, 0)]


def test_an_image_that_a_result_lacks_counts_as_empty(files):
    samples = read_annotations(files / "truth", files / "images")
    result = stage.Side("some", {"one": samples[[s.name for s in samples].index("one")].instances})
    found = stage.compare(samples, [result], files / "out", stage.PictureSettings())
    assert [(image.name, image.judged[0].map_iou) for image in found] == [("many", 0.0), ("none", 1.0), ("one", 1.0)]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["cells", "--steps"], "steps: found only cells"),
        (["cells", "--image", "two"], "image 'two': is not in the truth"),
        (["cells", "--set", "postprocess.nms_iou=0.1"], "cells hold cells, no predictions"),
        (["cells", "--zoom", "1,2,3"], "zoom: found '1,2,3'"),
        (["cells", "--iou", "1"], "iou: found 1"),
        (["gone"], "gone"),
    ],
)
def test_errors_say_what_to_do(files, words, message):
    with pytest.raises(InputError, match=message):
        run(files, str(files / words[0]), *words[1:])


def test_an_image_of_another_size_is_refused(files):
    iio.imwrite(files / "images" / "one.png", blob_image(A, size=(50, 64)))
    with pytest.raises(InputError, match=r"one\.png: is of size \(50, 64\), its annotation of \(48, 64\)"):
        run(files, str(files / "cells"), "--image", "one")


def test_results_of_one_name_go_by_their_paths(files):
    samples = read_annotations(files / "truth", files / "images")
    twice = [files / "cells", files / "out" / "cells"]
    segment.segment_folder([files / "images"], twice[1], BlobSegmenter(), PostprocessSettings())
    assert [result.name for result in stage.read_results(twice, files / "truth", samples)] == [str(path) for path in twice]
