import io
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from somaseg.batch.saved.prediction_file import (
    FIELDS,
    Origin,
    SavedPrediction,
    load_origin,
    load_prediction,
    paired_files,
    prediction_files,
    save_prediction,
)
from somaseg.errors import InputError
from somaseg.files import write_whole
from somaseg.instances import Prediction

ORIGIN = Origin(
    file="/images/a b.tif",
    sha256="ab12",
    page=3,
    pixel_size=0.65,
    classes=("round", "long, µ"),
    weights="default",
    weights_sha256="cd34",
    model={"detect": {"scale": 1.5}},
    tta={"flips": ["none"]},
    postprocess={"nms_iou": 0.3},
    somaseg="0.1.0",
    warnings=("detections reached their cap of 9",),
    seconds=1.25,
)


def prediction(count: int = 3, grid: int = 28, seed: int = 0) -> Prediction:
    random = np.random.default_rng(seed)
    return Prediction(
        size=(48, 64),
        boxes=random.normal(20, 10, (count, 4)).astype(np.float32),
        scores=random.random(count, np.float32),
        labels=random.integers(0, 2, count),
        mask_probs=random.random((count, grid, grid)).astype(np.float16),
        classes=ORIGIN.classes,
    )


@pytest.fixture
def path(tmp_path) -> Path:
    path = tmp_path / "cell.v1.npz"
    save_prediction(path, SavedPrediction(prediction(), ORIGIN))
    return path


def change(path: Path, **arrays) -> None:
    """Put other arrays into a file; None leaves one out."""
    with np.load(path) as file:
        fields = {**file, **arrays}
    np.savez(path, **{name: array for name, array in fields.items() if array is not None})


def changed_origin(**fields) -> np.ndarray:
    told = {**json.loads(ORIGIN.model_dump_json()), **fields}
    return np.frombuffer(json.dumps({k: v for k, v in told.items() if v != "left out"}).encode(), np.uint8)


@given(count=st.integers(0, 20), grid=st.sampled_from([1, 14, 28]), seed=st.integers(0, 99))
def test_what_is_saved_is_read_to_the_bit(tmp_path_factory, count, grid, seed):
    path = tmp_path_factory.mktemp("saved") / "x.npz"
    found = prediction(count, grid, seed)
    save_prediction(path, SavedPrediction(found, ORIGIN))
    saved = load_prediction(path)
    assert saved.origin == load_origin(path) == ORIGIN
    assert (saved.prediction.size, saved.prediction.classes) == (found.size, found.classes)
    for name in ("boxes", "scores", "labels", "mask_probs"):
        was, now = getattr(found, name), getattr(saved.prediction, name)
        assert now.dtype == was.dtype
        np.testing.assert_array_equal(now, was)


def test_a_file_is_plain_numpy(path):
    with np.load(path, allow_pickle=False) as file:
        assert set(file) == {"format", "origin", *FIELDS}
        assert file["format"] == 1
        assert json.loads(file["origin"].tobytes())["file"] == "/images/a b.tif"
    with zipfile.ZipFile(path) as archive:
        assert {entry.compress_type for entry in archive.infolist()} == {zipfile.ZIP_STORED}


def test_a_kill_while_writing_leaves_the_old_file(path, monkeypatch):
    def killed(file: Path, data: bytes) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "write_bytes", killed)
    with pytest.raises(KeyboardInterrupt):
        save_prediction(path, SavedPrediction(prediction(5), ORIGIN))
    assert len(load_prediction(path).prediction) == 3


@pytest.mark.parametrize("part", [0, 3, 100, 0.5, 0.99])
def test_a_file_that_was_cut_off_is_named(path, part):
    data = path.read_bytes()
    path.write_bytes(data[: part if isinstance(part, int) else int(part * len(data))])
    for read in (load_prediction, load_origin):
        with pytest.raises(InputError, match=r"cell\.v1\.npz: is no prediction of somaseg, or damaged"):
            read(path)


def test_a_flipped_bit_is_found(path):
    data = bytearray(path.read_bytes())
    data[data.index(b"mask_probs.npy") + 500] ^= 1
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"cell\.v1\.npz: mask_probs: cannot be read \(Bad CRC"):
        load_prediction(path)


