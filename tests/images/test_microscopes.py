"""The part that is ours on a stand-in for bioio; CZI and LIF through bioio itself where the extra is installed."""

import struct
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from somaseg.errors import InputError, MissingExtraError
from somaseg.images.microscopes import MICROSCOPE_SUFFIXES
from somaseg.images.read import find_images, read_frames, read_image
from somaseg.images.regions import lazy
from somaseg.images.regions.lazy import LazyImage

Install = Callable[..., list[dict[str, int]]]


def numbers(*shape: int, dtype: Any = np.uint16) -> np.ndarray:
    return np.arange(np.prod(shape)).reshape(shape).astype(dtype)


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> Install:
    """Puts a stand-in in the place of bioio: every file holds the `scenes` given; what is read of them is listed."""

    def install(scenes: Sequence[np.ndarray], axes: str = "TCZYX", edges: Sequence[float | None] = (0.5,), further: str = "") -> list[Any]:
        read: list[dict[str, int]] = []

        class Image:
            def __init__(self, path: Path, reader: str, **options: Any) -> None:
                self.scenes = tuple(f"P{n}" for n in range(len(scenes)))
                assert (reader, options) == {
                    ".czi": ("Reader of bioio_czi", {"chunk_dims": "YXSA"}),
                    ".lif": ("Reader of bioio_lif", {"chunk_dims": "YXS"}),
                    ".nd2": ("Reader of bioio_nd2", {}),
                }[path.suffix]

            def set_scene(self, number: int) -> None:
                self.array = scenes[number]
                self.dims = SimpleNamespace(order=axes, shape=self.array.shape)
                more = SimpleNamespace(order=axes + further, shape=self.array.shape + (2,) * len(further))
                self.reader = SimpleNamespace(dims=more)
                edge = edges[number % len(edges)]
                self.physical_pixel_sizes = SimpleNamespace(Z=None, Y=edge, X=edge)

            def get_image_dask_data(self, order: str, **steps: int) -> SimpleNamespace:
                left = [axis for axis in axes if axis not in steps]

                def compute(scheduler: str) -> np.ndarray:
                    read.append(steps)
                    part = self.array[tuple(steps.get(axis, slice(None)) for axis in axes)]
                    return part.transpose([left.index(axis) for axis in order])

                return SimpleNamespace(compute=compute)

        for name, content in {"bioio": {"BioImage": Image}, **{f"bioio_{s[1:]}": {} for s in MICROSCOPE_SUFFIXES}}.items():
            module = ModuleType(name)
            vars(module).update({"Reader": f"Reader of {name}", **content})
            monkeypatch.setitem(sys.modules, name, module)
        return read

    return install


def file(folder: Path, suffix: str = ".czi") -> Path:
    path = folder / f"x{suffix}"
    path.write_bytes(b"something")
    return path


def test_microscope_files_are_found(tmp_path: Path) -> None:
    paths = [file(tmp_path, suffix) for suffix in (".CZI", ".lif", ".nd2")]
    assert find_images([tmp_path]) == paths


@pytest.mark.parametrize("suffix", MICROSCOPE_SUFFIXES)
@pytest.mark.parametrize("missing", ["bioio", "plugin"])
def test_without_the_extra_it_is_asked_for_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stand_in: Install, suffix: str, missing: str
) -> None:
    stand_in([numbers(1, 1, 1, 4, 5)])
    monkeypatch.setitem(sys.modules, "bioio" if missing == "bioio" else f"bioio_{suffix[1:]}", None)
    with pytest.raises(MissingExtraError, match=rf"bioio-{suffix[1:]} is not installed: run  pip install 'somaseg\[bioio\]'"):
        read_image(file(tmp_path, suffix))


@pytest.mark.parametrize("suffix", MICROSCOPE_SUFFIXES)
def test_a_single_plane(tmp_path: Path, stand_in: Install, suffix: str) -> None:
    stand_in([numbers(1, 1, 1, 4, 5)])
    frame = read_image(file(tmp_path, suffix))
    assert (frame.name, frame.page, frame.array.dtype, frame.pixel_size) == ("x", None, np.uint16, 0.5)
    np.testing.assert_array_equal(frame.array, numbers(4, 5))


