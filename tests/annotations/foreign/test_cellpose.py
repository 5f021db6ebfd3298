"""Array files: of every version of Cellpose, plain, damaged and hostile."""

import io
import os

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from somaseg.annotations.read import inspect_annotations, read_annotations
from somaseg.errors import InputError
from somaseg.export.foreign.cellpose import seg_file
from somaseg.export.image_result import ImageResult
from two_cells import cells

LABELS = np.array([[1, 1, 0, 0], [1, 1, 0, 2], [0, 0, 0, 2]])


class Call:
    """Pickles as a call of a function."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def save(folder, content, name="a_seg.npy"):
    Image.new("L", (4, 3)).save(folder / "a.png")
    wrapped = content if isinstance(content, np.ndarray) else np.array(content, dtype=object)
    np.save(folder / name, wrapped, allow_pickle=True)
    return folder / name


def seg(masks, **more):
    flows = [np.zeros((1, 3, 4, 3), np.uint8), np.zeros((1, 3, 4), np.uint8)]
    return {
        "outlines": masks,
        "masks": masks,
        "flows": flows,
        "filename": "/data/a.png",
        "est_diam": np.float64(17.5),
        "chan_choose": [0, 0],
        **more,
    }


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.float32, ">u2"])
def test_masks_of_every_type(tmp_path, dtype):
    assert read_annotations(save(tmp_path, seg(LABELS.astype(dtype))))[0].instances.area.tolist() == [4, 2]
    (sample,) = read_annotations(tmp_path)
    assert (sample.name, sample.image) == ("a", tmp_path / "a.png")


def test_old_versions_and_single_planes(tmp_path):
    assert read_annotations(save(tmp_path, seg(LABELS - 1)))[0].instances.area.tolist() == [4, 2]
    assert read_annotations(save(tmp_path, seg(LABELS[None])))[0].instances.area.tolist() == [4, 2]
    changes = [["12:00", "removed mask", [np.zeros(3, np.int64)]]]
    more = {"manual_changes": changes, "normalize_params": {"lowhigh": None, "percentile": [1.0, 99.0]}, "ismanual": np.zeros(2, bool)}
    assert read_annotations(save(tmp_path, seg(LABELS, **more)))[0].instances.area.tolist() == [4, 2]


def test_a_label_image_that_numpy_saved(tmp_path):
    assert read_annotations(save(tmp_path, LABELS, "a.npy"))[0].instances.area.tolist() == [4, 2]


def test_classes_are_ours_until_cellpose_saves(tmp_path):
    path = tmp_path / "a_seg.npy"
    path.write_bytes(seg_file(ImageResult(cells(overlapping=False), None, "a.png")).data)
    content = np.load(path, allow_pickle=True).item()
    assert [s.instances.classes[label] for s in read_annotations(path) for label in s.instances.labels] == ["cort", "shsy5y"]
    content["masks"][3, 4] = 3  # a cell more than the classes are of
    save(tmp_path, content)
    assert read_annotations(path)[0].instances.classes == ("cell",)


def test_nothing_is_run(tmp_path):
    mark = tmp_path / "mark"
    for hostile in (Call(os.system, f"touch {mark}"), seg(LABELS, evil=Call(os.system, f"touch {mark}")), seg(Call(eval, "1"))):
        path = save(tmp_path, hostile)
        with pytest.raises(InputError, match=r"a_seg\.npy: refused, and nothing in it was run: .*but masks are arrays in plain containers"):
            read_annotations(path)
    assert not mark.exists()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ({"outlines": LABELS}, "masks: found None, expected the label image"),
        (seg(np.stack([LABELS] * 2)), r"masks: found an array of shape \(2, 3, 4\)"),
        (seg(LABELS + 0.5), "expected whole numbers"),
        ([1, 2], "cannot be read as a pickle of masks"),
        (np.array([["a", "b"]]), "masks: found array"),
        (np.zeros(3), r"found an array of shape \(3,\)"),
    ],
)
def test_what_holds_no_masks(tmp_path, content, reason):
    with pytest.raises(InputError, match=reason):
        read_annotations(save(tmp_path, content))


def test_an_array_larger_than_the_limit_is_refused_before_it_is_read(tmp_path, monkeypatch):
    path = save(tmp_path, LABELS, "a.npy")
    monkeypatch.setenv("SOMASEG_MAX_IMAGE_BYTES", "50")
    with pytest.raises(InputError, match="is an array of 96 bytes, the limit is 50"):
        read_annotations(path)


@settings(max_examples=50, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_damaged_files_are_input_errors(tmp_path, data):
    buffer = io.BytesIO()
    np.save(buffer, np.array(seg(LABELS), dtype=object) if data.draw(st.booleans()) else LABELS, allow_pickle=True)
    found = bytearray(buffer.getvalue())
    for _ in range(data.draw(st.integers(1, 3))):
        found[data.draw(st.integers(6, len(found) - 1))] = data.draw(st.sampled_from([0, 1, 40, 46, 99, 128, 255]))
    del found[data.draw(st.integers(len(found) // 2, len(found))) :]
    path = tmp_path / "a_seg.npy"
    path.write_bytes(found)
    told = str(path)
    try:
        inspect_annotations(path)
    except InputError as error:
        told = str(error)
    assert str(path) in told
