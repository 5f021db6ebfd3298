from pathlib import Path
from typing import Any

import imageio.v3 as iio
import numpy as np
import pytest
import tifffile
from PIL import Image

from somaseg.errors import InputError
from somaseg.images.read import find_images, frame_name, read_frames, read_image


def write_tiff(path: Path, shape: tuple[int, ...], dtype: Any = np.uint16, **options: Any) -> np.ndarray:
    array = np.arange(np.prod(shape)).reshape(shape).astype(dtype)
    tifffile.imwrite(path, array, **options)
    return array


def touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x")
    return path


def test_finds_files_folders_and_globs_each_once_and_sorted(tmp_path: Path) -> None:
    b, a, c = touch(tmp_path / "b.png"), touch(tmp_path / "deep/er/a.TIF"), touch(tmp_path / "deep/c.jpeg")
    for other in ("notes.txt", ".hidden.png", ".cache/x.png", "deep/._a.tif"):
        touch(tmp_path / other)
    assert find_images([tmp_path]) == [b, c, a]
    assert find_images([str(tmp_path / "*.png"), b, tmp_path / "**/*.TIF"]) == [b, a]


def test_finds_globs_relative_to_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path / "b.png")
    monkeypatch.chdir(tmp_path)
    assert find_images(["*.png"]) == [Path("b.png")]


@pytest.mark.parametrize("name", ["nothing", "no*.png", "empty", "notes.txt"])
def test_a_path_without_images_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    touch(tmp_path / "notes.txt")
    with pytest.raises(InputError, match=name.replace("*", r"\*")):
        find_images([tmp_path / name])


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.uint32, np.int16, np.float32, np.float64])
def test_tiff_keeps_the_numbers_of_the_file(tmp_path: Path, dtype: Any) -> None:
    array = write_tiff(tmp_path / "x.tif", (6, 7), dtype)
    frame = read_image(tmp_path / "x.tif")
    assert (frame.page, frame.name, frame.array.dtype) == (None, "x", dtype)
    np.testing.assert_array_equal(frame.array, array)


@pytest.mark.parametrize(
    ("shape", "options", "frames", "frame_shape"),
    [
        ((5, 20, 30), {}, 5, (20, 30)),
        ((5, 20, 30), {"metadata": None}, 5, (20, 30)),
        ((5, 20, 30), {"imagej": True, "metadata": {"axes": "ZYX"}}, 5, (20, 30)),
        ((20, 30, 2), {}, 1, (20, 30, 2)),
        ((20, 30, 3), {"photometric": "rgb"}, 1, (20, 30, 3)),
        ((3, 20, 30), {"photometric": "rgb", "planarconfig": "separate"}, 1, (20, 30, 3)),
        ((2, 20, 30), {"imagej": True, "metadata": {"axes": "CYX"}}, 1, (20, 30, 2)),
        ((4, 2, 20, 30), {"ome": True, "metadata": {"axes": "TCYX"}}, 4, (20, 30, 2)),
        ((2, 4, 20, 30), {"ome": True, "metadata": {"axes": "CTYX"}}, 4, (20, 30, 2)),
        ((6, 20, 30, 3), {"photometric": "rgb"}, 6, (20, 30, 3)),
        ((5, 32, 32), {"volumetric": True, "tile": (16, 16, 16)}, 5, (32, 32)),
        ((1, 1), {}, 1, (1, 1)),
    ],
)
def test_frames_and_channels_follow_the_axes(
    tmp_path: Path, shape: tuple[int, ...], options: dict[str, Any], frames: int, frame_shape: tuple[int, ...]
) -> None:
    array = write_tiff(tmp_path / "x.tif", shape, **options)
    found = list(read_frames(tmp_path / "x.tif"))
    assert [f.array.shape for f in found] == [frame_shape] * frames
    assert [f.page for f in found] == ([None] if frames == 1 else list(range(frames)))
    # The first pixel of a frame is the first of its channel in the file, whatever the order of axes.
    channels_first = {(2, 20, 30): 0, (3, 20, 30): 0, (4, 2, 20, 30): 1, (2, 4, 20, 30): 0}
    expected = np.moveaxis(array, channels_first[shape], -1) if shape in channels_first and len(frame_shape) == 3 else array
    np.testing.assert_array_equal(np.stack([f.array for f in found]).squeeze(), expected.squeeze())