def test_times_and_depths_are_frames_and_channels_come_last(tmp_path: Path, stand_in: Install) -> None:
    array = numbers(2, 4, 3, 5, 6)
    read = stand_in([array])
    frames = read_frames(file(tmp_path))
    assert next(frames).name == "x_t000_z000"
    assert read == [{"T": 0, "Z": 0}]  # nothing ahead of what is asked for
    found = [f.array for f in frames]
    assert len(found) == 5
    np.testing.assert_array_equal(found[3], np.moveaxis(array[1, :, 1], 0, -1))


def test_colours_and_tiles_that_were_not_stitched(tmp_path: Path, stand_in: Install) -> None:
    array = numbers(2, 1, 1, 1, 4, 5, 3, dtype=np.uint8)
    stand_in([array], axes="MTCZYXS")
    first, second = read_frames(file(tmp_path))
    assert (first.page, second.page) == (0, 1)
    np.testing.assert_array_equal(second.array, array[1, 0, 0, 0])


def test_scenes_follow_one_another(tmp_path: Path, stand_in: Install) -> None:
    stand_in([numbers(2, 1, 1, 4, 5), numbers(1, 1, 1, 7, 3)], edges=(0.5, None))
    frames = list(read_frames(file(tmp_path)))
    assert [f.name for f in frames] == ["x_s000_t000", "x_s000_t001", "x_s001"]
    assert [(f.page, f.array.shape, f.pixel_size) for f in frames] == [(0, (4, 5), 0.5), (1, (4, 5), 0.5), (2, (7, 3), None)]
    with pytest.raises(InputError, match="several frames"):
        read_image(file(tmp_path))


@pytest.mark.parametrize(
    ("suffix", "edge", "expected"), [(".czi", 0.0, None), (".lif", None, None), (".nd2", 1.0, None), (".czi", 1.0, 1.0)]
)
def test_an_edge_that_is_not_known(tmp_path: Path, stand_in: Install, suffix: str, edge: float | None, expected: float | None) -> None:
    stand_in([numbers(1, 1, 1, 4, 5)], edges=(edge,))
    assert read_image(file(tmp_path, suffix)).pixel_size == expected


@pytest.mark.parametrize(
    ("shape", "axes", "further", "message"),
    [
        ((1, 1, 1, 4, 4), "TCZYX", "H", r"scene P0 has further axes \{'H': 2\}"),
    ],
)
def test_what_makes_no_frame_is_refused(
    tmp_path: Path, stand_in: Install, shape: tuple[int, ...], axes: str, further: str, message: str
) -> None:
    read = stand_in([numbers(*shape)], axes, further=further)
    with pytest.raises(InputError, match=rf"x\.czi: {message}"):
        list(read_frames(file(tmp_path)))
    assert not read


@pytest.mark.parametrize(("shape", "axes"), [((1, 5, 1, 4, 4), "TCZYX"), ((1, 2, 1, 4, 4, 3), "TCZYXS")])
def test_of_many_channels_the_first_is_shown(tmp_path: Path, stand_in: Install, shape: tuple[int, ...], axes: str) -> None:
    stand_in([numbers(*shape)], axes)
    (frame,) = read_frames(file(tmp_path))
    assert frame.array.shape == (4, 4)
    assert "channels, the first is shown" in frame.warnings[0]


def test_a_file_without_scenes_is_refused(tmp_path: Path, stand_in: Install) -> None:
    stand_in([])
    with pytest.raises(InputError, match=r"x\.lif: holds no image"):
        read_image(file(tmp_path, ".lif"))


class OfTheLibraryError(Exception):
    pass


