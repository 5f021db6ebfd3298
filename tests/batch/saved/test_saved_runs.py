"""Folders of saved predictions that belong together or do not."""

import shutil
from pathlib import Path

import imageio.v3 as iio
import pytest

from blobs import A, BlobSegmenter, blob_image, write_mixed_images
from somaseg.batch import segment
from somaseg.batch.saved.saved_runs import read_runs
from somaseg.errors import InputError


@pytest.fixture
def images(tmp_path) -> Path:
    return write_mixed_images(tmp_path / "images")


def test_nothing_but_damaged_predictions_is_an_error(tmp_path):
    (tmp_path / "x.npz").write_bytes(b"junk")
    with pytest.raises(InputError, match=r"x\.npz: is no prediction"):
        read_runs([tmp_path])


def test_a_folder_of_two_models_is_refused(images, saved):
    segment.predict_folder([images / "one.png"], saved, BlobSegmenter(sha256="other"))
    with pytest.raises(
        InputError,
        match=r"\.npz: origin\.weights_sha256, tta, tiles and model\.detect: made with weights blobs \(other\), .* weights blobs \(b10b\)",
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


def test_thresholds_of_another_version_are_refused(images, tmp_path):
    segmenter = BlobSegmenter()
    segmenter.about = {**segmenter.about, "postprocess": {"once": 1}}
    segment.predict_folder([images], tmp_path / "saved", segmenter)
    with pytest.raises(InputError, match=r"none\.npz: origin.postprocess.once: Extra inputs .* made by another version of somaseg"):
        read_runs([tmp_path / "saved"]).settings()
