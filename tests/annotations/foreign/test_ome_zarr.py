"""OME-Zarr labels of other programs: both formats of Zarr, what packs their chunks, what is refused."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from somaseg.annotations.read import read_annotations
from somaseg.errors import InputError
from somaseg.export.foreign.ome_zarr import zarr_file
from somaseg.export.image_result import ImageResult
from two_cells import cells

LABELS = np.zeros((30, 40), np.int32)
LABELS[1:9, 1:9], LABELS[15:25, 20:35] = 1, 7


@pytest.fixture
def ours(tmp_path):
    """The OME-Zarr of two cells, as we write it."""
    Image.new("L", (5, 4)).save(tmp_path / "a.png")
    exported = zarr_file(ImageResult(cells(), np.zeros((4, 5), np.uint8), "a.png"))
    exported.save(tmp_path / "a.ome.zarr/zarr.json")
    return tmp_path / "a.ome.zarr"


def written(folder, version=3, labels=LABELS, **options):
    """An OME-Zarr with labels alone, by the package zarr."""
    zarr = pytest.importorskip("zarr", reason="needs zarr")
    Image.new("L", (40, 30)).save(folder / "a.png")
    path = folder / "a.zarr"
    shutil.rmtree(path, ignore_errors=True)
    root = zarr.create_group(path, zarr_format=version)
    group = root.create_group("labels")
    image = group.create_group("nuclei")
    image.create_array("0", data=labels, **{"chunks": (*(1,) * (labels.ndim - 2), 16, 16), **options})
    multiscales = [{"version": "0.4", "datasets": [{"path": "0"}]}]
    for place, ome in ((group, {"labels": ["nuclei"]}), (image, {"multiscales": multiscales})):
        place.attrs.update(ome if version == 2 else {"ome": ome})
    return path


def areas(path):
    return read_annotations(path)[0].instances.area.tolist()


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("pack", [None, "gzip", "zstd", "blosc"])
def test_both_formats_and_what_packs_chunks(tmp_path, version, pack):
    zarr = pytest.importorskip("zarr", reason="needs zarr")
    numcodecs = pytest.importorskip("numcodecs")
    by_name = {
        2: {"gzip": numcodecs.GZip(), "zstd": numcodecs.Zstd(), "blosc": numcodecs.Blosc()},
        3: {"gzip": zarr.codecs.GzipCodec(), "zstd": zarr.codecs.ZstdCodec(checksum=True), "blosc": zarr.codecs.BloscCodec()},
    }
    assert areas(written(tmp_path, version, compressors=by_name[version].get(pack))) == [64, 150]
    assert read_annotations(tmp_path)[0].image == tmp_path / "a.png"


@pytest.mark.parametrize("dtype", ["uint8", "int64", ">u2"])
def test_types_and_axes_of_one_step(tmp_path, dtype):
    assert areas(written(tmp_path, 2, LABELS.astype(dtype)[None, None])) == [64, 150]


def test_from_the_image_from_labels_and_from_one_label_image(ours):
    for path in (ours, ours / "labels", ours / "labels/cells"):
        assert areas(path) == [4, 4]
    assert [read_annotations(ours)[0].instances.classes[i] for i in read_annotations(ours)[0].instances.labels] == ["cort", "shsy5y"]


def test_classes_only_where_all_cells_have_one(ours):
    file = ours / "labels/cells/zarr.json"
    document = json.loads(file.read_bytes())
    del document["attributes"]["ome"]["image-label"]["properties"][1]["class"]
    file.write_text(json.dumps(document))
    assert read_annotations(ours)[0].instances.classes == ("cell",)


@pytest.mark.parametrize(
    ("options", "labels", "reason"),
    [
        ({"shards": (32, 32)}, LABELS, "packed with .*sharding"),
        ({}, LABELS.astype(np.float32), "values of the type float32"),
        ({}, np.stack([LABELS] * 2), "expected one plane"),
    ],
)
def test_what_is_not_read_is_told(tmp_path, options, labels, reason):
    with pytest.raises(InputError, match=reason):
        read_annotations(written(tmp_path, labels=labels, **options))


def test_several_labels_none_and_a_path_that_leads_elsewhere(ours):
    file = ours / "labels/zarr.json"
    whole = file.read_text()
    for names, reason in (
        (["cells", "b"], r"holds several labels, cells, b: give one of them"),
        ([], "holds no labels"),
        (["../../x"], "expected one inside"),
    ):
        file.write_text(whole.replace('["cells"]', json.dumps(names)))
        with pytest.raises(InputError, match=reason):
            read_annotations(ours)
    file.unlink()
    with pytest.raises(InputError, match="holds no labels"):
        read_annotations(ours)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("shape", [10**6, 10**6]),
        ("shape", [4]),
        ("shape", "x"),
        ("shape", [0, 5]),
        ("data_type", "object"),
        ("codecs", []),
        ("codecs", [3]),
        ("fill_value", None),
        ("fill_value", 10**30),
        ("chunk_grid", {}),
        ("chunk_grid", {"name": "regular", "configuration": {"chunk_shape": [10**9, 10**9]}}),
    ],
)
def test_odd_metadata_are_input_errors(ours, field, value):
    file = ours / "labels/cells/0/zarr.json"
    file.write_text(json.dumps({**json.loads(file.read_bytes()), field: value}))
    with pytest.raises(InputError, match=r"zarr\.json"):
        read_annotations(ours)


@pytest.mark.parametrize("junk", [b"", b"junk", bytes(100)])
def test_a_damaged_chunk_is_told(ours, junk):
    (ours / "labels/cells/0/c/0/0").write_bytes(junk)
    with pytest.raises(InputError, match="c/0/0: cannot be unpacked"):
        read_annotations(ours)


def test_a_chunk_that_is_not_there_is_background(ours):
    (ours / "labels/cells/0/c/0/0").unlink()
    assert areas(ours) == []