@pytest.mark.parametrize(("text", "shown"), [("tried were:\n  - no such block\n", r"\(no such block\)"), ("", r"\(OfTheLibraryError\)")])
def test_what_the_libraries_raise_names_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stand_in: Install, text: str, shown: str
) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise OfTheLibraryError(text)

    stand_in([])
    monkeypatch.setattr(sys.modules["bioio"], "BioImage", broken)
    with pytest.raises(InputError, match=rf"x\.nd2: bioio cannot read it {shown}: "):
        read_image(file(tmp_path, ".nd2"))


# From here on bioio itself.


@pytest.mark.parametrize("suffix", MICROSCOPE_SUFFIXES)
@pytest.mark.parametrize("content", [b"junk", b"ZISRAWFILE" + bytes(90), b"\x70\0\0\0" * 40, b"\xda\xce\xbe\x0a" + bytes(90)])
def test_junk_is_named(tmp_path: Path, suffix: str, content: bytes) -> None:
    pytest.importorskip(f"bioio_{suffix[1:]}", reason="needs the extra bioio")
    path = tmp_path / f"x{suffix}"
    path.write_bytes(content)
    with pytest.raises(InputError, match=rf"x\{suffix}: bioio cannot read it"):
        list(read_frames(path))


def write_czi(path: Path, array: np.ndarray, tiles: int = 1) -> None:
    """Write (T, C, Z, Y, X) or (T, C, Z, Y, X, 3) with the library that Zeiss gives away, as tiles side by side."""
    czi = pytest.importorskip("pylibCZIrw.czi", reason="needs the extra bioio")
    width = array.shape[4] // tiles
    with czi.create_czi(str(path)) as document:
        for place in np.ndindex(array.shape[:3]):
            for tile in range(tiles):
                part = array[place][:, tile * width : (tile + 1) * width].reshape(array.shape[3], width, -1)
                document.write(np.ascontiguousarray(part), plane=dict(zip("TCZ", place, strict=True)), location=(tile * width, 0))
        document.write_metadata(document_name="x", scale_x=0.5e-6, scale_y=0.5e-6)


@pytest.mark.parametrize(("channels", "colours", "tiles"), [(1, False, 1), (3, False, 1), (1, True, 1), (1, False, 3)])
def test_czi(tmp_path: Path, channels: int, colours: bool, tiles: int) -> None:
    pytest.importorskip("bioio_czi", reason="needs the extra bioio")
    shape = (2, channels, 3, 8, 12, *((3,) if colours else ()))
    array = np.random.default_rng(0).integers(0, 255, shape, np.uint8 if colours else np.uint16)
    write_czi(tmp_path / "x.czi", array, tiles)
    frames = list(read_frames(tmp_path / "x.czi"))
    assert [f.page for f in frames] == list(range(6))
    assert [f.pixel_size for f in frames] == pytest.approx([0.5] * 6)
    expected = array[:, 0] if channels == 1 else np.moveaxis(array, 1, -1)
    np.testing.assert_array_equal([f.array for f in frames], expected.reshape(6, *expected.shape[2:]))
    assert frames[0].array.dtype == array.dtype


@pytest.mark.parametrize(("channels", "colours", "tiles"), [(1, False, 1), (3, False, 1), (1, True, 1), (1, False, 3)])
def test_czi_by_region(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, channels: int, colours: bool, tiles: int) -> None:
    pytest.importorskip("bioio_czi", reason="needs the extra bioio")
    shape = (2, channels, 3, 80, 120, *((3,) if colours else ()))
    write_czi(tmp_path / "x.czi", np.random.default_rng(0).integers(0, 255, shape, np.uint8 if colours else np.uint16), tiles)
    wholes = list(read_frames(tmp_path / "x.czi"))
    monkeypatch.setattr(lazy, "WHOLE_BYTES", 0)
    for frame, whole in zip(read_frames(tmp_path / "x.czi"), wholes, strict=True):
        assert isinstance(frame.array, LazyImage)
        assert (frame.name, frame.meaning, frame.channels) == (whole.name, whole.meaning, whole.channels)
        for image, expected in ((frame.array, whole.array), (frame.choose("0").array, whole.choose("0").array)):
            assert (image.shape, image.dtype) == (expected.shape, expected.dtype)
            np.testing.assert_array_equal(np.asarray(image), expected)
            np.testing.assert_array_equal(image[13:70, 35:91], expected[13:70, 35:91])