def test_a_stack_is_read_page_by_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_tiff(tmp_path / "stack.tif", (20, 8, 8))
    read: list[int] = []
    original = tifffile.TiffPage.asarray

    def counting(page: tifffile.TiffPage, **options: Any) -> np.ndarray:
        read.append(page.index)
        return original(page, **options)

    monkeypatch.setattr(tifffile.TiffPage, "asarray", counting)
    frames = read_frames(tmp_path / "stack.tif")
    assert next(frames).name == "stack_p000"
    assert len(read) <= 1
    frames.close()


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"ome": True, "metadata": {"axes": "YX", "PhysicalSizeX": 0.65, "PhysicalSizeXUnit": "µm"}}, 0.65),
        ({"ome": True, "metadata": {"axes": "YX", "PhysicalSizeX": 650, "PhysicalSizeXUnit": "nm"}}, 0.65),
        ({"ome": True, "metadata": {"axes": "YX"}}, None),
        ({"imagej": True, "resolution": (4, 4), "metadata": {"unit": "um"}}, 0.25),
        ({"imagej": True, "resolution": (4, 4), "metadata": {"unit": "\\u00B5m"}}, 0.25),
        ({"resolution": (72, 72), "resolutionunit": "INCH"}, None),
    ],
)
def test_pixel_size(tmp_path: Path, options: dict[str, Any], expected: float | None) -> None:
    write_tiff(tmp_path / "x.ome.tif", (6, 7), **options)
    frame = read_image(tmp_path / "x.ome.tif")
    assert frame.pixel_size == (None if expected is None else pytest.approx(expected))
    assert frame.name == "x"


def test_compressed_tiff_needs_no_further_package(tmp_path: Path) -> None:
    array = np.arange(600, dtype=np.uint16).reshape(20, 30)
    pages = [Image.fromarray(array + n) for n in range(3)]
    pages[0].save(tmp_path / "x.tif", compression="tiff_lzw", save_all=True, append_images=pages[1:])
    np.testing.assert_array_equal([f.array for f in read_frames(tmp_path / "x.tif")], [array, array + 1, array + 2])


@pytest.mark.parametrize(("mode", "channels"), [("L", ()), ("RGB", (3,)), ("RGBA", (4,)), ("LA", (2,))])
def test_png_modes(tmp_path: Path, mode: str, channels: tuple[int, ...]) -> None:
    Image.new(mode, (5, 4)).save(tmp_path / "x.png")
    array = read_image(tmp_path / "x.png").array
    assert (array.shape, array.dtype) == ((4, 5, *channels), np.uint8)


def test_png_of_16_bits_and_of_one_bit(tmp_path: Path) -> None:
    deep = np.array([[0, 65535], [300, 7]], np.uint16)
    iio.imwrite(tmp_path / "deep.png", deep)
    np.testing.assert_array_equal(read_image(tmp_path / "deep.png").array, deep)
    Image.fromarray(np.array([[True, False]])).save(tmp_path / "bit.png")
    assert read_image(tmp_path / "bit.png").array.dtype == np.uint8


def test_png_with_a_palette_becomes_colours(tmp_path: Path) -> None:
    colours = np.array([[[10, 20, 30], [200, 0, 7]], [[200, 0, 7], [10, 20, 30]]], np.uint8)
    Image.fromarray(colours).quantize(4).save(tmp_path / "x.png")
    np.testing.assert_array_equal(read_image(tmp_path / "x.png").array, colours)


@pytest.mark.parametrize(("mode", "channels"), [("L", ()), ("RGB", (3,))])
def test_jpeg_modes(tmp_path: Path, mode: str, channels: tuple[int, ...]) -> None:
    Image.new(mode, (5, 4), 128 if mode == "L" else (128, 128, 128)).save(tmp_path / "x.jpg")
    array = read_image(tmp_path / "x.jpg").array
    assert (array.shape, array.dtype) == ((4, 5, *channels), np.uint8)
    assert np.abs(array.astype(int) - 128).max() <= 2


@pytest.mark.parametrize("name", ["x.png", "x.jpg"])
@pytest.mark.parametrize("content", [b"junk", bytes(132) + b"DICM", b"<svg></svg>"])
def test_junk_goes_to_no_other_reader(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=name):  # a reader of another format would warn of itself, which fails the test
        read_image(tmp_path / name)


@pytest.mark.parametrize("name", ["x.png", "x.jpg", "x.tif"])
@pytest.mark.parametrize("keep", [0, 20, 0.5])
def test_damaged_files_are_named(tmp_path: Path, name: str, keep: float) -> None:
    path = tmp_path / name
    rng = np.random.default_rng(0)
    iio.imwrite(path, rng.integers(0, 255, (64, 64), np.uint8))
    data = path.read_bytes()
    path.write_bytes(data[: int(keep * len(data)) if isinstance(keep, float) else keep])
    with pytest.raises(InputError, match=name):
        list(read_frames(path))


def test_missing_file_and_stack_where_one_image_is_wanted(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.png"):
        read_image(tmp_path / "none.png")
    write_tiff(tmp_path / "stack.tif", (5, 8, 8))
    with pytest.raises(InputError, match="several frames"):
        read_image(tmp_path / "stack.tif")
    tifffile.imwrite(tmp_path / "complex.tif", np.zeros((4, 4), np.complex64))
    with pytest.raises(InputError, match="complex64"):
        read_image(tmp_path / "complex.tif")


def test_frame_name() -> None:
    assert frame_name(Path("a/b.ome.tif"), None) == "b"
    assert frame_name(Path("a/b.tif"), 3) == "b_p003"