@pytest.mark.parametrize("name", ["format", "origin", *FIELDS])
def test_a_missing_array_is_named(path, name):
    change(path, **{name: None})
    with pytest.raises(InputError, match=rf"cell\.v1\.npz: {name}: is missing"):
        load_prediction(path)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"format": np.int64(2)}, "format: found version 2, this somaseg reads up to 1: update somaseg"),
        ({"format": np.array("one")}, "format: found .*expected a version number"),
        ({"format": np.int64(0)}, "format: found .*expected a version number"),
        ({"boxes": np.zeros((3, 5), np.float32)}, r"boxes: found float32 \(3, 5\), expected float32 \(3, 4\)"),
        ({"boxes": np.float32(1)}, r"boxes: found float32 \(\), expected float32 \(0, 4\)"),
        ({"scores": np.zeros(2, np.float32)}, r"scores: found float32 \(2,\), expected float32 \(3\)"),
        ({"labels": np.zeros(3, np.float32)}, r"labels: found float32 \(3,\), expected int64 \(3\)"),
        ({"mask_probs": np.zeros((3, 28, 28))}, r"mask_probs: found float64 \(3, 28, 28\), expected float16 \(3, any, any\)"),
        ({"size": np.array([-1, 5])}, "size: found -1, expected 0 or more"),
        ({"boxes": np.full((3, 4), np.nan, np.float32)}, "boxes: found nan, expected finite numbers"),
        ({"scores": np.array([0, 1, 1.5], np.float32)}, r"scores: found 1\.5, expected 0 to 1"),
        ({"scores": np.array([0, 1, np.nan], np.float32)}, "scores: found nan, expected 0 to 1"),
        ({"labels": np.array([0, 1, 2])}, "labels: found 2, expected 0 to 1, one of the classes"),
        ({"labels": np.array([0, 1, -1])}, "labels: found -1, expected 0 to 1"),
        ({"mask_probs": np.full((3, 28, 28), 1.001, np.float16)}, r"mask_probs: found 1\.0009765625, expected 0 to 1"),
        ({"mask_probs": np.full((3, 28, 28), -0.5, np.float16)}, r"mask_probs: found -0\.5, expected 0 to 1"),
        ({"mask_probs": np.full((3, 28, 28), np.nan, np.float16)}, "mask_probs: found nan, expected 0 to 1"),
        ({"origin": np.frombuffer(b"{", np.uint8)}, "origin: Invalid JSON"),
        ({"origin": changed_origin(page="three")}, "origin.page: Input should be a valid integer"),
        ({"origin": changed_origin(weights_sha256="left out")}, "origin.weights_sha256: Field required"),
        ({"origin": changed_origin(colour="red")}, "origin.colour: Extra inputs are not permitted"),
    ],
)
def test_a_wrong_field_is_named(path, arrays, message):
    change(path, **arrays)
    with pytest.raises(InputError, match=rf"cell\.v1\.npz: {message}"):
        load_prediction(path)


def test_a_negative_zero_is_a_probability(path):
    change(path, mask_probs=np.full((3, 28, 28), -0.0, np.float16))
    assert not load_prediction(path).prediction.mask_probs.any()


@pytest.mark.parametrize("name", ["format", "origin", "boxes"])
def test_a_pickle_is_never_opened(path, name):
    class Trap:
        def __reduce__(self):
            return pytest.fail, ("a pickle was opened",)

    with np.load(path) as file:
        fields = {**file, name: np.array([Trap()], object)}
    np.savez(path, **fields)
    with pytest.raises(InputError, match=rf"cell\.v1\.npz: {name}: cannot be read \(Object arrays cannot be loaded"):
        load_prediction(path)


def test_an_array_of_an_absurd_shape_is_refused(path):
    buffer = io.BytesIO()
    header = {"descr": "<f2", "fortran_order": False, "shape": (1 << 40, 28, 28)}
    np.lib.format.write_array_header_2_0(buffer, header)
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in (entries | {"mask_probs.npy": buffer.getvalue()}).items():
            archive.writestr(name, data)
    with pytest.raises(InputError, match=r"cell\.v1\.npz: mask_probs: cannot be read"):
        load_prediction(path)