def write_lif(path: Path, scenes: Sequence[np.ndarray]) -> None:
    """Write scenes of 16-bit numbers (Z, C, Y, X): an XML header, then a block of memory for each."""

    def text(words: str) -> bytes:
        return words.encode("utf-16-le")

    def dimension(number: int, size: int, edge: float, stride: int) -> str:
        length = f'Origin="0" Length="{(size - 1) * edge}" Unit="m"'
        return f'<DimensionDescription DimID="{number}" NumberOfElements="{size}" {length} BitInc="0" BytesInc="{stride}"/>'

    def channel(stride: int) -> str:
        kind = 'DataType="0" ChannelTag="0" Resolution="16" NameOfMeasuredQuantity="" Min="0" Max="1" Unit=""'
        return f'<ChannelDescription {kind} LUTName="Gray" IsLUTInverted="0" BytesInc="{stride}" BitInc="0"/>'

    elements = ""
    for number, array in enumerate(scenes):
        of_z, of_c, of_y, of_x = array.strides
        depth, count, height, width = array.shape
        dimensions = dimension(1, width, 5e-7, of_x) + dimension(2, height, 5e-7, of_y) + dimension(3, depth, 2e-6, of_z)
        channels = "".join(channel(n * of_c) for n in range(count))
        description = f"<ImageDescription><Channels>{channels}</Channels><Dimensions>{dimensions}</Dimensions></ImageDescription>"
        memory = f'<Memory Size="{array.nbytes}" MemoryBlockID="Block{number}"/>'
        elements += f'<Element Name="S{number}"><Data><Image>{description}</Image></Data>{memory}</Element>'
    header = f'<LMSDataContainerHeader Version="2"><Element Name="x"><Children>{elements}</Children></Element></LMSDataContainerHeader>'
    content = struct.pack("<IIBI", 0x70, 2 * len(header) + 5, 0x2A, len(header)) + text(header)
    for number, array in enumerate(scenes):
        name = f"Block{number}"
        content += struct.pack("<IIBQBI", 0x70, 14 + 2 * len(name), 0x2A, array.nbytes, 0x2A, len(name)) + text(name) + array.tobytes()
    path.write_bytes(content)


def test_lif(tmp_path: Path) -> None:
    pytest.importorskip("bioio_lif", reason="needs the extra bioio")
    stack, single = numbers(3, 2, 8, 12), numbers(1, 1, 7, 9)
    write_lif(tmp_path / "x.lif", [stack, single])
    *planes, last = read_frames(tmp_path / "x.lif")
    assert [f.page for f in [*planes, last]] == [0, 1, 2, 3]
    assert [f.pixel_size for f in [*planes, last]] == pytest.approx([0.5] * 4)
    np.testing.assert_array_equal([f.array for f in planes], np.moveaxis(stack, 1, -1))
    np.testing.assert_array_equal(last.array, single[0, 0])


@pytest.mark.parametrize("suffix", [".czi", ".lif"])
@pytest.mark.parametrize("keep", [0.2, 0.6, 0.98])
def test_files_that_are_cut_off_are_named(tmp_path: Path, suffix: str, keep: float) -> None:
    pytest.importorskip(f"bioio_{suffix[1:]}", reason="needs the extra bioio")
    path = tmp_path / f"x{suffix}"
    array = numbers(1, 1, 1, 64, 64)
    if suffix == ".czi":
        write_czi(path, array)
    else:
        write_lif(path, [array[0]])
    path.write_bytes(path.read_bytes()[: int(keep * path.stat().st_size)])
    with pytest.raises(InputError, match=rf"x\{suffix}: bioio cannot read it"):
        list(read_frames(path))
