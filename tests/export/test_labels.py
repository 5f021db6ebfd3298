import io
import tracemalloc

import numpy as np
import pytest
import tifffile

from somaseg.annotations.read import read_annotations
from somaseg.export import labels as module
from somaseg.export.labels import label_tiff
from somaseg.files import write_whole
from somaseg.instances import Instances
from two_cells import CLASSES, cells


def test_label_tiff_reads_back_and_counts_lost_pixels(tmp_path):
    data, lost, _ = label_tiff(cells())
    assert lost == 1
    path = tmp_path / "labels" / "x_labels.tif"
    write_whole(path, data)
    labels = tifffile.imread(path)
    assert labels.dtype == np.uint16
    assert labels.tolist() == [[1, 1, 0, 0, 0], [1, 1, 2, 0, 0], [0, 2, 2, 2, 0], [0, 0, 0, 0, 0]]
    back = read_annotations(path)[0].instances
    assert back.classes == CLASSES
    assert back.labels.tolist() == [2, 0]


def test_label_tiff_widens_beyond_65535_cells():
    size = (256, 257)
    boxes = np.stack(np.meshgrid(np.arange(257), np.arange(256)), axis=-1).reshape(-1, 2)[:65536]
    pixel = np.ones((1, 1), bool)
    many = Instances.build(size, [((x, y, x + 1, y + 1), pixel) for x, y in boxes.tolist()], ("cell",))
    for one, dtype in ((many[:65535], np.uint16), (many, np.uint32)):
        data, lost, _ = label_tiff(one)
        labels = tifffile.imread(io.BytesIO(data))
        assert lost == 0
        assert labels.dtype == dtype
        assert labels.max() == len(one)


def test_label_tiff_is_compressed():
    data, _, _ = label_tiff(Instances.empty((500, 500), ("cell",)))
    assert len(data) < 5000


@pytest.mark.parametrize("size", [(100, 130), (32, 48), (20, 400)])
def test_tiles_hold_what_the_whole_holds(tmp_path, monkeypatch, size):
    rng = np.random.default_rng(0)
    crops = []
    for _ in range(60):
        height, width = rng.integers(1, 40, 2).clip(max=size)
        y, x = rng.integers(0, np.array(size) - (height, width) + 1)
        crops.append(((x, y, x + width, y + height), rng.random((height, width)) > 0.3))
    many = Instances.build(size, [*crops, ((0, 0, 0, 0), np.zeros((0, 0), bool))], ("a", "b"), rng.integers(0, 2, 61))
    whole = label_tiff(many, name="x").save(tmp_path / "whole.tif")
    monkeypatch.setattr(module, "WHOLE_PIXELS", 0)
    monkeypatch.setattr(module, "TILE", (32, 48))
    tiled = label_tiff(many, name="x").save(tmp_path / "tiled.tif")
    assert tiled.pixels_lost == whole.pixels_lost > 0
    assert tiled.size == (tmp_path / "tiled.tif").stat().st_size
    with tifffile.TiffFile(tmp_path / "tiled.tif") as file:
        assert file.pages.first.is_tiled
        assert not file.is_bigtiff
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "tiled.tif"), tifffile.imread(tmp_path / "whole.tif"))
    one, other = (read_annotations(tmp_path / name)[0] for name in ("tiled.tif", "whole.tif"))
    assert one.instances.labels.tolist() == other.instances.labels.tolist()
    monkeypatch.setattr(module, "CLASSIC_BYTES", 100)
    label_tiff(many).save(tmp_path / "big.tif")
    with tifffile.TiffFile(tmp_path / "big.tif") as file:
        assert file.is_bigtiff
        np.testing.assert_array_equal(file.asarray(), tifffile.imread(tmp_path / "whole.tif"))


def test_a_large_label_image_is_never_in_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "TILE", (256, 256))
    size = (1024, 2**15)  # 64 MB of 16 bits
    crop = np.ones((3, 30), bool)
    few = Instances.build(size, [((x, y, x + 30, y + 3), crop) for y in range(0, 1000, 250) for x in range(0, 32000, 1000)], ("cell",))
    tracemalloc.start()
    label_tiff(few).save(tmp_path / "x.tif")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 6e6
    labels = tifffile.imread(tmp_path / "x.tif")
    assert labels.shape == size
    assert (np.bincount(labels.ravel())[1:] == 90).all()
