"""Label images for other programs: exact where cells share no pixels, with the loss told where they do, and read back with classes."""

import io

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from somaseg.annotations.label_image import read_labels
from somaseg.annotations.read import read_annotations
from somaseg.errors import OutputError
from somaseg.export.formats import FORMATS
from somaseg.export.image_result import Exported, ImageResult
from somaseg.images.read import read_image
from somaseg.instances import Instances
from two_cells import CLASSES, TWO, cells

NAMES = ["cellpose", "cellpose-masks", "ome-tiff", "ome-zarr"]
KEEP_CLASSES = ["cellpose", "ome-zarr"]
GREY = np.arange(20, dtype=np.uint16).reshape(4, 5) * 1000


def written(folder, name, instances, image=None, **told):
    """The file, or folder, of a format, beside its image."""
    grey = np.zeros(instances.size, np.uint8) if image is None else image
    Image.fromarray(np.zeros(instances.size, np.uint8)).save(folder / "a.png")
    exported = FORMATS[name].export(ImageResult(instances, grey, "a.png", **told))
    path = folder / f"a{FORMATS[name].suffix}"
    exported.save(path)
    return (path.parent if name == "ome-zarr" else path), exported


@pytest.mark.parametrize("name", NAMES)
def test_cells_come_back_and_the_loss_is_told(tmp_path, name):
    path, exported = written(tmp_path, name, cells())
    assert exported.pixels_lost == 1
    for source in (path, tmp_path):
        (sample,) = read_annotations(source)
        assert (sample.name, sample.image) == ("a", tmp_path / "a.png")
        assert np.array_equal(sample.instances.to_masks(), cells(overlapping=False).to_masks())
        names = [sample.instances.classes[label] for label in sample.instances.labels]
        assert names == (["cort", "shsy5y"] if name in KEEP_CLASSES else ["cell", "cell"])


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_any_label_image_comes_back(tmp_path_factory, name, seed):
    labels = np.random.default_rng(seed).integers(0, 9, (7, 8))
    there = Instances.from_label_image(labels, CLASSES)
    path, _ = written(tmp_path_factory.mktemp("labels"), name, there)
    back = read_annotations(path)[0].instances
    assert np.array_equal(back.to_label_image()[0], there.to_label_image()[0])


@pytest.mark.parametrize("name", NAMES)
def test_no_cell(tmp_path, name):
    assert len(read_annotations(written(tmp_path, name, Instances.empty((4, 5), CLASSES))[0])[0].instances) == 0


@pytest.fixture(scope="module")
def many():
    return np.arange(1, 256 * 260 + 1, dtype=np.uint32).reshape(256, 260)


@pytest.fixture(scope="module")
def many_cells(many):
    return Instances.from_label_image(many, ("cell",))


@pytest.mark.parametrize("name", NAMES)
def test_more_cells_than_16_bits_hold(tmp_path, name, many, many_cells):
    path, _ = written(tmp_path, name, many_cells)
    assert np.array_equal(read_labels(path)[0], many)


@pytest.mark.parametrize("name", KEEP_CLASSES)
@pytest.mark.parametrize("hostile", ["=1+2", "a/b", "ü 😀", "a\nb", "</x>", "a" * 300])
def test_hostile_class_names_come_back(tmp_path, name, hostile):
    path, _ = written(tmp_path, name, Instances.from_masks(cells(overlapping=False).to_masks(), (hostile, "b"), [0, 1]))
    assert read_annotations(path)[0].instances.classes == (hostile, "b")


@pytest.mark.parametrize("hostile", ["a\nb\0", "</OME>", "]]>", "a\udcff", "ü"])
def test_ome_tiffs_with_hostile_names_are_xml(tmp_path, hostile):
    path, _ = written(tmp_path, "ome-tiff", Instances.from_masks(TWO, (hostile,)), pixel_size=0.5)
    with tifffile.TiffFile(path) as tif:
        assert tif.is_ome
        described = tifffile.xml2dict(tif.ome_metadata)["OME"]
    assert described["Image"]["Pixels"]["PhysicalSizeX"] == 0.5
    keys = {entry["K"] for entry in described["StructuredAnnotations"]["MapAnnotation"]["Value"]["M"]}
    assert {"class 1", "class 2", "score 1", "score 2"} <= keys
    assert read_image(path).pixel_size == 0.5


