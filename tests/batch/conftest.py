"""Images, a folder for what comes of them, and predictions of them; a test file may have other images."""

from pathlib import Path

import pytest

from blobs import BlobSegmenter, write_images
from somaseg.batch.segment import predict_folder


@pytest.fixture
def images(tmp_path: Path) -> Path:
    return write_images(tmp_path / "images")


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


@pytest.fixture
def saved(images: Path, tmp_path: Path) -> Path:
    predict_folder([images], tmp_path / "saved", BlobSegmenter(warn=True))
    return tmp_path / "saved"
