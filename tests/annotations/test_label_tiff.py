"""Label TIFFs as annotations."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from somaseg.annotations.read import read_annotations
from somaseg.errors import InputError


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.uint32])
def test_label_tiffs_beside_their_images(tmp_path: Path, dtype: Any) -> None:
    labels = np.zeros((4, 5), dtype)
    labels[0, 0], labels[3] = 200, 7
    tifffile.imwrite(tmp_path / "a_labels.tif", labels)
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((4, 5), np.uint8))
    for path in (tmp_path, tmp_path / "a_labels.tif"):
        sample = read_annotations(path)[0]
        assert (sample.name, sample.image, sample.cell_type) == ("a", tmp_path / "a.tif", "cell")
        assert sample.instances.boxes.tolist() == [[0, 3, 5, 4], [0, 0, 1, 1]]


@pytest.mark.parametrize("images", ["images", "."])
def test_label_tiffs_in_a_folder_of_their_own(tmp_path: Path, images: str) -> None:
    for folder in ("labels", images):
        (tmp_path / folder).mkdir(exist_ok=True)
    tifffile.imwrite(tmp_path / "labels/a.tif", np.ones((4, 5), np.uint16))
    image = tmp_path / images / "a.png"
    image.write_bytes(b"not opened")
    assert read_annotations(tmp_path)[0].image == image
    assert read_annotations(tmp_path / "labels", tmp_path / images)[0].image == image


@pytest.mark.parametrize("array", [np.zeros((2, 4, 5), np.uint16), np.zeros((4, 5), np.float32), np.full((4, 5), -1, np.int16)])
def test_a_tiff_that_is_no_label_image(tmp_path: Path, array: np.ndarray) -> None:
    tifffile.imwrite(tmp_path / "a_labels.tif", array)
    with pytest.raises(InputError, match="whole numbers from 0"):
        read_annotations(tmp_path)
