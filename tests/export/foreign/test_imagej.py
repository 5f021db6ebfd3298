"""ROI zips: exact to the pixel, as ImageJ reads them, whatever the masks and names are."""

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
import roifile
from hypothesis import given, settings
from hypothesis.extra.numpy import arrays
from PIL import Image

from somaseg.annotations.foreign.imagej import _entries
from somaseg.annotations.read import read_annotations
from somaseg.export.foreign.imagej import FARTHEST, roi_file, roi_of
from somaseg.export.image_result import Exported, ImageResult
from somaseg.instances import Instances
from somaseg.masks.pixel_edges import crop_from_rings
from two_cells import CLASSES, TWO, cells


def written(folder: Path, instances: Instances) -> Path:
    """A file of these cells, beside its image."""
    Image.new("L", instances.size[::-1]).save(folder / "a.png")
    path = folder / "a.zip"
    path.write_bytes(roi_file(ImageResult(instances, None, "a.png")).data)
    return path


def rois(exported: Exported) -> dict[str, roifile.ImagejRoi]:
    with zipfile.ZipFile(io.BytesIO(exported.data)) as archive:
        return {name: roifile.ImagejRoi.frombytes(archive.read(name)) for name in archive.namelist()}


def test_names_classes_groups_and_scores():
    found = rois(roi_file(ImageResult(cells(), None, "a.png")))
    assert list(found) == ["0001-cort.roi", "0002-shsy5y.roi"]
    first = found["0001-cort.roi"]
    assert (first.roitype, first.group, first.name) == (roifile.ROI_TYPE.TRACED, 3, "0001-cort")
    assert first.properties == {"class": "cort", "score": 0.75}
    assert first.coordinates().tolist() == [[0, 0], [2, 0], [2, 2], [0, 2]]
    assert (first.left, first.top, first.right, first.bottom) == (0, 0, 2, 2)


@settings(max_examples=40, deadline=None)
@given(arrays(np.bool_, (3, 7, 8)))
def test_any_masks_come_back(tmp_path_factory, dense):
    dense = dense[dense.any(axis=(1, 2))]
    there = Instances.from_masks(dense, CLASSES, [0] * len(dense), [0.5] * len(dense))
    (sample,) = read_annotations(written(tmp_path_factory.mktemp("rois"), there))
    assert np.array_equal(sample.instances.to_masks(), dense)
    assert (sample.instances.scores == 0.5).all()


@pytest.mark.parametrize(
    "name",
    [
        "astro",
        "two words",
        "=1+2",
        "a/b\\c",
        "..",
        "12-7",
        'quo"ted',
        '"quoted"',
        "ümlaut",
        "😀",
        "class: x\nscore: 0",
        " x ",
        "a" * 300,
        "\x00",
    ],
)
def test_hostile_class_names_come_back(tmp_path, name):
    there = Instances.from_masks(TWO, (name, "b"), [0, 1])
    path = written(tmp_path, there)
    assert read_annotations(path)[0].instances.classes == (name, "b")
    with zipfile.ZipFile(path) as archive:
        assert all(not set(entry) & set('/\\:\n\0"') and ".." not in entry.split("-") and len(entry) < 100 for entry in archive.namelist())


def test_no_cell_is_a_zip_of_none(tmp_path):
    (sample,) = read_annotations(written(tmp_path, Instances.empty((4, 5), CLASSES)))
    assert len(sample.instances) == 0


def test_equal_cells_give_equal_files():
    assert roi_file(ImageResult(cells(), None, "a.png")) == roi_file(ImageResult(cells(), None, "a.png"))


def test_more_cells_than_16_bits_count(tmp_path):
    """Their outlines are those of few; here it is the zip that must hold them."""
    ((_, roi),) = rois(roi_file(ImageResult(cells()[:1], None, "a.png"))).items()
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for number in range(65_540):
            archive.writestr(zipfile.ZipInfo(f"{number:04d}-a.roi"), b"Iout")
        archive.writestr("65541-a.roi", roi.tobytes())
    found = _entries(tmp_path / "a.zip")
    assert len(found) == 65_541
    assert found[-1] == ("65541-a", roi.tobytes())


@pytest.mark.parametrize("place", [40_000, FARTHEST - 3, FARTHEST, 70_000, 1_000_000])
def test_far_outlines_are_exact(place):
    ring = np.array([[place, 2], [place + 3, 2], [place + 3, 9], [place, 9]])
    roi = roifile.ImagejRoi.frombytes(roi_of([ring]).tobytes())
    assert (roi.roitype == roifile.ROI_TYPE.TRACED) == (place + 3 <= FARTHEST)
    box, crop = crop_from_rings(roi.coordinates(multi=True), (20, place + 10))
    assert (box, crop.all()) == ((place, 2, place + 3, 9), True)


def test_an_outline_of_more_points_than_16_bits_hold():
    steps = np.arange(40_000)
    comb = np.concatenate([np.stack([steps // 2 + steps % 2, 1 + (steps + 1) // 2 % 2], axis=1), [[20_000, 5], [0, 5]]])
    many = np.concatenate([comb, comb[::-1] + np.array([0, 10])])
    assert len(many) > FARTHEST
    roi = roifile.ImagejRoi.frombytes(roi_of([many]).tobytes())
    assert roi.composite
    assert np.array_equal(roi.coordinates()[:-1], many)
