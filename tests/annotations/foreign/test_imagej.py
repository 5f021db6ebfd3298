"""ROIs as ImageJ's users leave them: every tool, moved cells, new ones, damage."""

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
import roifile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from somaseg.annotations.foreign.imagej import read_rois
from somaseg.annotations.read import inspect_annotations, read_annotations
from somaseg.errors import InputError
from somaseg.export.foreign.imagej import roi_file
from somaseg.export.image_result import ImageResult
from two_cells import cells

TYPE, OPTIONS = roifile.ROI_TYPE, roifile.ROI_OPTIONS


def save(folder: Path, *rois: roifile.ImagejRoi, names: tuple[str, ...] = ()) -> Path:
    Image.new("L", (40, 30)).save(folder / "a.png")
    with zipfile.ZipFile(folder / "a.zip", "w") as archive:
        for number, roi in enumerate(rois):
            archive.writestr(names[number] if names else f"{number:04d}-0001.roi", roi.tobytes())
    return folder / "a.zip"


def square(x: int = 4, y: int = 5, **fields) -> roifile.ImagejRoi:
    return roifile.ImagejRoi(roitype=TYPE.RECT, left=x, top=y, right=x + 3, bottom=y + 2, **fields)


def path_of(*numbers: float) -> roifile.ImagejRoi:
    return square(multi_coordinates=np.array(numbers, np.float32), shape_roi_size=len(numbers))


def area_of(folder: Path, roi: roifile.ImagejRoi) -> list[int]:
    return read_annotations(save(folder, roi))[0].instances.area.tolist()


def test_every_tool_that_outlines(tmp_path):
    assert area_of(tmp_path, square()) == [6]
    for kind in (TYPE.POLYGON, TYPE.FREEHAND, TYPE.TRACED):
        roi = roifile.ImagejRoi.frompoints(np.array([[4, 5], [7, 5], [7, 7], [4, 7]]))
        roi.roitype = kind
        assert area_of(tmp_path, roi) == [6]
    fine = roifile.ImagejRoi.frompoints(np.array([[4.2, 5.2], [7.2, 5.2], [7.2, 7.2], [4.2, 7.2]]))
    assert area_of(tmp_path, fine) == [6]
    rect = square()
    rect.options, rect.xd, rect.yd, rect.widthd, rect.heightd = OPTIONS.SUB_PIXEL_RESOLUTION, 4.2, 5.2, 3.0, 2.0
    assert area_of(tmp_path, rect) == [6]


@pytest.mark.parametrize("size", [(1, 1), (2, 2), (3, 5), (10, 4), (11, 11)])
def test_ovals_are_the_pixels_that_imagej_takes(tmp_path, size):
    width, height = size
    roi = roifile.ImagejRoi(roitype=TYPE.OVAL, left=7, top=3, right=7 + width, bottom=3 + height)
    y, x = np.mgrid[:height, :width]
    expected = ((x - width / 2 + 0.5) ** 2 / (width / 2) ** 2 + (y - height / 2 + 0.5) ** 2 / (height / 2) ** 2) <= 1
    found = read_annotations(save(tmp_path, roi))[0].instances.to_masks()[0]
    assert np.array_equal(found[3 : 3 + height, 7 : 7 + width], expected)
    assert found.sum() == expected.sum()


def test_paths_with_curves(tmp_path):
    # A square whose upper side is a curve of the third degree through a bulge, then a hole.
    roi = path_of(0, 4, 9, 3, 4, 3, 12, 3, 12, 9, 1, 12, 15, 1, 4, 15, 4, 0, 6, 10, 1, 8, 10, 1, 8, 12, 1, 6, 12, 4)
    # 8 x 6, and over it the 28.8 under the curve, less what its eight lines cut off; the hole has 4.
    assert 70 <= area_of(tmp_path, roi)[0] <= 74


def test_classes_by_property_name_group_and_neighbours(tmp_path):
    told, named, grouped = square(group=2, props="class: astro\nscore: 0.5\n"), square(9, name="0007-cort", group=3), square(14, group=2)
    path = save(tmp_path, told, named, grouped)
    instances = read_annotations(path)[0].instances
    assert instances.classes == ("astro", "cort")
    assert instances.labels.tolist() == [0, 1, 0]
    assert instances.scores.tolist() == [0.5, 1, 1]
    assert read_annotations(save(tmp_path, square(group=4), square(9, group=5)))[0].instances.classes == ("group 4", "group 5")
    assert read_annotations(save(tmp_path, square(), square(9)))[0].instances.classes == ("cell",)
    copied = read_annotations(save(tmp_path, named, square(14, name="0007-cort-1"), square(19, name="1-astro-2")))[0].instances
    assert copied.classes == ("cort", "astro-2")
    one_class = read_annotations(save(tmp_path, named, square(14, name="0123-0456")))[0].instances
    assert (one_class.classes, one_class.labels.tolist()) == (("cort",), [0, 0])


