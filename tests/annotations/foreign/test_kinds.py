"""Files are told apart by what they hold."""

import json
import zipfile

import numpy as np
import pytest
from PIL import Image

from somaseg.annotations.foreign.kinds import kind_of
from somaseg.annotations.read import read_annotations
from somaseg.errors import InputError
from somaseg.export.foreign.imagej import roi_file
from somaseg.export.foreign.qupath import geojson_file
from somaseg.export.image_result import ImageResult
from two_cells import TWO, cells

RESULT = ImageResult(cells(overlapping=False), None, "a.png")


@pytest.mark.parametrize("name", ["a.zip", "a.geojson", "a.json", "a.txt", "a.dat", "a", "a_rois.ZIP", "RoiSet a.bin"])
@pytest.mark.parametrize("export", [roi_file, geojson_file])
def test_whatever_they_are_called(tmp_path, name, export):
    (tmp_path / name).write_bytes(export(RESULT).data)
    Image.new("L", (5, 4)).save(tmp_path / f"{name.removesuffix('.ZIP').split('_')[0].split('.')[0]}.png")
    for source in (tmp_path / name, tmp_path):
        (sample,) = read_annotations(source)
        assert np.array_equal(sample.instances.to_masks().any(axis=0), TWO.any(axis=0))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_geojson_in_any_encoding_and_layout(tmp_path, encoding):
    text = json.dumps(json.loads(geojson_file(RESULT).data), indent=4)
    (tmp_path / "a.json").write_bytes(text.encode(encoding))
    assert kind_of(tmp_path / "a.json") == "qupath"
    (tmp_path / "b.json").write_bytes(json.dumps({"images": [], "annotations": [], "categories": []}).encode(encoding))
    assert kind_of(tmp_path / "b.json") is None


def test_other_files_are_none(tmp_path):
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as archive:
        archive.writestr("readme.txt", "no ROI")
    (tmp_path / "cut.zip").write_bytes(roi_file(RESULT).data[:90])
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "folder").mkdir()
    assert [kind_of(tmp_path / name) for name in ("other.zip", "empty", "folder", "nothing")] == [None] * 4
    assert kind_of(tmp_path / "cut.zip") == "imagej"
    with pytest.raises(InputError, match=r"cut\.zip: cannot be read as a zip of ROIs"):
        read_annotations(tmp_path / "cut.zip")
    with pytest.raises(InputError, match=r"other\.zip: is no annotation file"):
        read_annotations(tmp_path / "other.zip")


def test_a_folder_of_several_programs_and_two_of_one_image(tmp_path):
    for name, export in (("a.zip", roi_file), ("b.geojson", geojson_file), ("c_annotations.json", geojson_file)):
        (tmp_path / name).write_bytes(export(RESULT).data)
        Image.new("L", (5, 4)).save(tmp_path / f"{name[0]}.png")
    assert [sample.name for sample in read_annotations(tmp_path)] == ["a", "b", "c"]
    (tmp_path / "a.geojson").write_bytes(geojson_file(RESULT).data)
    with pytest.raises(InputError, match="is a second label image of a"):
        read_annotations(tmp_path)