def test_what_cellpose_reads_of_its_file():
    data = FORMATS["cellpose"].export(ImageResult(cells(), None, "a.png")).data
    found = np.load(io.BytesIO(data), allow_pickle=True).item()
    assert found["masks"].dtype == np.uint16
    assert found["masks"].max() == len(found["ismanual"]) == len(found["colors"]) == 2
    assert found["outlines"].shape == found["masks"].shape
    assert set(np.unique(found["outlines"])) <= {0, 1, 2}
    assert ((found["outlines"] == 0) | (found["outlines"] == found["masks"])).all()
    assert (found["filename"], found["chan_choose"], found["flows"]) == ("a.png", [0, 0], [])
    assert 1 < found["est_diam"] < 4


def test_the_outline_of_a_large_cell_is_its_rim():
    block = Instances.build((9, 9), [((1, 1, 8, 8), np.ones((7, 7), bool))], ("cell",))
    data = FORMATS["cellpose"].export(ImageResult(block, None, "a.png")).data
    found = np.load(io.BytesIO(data), allow_pickle=True).item()
    assert (found["outlines"] > 0).sum() == 24


def test_the_masks_of_cellpose_are_a_plain_tiff(tmp_path):
    path, _ = written(tmp_path, "cellpose-masks", cells())
    assert tifffile.imread(path).tolist() == [[1, 1, 0, 0, 0], [1, 1, 2, 0, 0], [0, 2, 2, 2, 0], [0, 0, 0, 0, 0]]


@pytest.mark.parametrize("image", [GREY, np.stack([GREY // 200] * 3, axis=-1).astype(np.uint8), GREY / 7, GREY > 5, GREY.astype(">i2")])
def test_the_zarr_package_reads_image_and_labels(tmp_path, image):
    zarr = pytest.importorskip("zarr", reason="needs zarr")
    path, _ = written(tmp_path, "ome-zarr", cells(), image, pixel_size=0.5)
    group = zarr.open_group(path, mode="r")
    assert np.array_equal(group["0"][:], np.moveaxis(image, -1, 0) if image.ndim == 3 else image)
    assert group.attrs["ome"]["version"] == "0.5"
    axes = group.attrs["ome"]["multiscales"][0]["axes"]
    assert [axis["name"] for axis in axes] == (["c", "y", "x"] if image.ndim == 3 else ["y", "x"])
    assert group.attrs["ome"]["multiscales"][0]["datasets"][0]["coordinateTransformations"][0]["scale"][-2:] == [0.5, 0.5]
    assert group["labels"].attrs["ome"]["labels"] == ["cells"]
    label = group["labels/cells"]
    assert label["0"][:].tolist() == [[1, 1, 0, 0, 0], [1, 1, 2, 0, 0], [0, 2, 2, 2, 0], [0, 0, 0, 0, 0]]
    assert label.attrs["ome"]["image-label"]["properties"][0] == {"label-value": 1, "class": "cort", "score": 0.75}
    assert label.attrs["ome"]["image-label"]["source"] == {"image": "../../"}


def test_a_zarr_of_several_chunks(tmp_path):
    labels = np.zeros((1030, 2050), np.uint32)
    labels[1000:1030, 1000:1040], labels[5, 2049] = 1, 2
    path, exported = written(tmp_path, "ome-zarr", Instances.from_label_image(labels, CLASSES))
    assert sum("/c/" in name for name in exported.beside) == 12
    assert read_annotations(path)[0].instances.area.tolist() == [30 * 40, 1]


def test_the_file_itself_comes_last(tmp_path):
    (tmp_path / "a").mkdir()
    with pytest.raises(OutputError):
        Exported(b"1", beside={"x/y": b"2"}).save(tmp_path / "a")
    assert (tmp_path / "x/y").read_bytes() == b"2"


@pytest.mark.parametrize("data", [b"1", lambda file: file.write(b"1") - 1])
def test_files_that_were_changed_differ(tmp_path, data):
    exported = Exported(data, beside={"x/y": b"2"})
    assert not exported.differs(tmp_path / "a")
    exported.save(tmp_path / "a")
    assert not exported.differs(tmp_path / "a")
    for file in ("a", "x/y"):
        (tmp_path / file).write_bytes(b"3")
        assert exported.differs(tmp_path / "a")
        exported.save(tmp_path / "a")
