"""Sizes in runs over folders: what is asked for is kept and makes results again, files tell theirs, thresholds go with the zoom."""

import json

import imageio.v3 as iio
import numpy as np
import pytest
import tifffile

from blobs import BlobSegmenter, blob_image
from runs import postprocess, segment
from somaseg.batch.saved.prediction_file import load_prediction
from somaseg.batch.saved.saved_runs import read_runs
from somaseg.batch.segment import predict_folder
from somaseg.config import MagnificationSettings, PostprocessSettings
from somaseg.errors import InputError

BOX = (4, 4, 12, 14)  # 80 pixels


class Sized(BlobSegmenter):
    """Blobs, by weights that know a pixel size."""

    def __init__(self, known=0.5, **asked):
        super().__init__()
        self.zooms = []
        trained = {"pixel_size": known, "cell_diameter": {"round": 10.0}}
        self.about = {
            "model": {"trained_at": trained}, "magnification": MagnificationSettings(**asked).model_dump(mode="json"), "tta": {},
            "postprocess": {"min_area": {"default": 4.0}},
        }  # fmt: skip

    def predict(self, image, zoom=1.0, kept=None):
        self.zooms.append(zoom)
        return super().predict(image, zoom, kept)


@pytest.fixture
def image(tmp_path):
    path = tmp_path / "images" / "one.ome.tif"
    path.parent.mkdir()
    tifffile.imwrite(path, blob_image(BOX), metadata={"axes": "YX", "PhysicalSizeX": 0.25, "PhysicalSizeY": 0.25})
    return path


def told(out):
    manifest = json.loads((out / "run.json").read_text())
    (of_image,) = manifest["by_image"].values()
    return of_image["zoom"], of_image["zoom_from"]


def test_the_pixel_size_of_a_file_is_used_and_told(image, out):
    predictor = Sized()
    summary = segment(image, out, predictor)
    assert predictor.zooms == [0.5]
    assert told(out) == (0.5, "file's pixel size")
    assert "magnification: 1 image shown x0.5 (file's pixel size)" in summary.text()
    info = json.loads((out / "coco" / "one.json").read_text())["info"]
    assert (info["zoom"], info["zoom_from"]) == (0.5, "file's pixel size")


def test_another_size_makes_results_again_and_the_same_does_not(image, out, tmp_path):
    for number, (asked, zoom, calls) in enumerate(
        [({"pixel_size": 1}, 2.0, 1), ({"pixel_size": 1}, 2.0, 0), ({"estimate": "off"}, 1.0, 1), ({"cell_diameter": 5}, 2.0, 1)]
    ):
        for folder, run in ((out, segment), (tmp_path / "saved", predict_folder)):
            predictor = Sized(**asked)
            run([image], folder, predictor)
            assert len(predictor.zooms) == calls, (number, run)
            assert told(folder)[0] == zoom


def test_least_areas_are_those_at_the_scale_of_the_weights(image, out, tmp_path):
    for zoom, least, count in ((0.5, 20, 1), (0.5, 21, 0), (2.0, 320, 1), (2.0, 321, 0)):
        settings = PostprocessSettings(min_area={"default": least})
        asked = {"pixel_size": zoom * 0.5}
        summary = segment(image, out, Sized(**asked), settings)
        assert sum(summary.cells.values()) == count, (zoom, least)
        predict_folder([image], tmp_path / "saved", Sized(**asked))
        assert load_prediction(tmp_path / "saved" / "one.npz").prediction.zoom == zoom
        assert sum(postprocess(tmp_path / "saved", tmp_path / "later", settings).cells.values()) == count
        assert told(tmp_path / "later") == (zoom, "given pixel size")


def test_sizes_that_the_weights_cannot_use_are_refused_before_any_work(image, out):
    predictor = Sized(known=None, cell_diameter=1e6)
    with pytest.raises(InputError, match="--cell-diameter 1e"):
        segment(image, out, predictor)
    with pytest.raises(InputError, match="--cell-diameter 1e"):
        predict_folder([image], out, predictor)
    assert not predictor.zooms
    assert not out.exists()


def test_saved_predictions_keep_the_size_that_was_asked_for(image, tmp_path):
    predict_folder([image], tmp_path / "saved", Sized(known=0.25))
    runs = read_runs([tmp_path / "saved"])
    assert runs.settings().magnification == MagnificationSettings()
    with pytest.raises(InputError, match=r"magnification: the predictions in .* were made with"):
        runs.settings(None, ["magnification.cell_diameter=12"])


def test_weights_that_know_no_size_see_images_as_they_are(tmp_path, out):
    (tmp_path / "images").mkdir()
    iio.imwrite(tmp_path / "images" / "plain.png", np.full((20, 20), 10, np.uint8))
    predictor = BlobSegmenter()
    segment(tmp_path / "images", out, predictor)
    assert (predictor.calls, told(out)) == (1, (1.0, "unknown"))