@pytest.mark.parametrize("write", ["array", "text", "other archive", "nothing"])
def test_a_foreign_file_is_refused(tmp_path, write):
    path = tmp_path / "x.npz"
    if write == "array":
        buffer = io.BytesIO()
        np.save(buffer, np.zeros(3))
        path.write_bytes(buffer.getvalue())
    elif write == "text":
        path.write_text("not an archive")
    elif write == "other archive":
        np.savez(path, masks=np.zeros(3))
    expected = {"other archive": "format: is missing", "nothing": "no such file"}.get(write, "is no prediction of somaseg")
    with pytest.raises(InputError, match=rf"x\.npz: {expected}"):
        load_prediction(path)


def test_a_key_tells_what_changes_a_prediction():
    assert ORIGIN.model_copy(update={"seconds": 9.0, "file": "/elsewhere.png", "page": 0}).key() == ORIGIN.key()
    for other in ({"sha256": "x"}, {"weights_sha256": "x"}, {"tta": {}}, {"somaseg": "0.2"}):
        assert ORIGIN.model_copy(update=other).key() != ORIGIN.key()


def test_folders_pair_by_name_in_the_order_of_the_folders(tmp_path):
    for folder in ("second", "first"):
        for name in ("b", "a.c"):
            write_whole(tmp_path / folder / f"{name}.npz", b"not read")
        write_whole(tmp_path / folder / "run.json", b"")
        write_whole(tmp_path / folder / ".b.npz.part", b"")
        write_whole(tmp_path / folder / ".hidden.npz", b"")
    second, first = tmp_path / "second", tmp_path / "first"
    assert prediction_files(first) == {"a.c": first / "a.c.npz", "b": first / "b.npz"}
    assert paired_files([second, first]) == {name: (second / f"{name}.npz", first / f"{name}.npz") for name in ("a.c", "b")}


def test_what_a_folder_lacks_is_told(tmp_path):
    for folder, names in {"one": "abcdefg", "two": "abxyz", "three": "abcdefgxyz"}.items():
        for name in names:
            write_whole(tmp_path / folder / f"{name}.npz", b"")
    with pytest.raises(InputError, match=r"one lacks x, y, z; \S*two lacks c, d, e, f, g: predict the same images with every model"):
        paired_files([tmp_path / name for name in ("one", "two", "three")])
    write_whole(tmp_path / "three" / "h.npz", b"")
    with pytest.raises(InputError, match=r"two lacks c, d, e, f, g and 1 more: predict"):
        paired_files([tmp_path / "two", tmp_path / "three"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="empty: holds no prediction"):
        paired_files([tmp_path / "one", tmp_path / "empty"])
    with pytest.raises(InputError, match="gone: no such folder"):
        prediction_files(tmp_path / "gone")


def bomb(path: Path, **entries: bytes) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in entries.items():
            archive.writestr(f"{name}.npy", data)
    return path


def header(shape: str, descr: str = "'<f4'") -> bytes:
    text = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text


def number(value: int) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.int64(value))
    return buffer.getvalue()


def test_an_archive_that_unpacks_to_gigabytes_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("SOMASEG_MAX_BYTES", "1_000_000")
    path = bomb(tmp_path / "a.npz", format=number(1), origin=bytes(2_000_000))
    with pytest.raises(InputError, match=r"a\.npz: holds 2,000,1\d\d bytes when unpacked.*SOMASEG_MAX_BYTES"):
        load_origin(path)


@pytest.mark.parametrize(
    "data",
    [
        header("(100000000000,)"),
        header("(-5,)"),
        header("(4, 4)", "'O'"),
        header("((" * 500 + "))" * 500),
        header("(1,", "'<f4'"),
        header("(9" + "9" * 5000 + ",)"),
        b"\x93NUMPY\x09\x00",
        b"",
        b"\x93NUMPY\x01\x00\xff\xff{",
    ],
)
def test_a_header_that_claims_what_is_not_there(tmp_path, data):
    path = bomb(tmp_path / "a.npz", format=number(1), origin=data)
    with pytest.raises(InputError, match=r"a\.npz: origin"):
        load_origin(path)


def test_a_giant_image_is_refused(tmp_path):
    with np.errstate(all="ignore"):
        saved = SavedPrediction(prediction(), ORIGIN)
    object.__setattr__(saved.prediction, "size", (10**6, 10**6))
    save_prediction(tmp_path / "a.npz", saved)
    with pytest.raises(InputError, match="SOMASEG_MAX_PIXELS"):
        load_prediction(tmp_path / "a.npz")