def test_a_cell_without_class_among_several_is_told(tmp_path):
    path = save(tmp_path, square(name="1-astro"), square(9, name="2-cort"), square(14))
    with pytest.raises(InputError, match=r"a\.zip: ROI '0002-0001', class: has none, and others of the file have astro, cort"):
        read_annotations(path)
    (sample,), problems = inspect_annotations(path)
    assert [(p.kind, p.index) for p in problems] == [("unknown class", 2)]
    assert sample.instances.classes[sample.instances.labels[2]] == "unknown"


@pytest.mark.parametrize(
    ("roi", "reason"),
    [
        (roifile.ImagejRoi(roitype=TYPE.LINE, x2=9), "is of the kind line, which has no area"),
        (roifile.ImagejRoi(roitype=TYPE.POINT, n_coordinates=1, integer_coordinates=np.array([[0, 0]], np.int32)), "kind point"),
        (roifile.ImagejRoi(roitype=TYPE.RECT, subtype=roifile.ROI_SUBTYPE.TEXT), "is a text or an image"),
        (roifile.ImagejRoi(roitype=TYPE.OVAL, top=3, bottom=3, right=5), "is an oval of 5 x 0 pixels"),
        (roifile.ImagejRoi.frompoints(np.array([[1, 1], [4, 4]])), "expected x, y of three or more points"),
        (path_of(0, 1, 1, 1, 4, 4, 1, np.nan, 1, 4), "not finite"),
        (path_of(0, 1, 1, 1, 4, 4, 1, 1e9, 1, 4), "beyond 10000000 pixels"),
        (path_of(0, 1, 1, 1, 4), "path that is cut off"),
        (path_of(1, 1, 1), "path that is cut off"),
        (path_of(0, 1, 1, 7), "path that is cut off"),
    ],
)
def test_what_is_no_cell_is_a_problem_and_kept_aside(tmp_path, roi, reason):
    path = save(tmp_path, square(), roi)
    (sample,), problems = inspect_annotations(path)
    assert [(p.kind, p.index, p.fatal, p.raw) for p in problems] == [("unreadable mask", 1, True, {"roi": "0001-0001"})]
    assert reason in problems[0].message
    assert sample.instances.area.tolist() == [6, 0]
    with pytest.raises(InputError, match="ROI '0001-0001'"):
        read_annotations(path)


def test_outside_the_image_is_cut_off_and_told(tmp_path):
    (sample,), problems = inspect_annotations(save(tmp_path, square(39, 29), square(-2, 5)))
    assert [p.kind for p in problems] == ["outside image"] * 2
    assert sample.instances.area.tolist() == [1, 2]


def test_a_zip_of_a_mac_a_single_roi_and_folders_in_the_zip(tmp_path):
    path = save(tmp_path, square(), square(9), names=("set/0001-astro.roi", "__MACOSX/set/._0001-astro.roi"))
    assert len(read_annotations(path)[0].instances) == 1
    path.unlink()
    (tmp_path / "a.roi").write_bytes(square().tobytes())
    for source in (tmp_path / "a.roi", tmp_path):
        assert read_annotations(source)[0].instances.area.tolist() == [6]


def test_a_zip_is_looked_at_before_it_is_unpacked(tmp_path, monkeypatch):
    path = save(tmp_path, square())
    monkeypatch.setenv("SOMASEG_MAX_BYTES", "20")
    with pytest.raises(InputError, match="bytes of ROIs, the limit is 20"):
        read_annotations(path)


def test_an_oval_as_large_as_its_numbers_allow_is_refused_before_it_is_drawn(tmp_path):
    roi = roifile.ImagejRoi(roitype=TYPE.OVAL, options=OPTIONS.SUB_PIXEL_RESOLUTION, widthd=9e6, heightd=9e6)
    _, problems = inspect_annotations(save(tmp_path, roi))
    assert "is an oval of 9e+06 x 9e+06 pixels" in problems[0].message


def test_without_the_image_its_size_is_wanted(tmp_path):
    path = save(tmp_path, square())
    (tmp_path / "a.png").unlink()
    with pytest.raises(InputError, match=r"a\.zip: does not say how large its image is.*put it beside"):
        read_annotations(path)


@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_damaged_files_are_input_errors(tmp_path, data):
    whole = roi_file(ImageResult(cells(), None, "a.png")).data
    if data.draw(st.booleans(), label="one roi"):
        with zipfile.ZipFile(io.BytesIO(whole)) as archive:
            whole = archive.read(archive.namelist()[0])
    found = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 4))):
        found[data.draw(st.integers(0, len(found) - 1))] = data.draw(st.sampled_from([0, 1, 2, 127, 128, 255]))
    del found[data.draw(st.integers(len(found) // 2, len(found))) :]
    path = tmp_path / "a.zip"
    path.write_bytes(found)
    Image.new("L", (5, 4)).save(tmp_path / "a.png")
    told = str(path)
    try:
        read_rois(path)
        inspect_annotations(path)
    except InputError as error:
        told = str(error)
    assert str(path) in told
