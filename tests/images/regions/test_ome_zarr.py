"""OME-Zarr images of every version, found, read, and what is wrong with them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from blobs import BlobSegmenter
from images import GREY, tiff
from somaseg.batch.segment import segment_folder
from somaseg.config import PostprocessSettings
from somaseg.errors import InputError
from somaseg.images.find import find_images, list_images
from somaseg.images.read import image_sha256, read_frames, read_image, read_planes
from somaseg.images.regions import lazy
from somaseg.images.regions.lazy import LazyImage
from zarrs import about, write_zarr

FIVE = np.random.default_rng(0).integers(0, 60000, (2, 3, 2, 50, 70)).astype(np.uint16)  # t c z y x
FORMS: dict[str, dict[str, Any]] = {"2": {"form": 2}, "3": {"form": 3}, "shards": {"form": 3, "shards": (1, 2, 2, 48, 64)}}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("by_region", [False, True])
def test_each_step_is_a_frame_and_channels_come_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str, by_region: bool) -> None:
    told = about("tczyx", (9, 1, 2, 0.5, 0.5), ("DAPI", "GFP", "Tau"))
    path = write_zarr(tmp_path / "x.ome.zarr", FIVE, "tczyx", (1, 1, 1, 16, 32), description=told, **FORMS[form])
    if by_region:
        monkeypatch.setattr(lazy, "WHOLE_BYTES", 0)
    frames = list(read_frames(path))
    assert [frame.page for frame in frames] == [0, 1, 2, 3]
    for frame, (t, z) in zip(frames, np.ndindex(2, 2), strict=True):
        expected = np.moveaxis(FIVE[t, :, z], 0, -1)
        assert isinstance(frame.array, LazyImage) == by_region
        assert (frame.meaning, frame.channels, frame.pixel_size) == ("channels", ("DAPI", "GFP", "Tau"), 0.5)
        assert frame.array.dtype == np.uint16
        np.testing.assert_array_equal(np.asarray(frame.array), expected)
        np.testing.assert_array_equal(frame.array[3:40, 20:66], expected[3:40, 20:66])
    for frame in read_frames(path, "GFP"):
        assert frame.array.shape == (50, 70)
    assert (np.asarray(frame.array) == FIVE[1, 1, 1]).all()


@pytest.mark.parametrize(("dtype", "stored"), [("u1", "u1"), (">u2", "u2"), ("<i4", "i4"), ("<f4", "f4"), ("?", "u1")])
def test_types(tmp_path: Path, dtype: str, stored: str) -> None:
    array = (GREY > 99 if dtype == "?" else GREY).astype(dtype)
    frame = read_image(write_zarr(tmp_path / "x.zarr", array, "yx", (8, 8)))
    assert (frame.page, frame.name, frame.meaning, frame.array.dtype) == (None, "x", "grey", np.dtype(stored))
    np.testing.assert_array_equal(np.asarray(frame.array), array)
    np.testing.assert_array_equal(read_planes(tmp_path / "x.zarr")[0], array)


@pytest.mark.parametrize("form", FORMS)
def test_a_chunk_that_is_not_there_has_the_value_that_stands_for_it(tmp_path: Path, form: str) -> None:
    array = FIVE[0, 0, 0]
    options = {**FORMS[form], **({"shards": (32, 64)} if form == "shards" else {})}
    frame = read_image(write_zarr(tmp_path / "x.zarr", array, "yx", (16, 32), leave_out=[(1, 1)], **options))
    expected = array.copy()
    expected[16:32, 32:64] = 7
    np.testing.assert_array_equal(np.asarray(frame.array), expected)


def test_axes_of_old_versions_and_pixels_without_a_unit(tmp_path: Path) -> None:
    for name, axes in (("a", None), ("b", ["z", "y", "x"])):
        told = {"multiscales": [{"datasets": [{"path": "0"}], **({"axes": axes} if axes else {})}]}
        frames = list(read_frames(write_zarr(tmp_path / f"{name}.zarr", FIVE[0, 0], "zyx", (1, 50, 70), description=told)))
        assert [frame.pixel_size for frame in frames] == [None, None]


def test_images_are_found_and_what_lies_in_them_is_not(tmp_path: Path) -> None:
    image = write_zarr(tmp_path / "a/x.ome.zarr", GREY, "yx", (8, 8))
    write_zarr(image / "labels/cells", GREY, "yx", (8, 8))
    (tmp_path / "a/y.tif").write_bytes(tiff(GREY))
    plate = tmp_path / "a/plate.zarr"
    wells = [write_zarr(plate / f"{row}/1/0", GREY, "yx", (8, 8)) for row in "AB"]
    for group in (plate, plate / "A", plate / "B", plate / "A/1", plate / "B/1"):
        (group / ".zgroup").write_text('{"zarr_format": 2}')
    (plate / ".zattrs").write_text('{"plate": {}}')
    bare = write_zarr(tmp_path / "a/bare.zarr", GREY, "yx", (8, 8)) / "0"
    bare.rename(tmp_path / "a/array.zarr")
    for file in (tmp_path / "a/bare.zarr").iterdir():
        file.unlink()
    found = list_images([tmp_path])
    assert found.files == [*wells, image, tmp_path / "a/y.tif"]
    assert list(found.left_out.values()) == ["is a Zarr array without the description that OME-Zarr images have"]
    assert find_images([image]) == [image]
    assert find_images([plate]) == wells
    assert find_images([str(tmp_path / "a/*.zarr")]) == [image]
    assert [next(read_frames(well)).name for well in wells] == ["plate_A_1_0", "plate_B_1_0"]


def test_the_hash_is_that_of_what_is_read(tmp_path: Path) -> None:
    path = write_zarr(tmp_path / "x.zarr", GREY, "yx", (8, 8))
    first = image_sha256(path)
    write_zarr(path / "labels/cells", GREY, "yx", (8, 8))
    assert image_sha256(path) == first
    (path / "0/0.0").write_bytes((path / "0/1.0").read_bytes())
    assert image_sha256(path) != first


def test_a_folder_of_results(tmp_path: Path) -> None:
    image = np.zeros((60, 80), np.uint8)
    image[10:30, 10:40] = 200
    path = write_zarr(tmp_path / "x.ome.zarr", image, "yx", (16, 16))
    for skipped in (0, 1):
        summary = segment_folder([path], tmp_path / "out", BlobSegmenter(), PostprocessSettings())
        assert (summary.images, summary.skipped, summary.failures) == (1, skipped, {})
    assert (tmp_path / "out/labels/x_labels.tif").is_file()
    assert json.loads((tmp_path / "out/coco/x.json").read_bytes())["images"][0]["file_name"] == "x.ome.zarr"


def changed(path: Path, **values: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def test_what_cannot_be_read_is_told(tmp_path: Path) -> None:
    def told(path: Path) -> str:
        with pytest.raises(InputError) as error:
            list(read_frames(path))
        assert str(path) in str(error.value)
        return str(error.value)

    def image(number: int, form: int = 2) -> Path:
        return write_zarr(tmp_path / f"{number}.zarr", GREY, "yx", (8, 8), form=form)

    path = image(0)
    (path / "0/1.1").write_bytes((path / "0/1.1").read_bytes()[:20])
    assert "chunk (1, 1) has" in told(path)
    path = image(1)
    changed(path / "0/.zarray", compressor={"id": "quantize"})
    assert "is packed with 'quantize', expected one of" in told(path)
    path = image(2)
    changed(path / "0/.zarray", filters=[{"id": "delta"}])
    assert "filters: found" in told(path)
    path = image(3)
    changed(path / "0/.zarray", dtype="<c8")
    assert "expected real numbers" in told(path)
    path = image(4, 3)
    changed(path / "0/zarr.json", codecs=[{"name": "vlen-utf8"}])
    assert "codecs: found 'vlen-utf8'" in told(path)
    path = image(5)
    (path / "0/.zarray").write_text("{")
    assert "is no JSON" in told(path)
    path = image(6)
    changed(path / ".zattrs", multiscales=[{"datasets": []}])
    assert "the description of the image is damaged" in told(path)
    path = image(7)
    changed(path / "0/.zarray", shape=[10**6, 10**6])
    assert "1000000 x 1000000 pixels, which take 1,000,000,000,000 bytes of memory" in told(path)
    path = image(8)
    changed(path / "0/.zarray", chunks=[8])
    assert "expected real numbers in chunks" in told(path)
    path = image(9)
    changed(path / ".zattrs", multiscales=[{"axes": ["y", "x"], "datasets": [{"path": "../8.zarr/0"}]}])
    assert "expected that of a folder below the image" in told(path)
    path = image(10)
    (path / ".zattrs").write_text("{{")
    assert "is no JSON" in told(path)
    assert find_images([path]) == [path]
    with pytest.raises(InputError, match="is a folder and no OME-Zarr image"):
        list(read_frames(tmp_path))
