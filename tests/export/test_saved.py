"""A folder of results, read back."""

import json

import numpy as np
import pytest

from saved_results import CLASSES, squares, write_result
from somaseg.errors import InputError
from somaseg.export.saved import read_result


def test_what_was_measured_comes_back(tmp_path):
    folder = write_result(tmp_path / "result", {"a/x.png": squares(2, label=1), "y.png": squares(0)}, pixel_size=0.5)
    saved = read_result(folder)
    assert saved.classes == CLASSES
    assert {name: str(file) for name, file in saved.files.items()} == {"a_x": "/data/a/x.png", "y": "/data/y.png"}
    first, second = saved.images()
    assert (first.name, first.size, first.page, first.pixel_size, first.covered) == ("a_x", (100, 100), None, 0.5, 32)
    assert first.classes() == ["long", "long"]
    columns = first.columns()
    assert columns["area"].tolist() == [16, 16]
    assert columns["area_um2"].tolist() == [4, 4]
    assert columns["nearest"].tolist() == [7, 7]
    assert columns["nearest_um"].tolist() == [3.5, 3.5]
    assert columns["intensity_mean"].tolist() == [7, 7]
    assert (second.classes(), second.columns()["area"].tolist()) == ([], [])


def test_nothing_stands_for_what_cannot_be_measured(tmp_path):
    (image,) = read_result(write_result(tmp_path / "result", {"x.png": squares(1, side=1)})).images()
    assert np.isnan(image.columns()["form_factor"]).all()
    assert "area_um2" not in image.columns()


@pytest.mark.parametrize(
    ("run", "message"),
    [
        (None, "has no run.json, expected the folder of results"),
        ("{", "run.json: cannot be read"),
        ("[]", "run.json: cells, by_image: missing"),
        ('{"by_image": {}}', "run.json: cells, by_image: missing"),
    ],
)
def test_other_folders_are_refused(tmp_path, run, message):
    if run is not None:
        (tmp_path / "run.json").write_text(run)
    with pytest.raises(InputError) as caught:
        read_result(tmp_path)
    assert message in str(caught.value)


def test_a_record_that_is_gone_or_of_an_earlier_version_is_named(tmp_path):
    folder = write_result(tmp_path / "result", {"x.png": squares(1)})
    record = folder / "coco" / "x.json"
    document = json.loads(record.read_text())
    del document["measurements"]
    record.write_text(json.dumps(document))
    with pytest.raises(InputError, match=r"x\.json: measurements: missing, the result is of an earlier version"):
        list(read_result(folder).images())
    record.unlink()
    with pytest.raises(InputError, match=r"x\.json: cannot be read"):
        list(read_result(folder).images())
