"""An array of a Zarr store in a folder, format 2 or 3, read region by region; imagecodecs unpacks its chunks."""

import bz2
import itertools
import lzma
import math
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import orjson
from numpy.typing import NDArray

from somaseg.errors import InputError
from somaseg.images.regions.segments import Cache

LONGEST = 2**24  # bytes of a description that are parsed
SPARE = 2**16  # bytes that packed data may have beyond what they pack
NO_CHUNK = 2**64 - 1  # offset and length in the index of a shard


def read_json(file: Path) -> dict[str, Any] | None:
    """A JSON object from a file; None where there is no such file.

    Raises:
        InputError: when it is no JSON object, or larger than any description.
    """
    if not file.is_file():
        return None
    with file.open("rb") as opened:
        text = opened.read(LONGEST + 1)
    try:
        found = orjson.loads(text) if len(text) <= LONGEST else None
    except orjson.JSONDecodeError as error:
        raise InputError(f"{file}: is no JSON ({error}): the image is damaged or not copied whole") from error
    if not isinstance(found, dict):
        raise InputError(f"{file}: is no description of an array or a group: the image is damaged")
    return found


class ZarrArray:
    """An array whose regions are read when they are asked for.

    Args:
        folder: of the array.

    Raises:
        InputError: naming the file and the field, when it is no array, or is packed in a way that is not known.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.cache = Cache()
        older, newer = read_json(folder / ".zarray"), read_json(folder / "zarr.json")
        self.file = folder / (".zarray" if older is not None else "zarr.json")
        try:
            if older is not None:
                self._of_format_2(older)
            elif newer is not None and newer.get("node_type") == "array":
                self._of_format_3(newer)
            else:
                raise InputError(f"{folder}: is no Zarr array (neither .zarray nor zarr.json tells of one): the image is damaged")
        except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(f"{self.file}: {type(error).__name__}: {error}: the description of the array is damaged") from error
        fits = len(self.shape) == len(self.chunks) and all(n >= 0 for n in self.shape) and all(n >= 1 for n in self.chunks)
        if not fits or self.dtype.kind not in "biuf":
            raise InputError(
                f"{self.file}: has shape {self.shape}, chunks {self.chunks} and numbers {self.dtype}: expected real numbers in chunks"
            )
        self.chunk_bytes = math.prod(self.chunks) * self.dtype.itemsize

    def _of_format_2(self, about: Mapping[str, Any]) -> None:
        self.shape, self.chunks = tuple(map(int, about["shape"])), tuple(map(int, about["chunks"]))
        self.dtype = np.dtype(about["dtype"])
        if about.get("filters"):
            raise InputError(f"{self.file}: filters: found {about['filters']}, which are not read: save the image without filters")
        self.fill, self.order = about.get("fill_value") or 0, str(about.get("order", "C"))
        self.transpose: tuple[int, ...] = tuple(range(len(self.shape)))
        compressor = about.get("compressor")
        self.unpack = [self._unpacker(compressor["id"])] if compressor else []
        separator = about.get("dimension_separator", ".")
        self.name: Callable[[Sequence[int]], str] = lambda place: separator.join(map(str, place))
        self.shard: tuple[int, ...] | None = None

    def _of_format_3(self, about: Mapping[str, Any]) -> None:
        self.shape = tuple(map(int, about["shape"]))
        grid = tuple(map(int, about["chunk_grid"]["configuration"]["chunk_shape"]))
        self.fill, self.order, self.shard, self.chunks = about.get("fill_value") or 0, "C", None, grid
        codecs = list(about["codecs"])
        if codecs[0]["name"] == "sharding_indexed":
            shard = codecs[0]["configuration"]
            if len(codecs) > 1 or any(c["name"] not in ("bytes", "crc32c") for c in shard["index_codecs"]):
                raise InputError(f"{self.file}: codecs: found shards that are packed again, which are not read")
            self.shard, self.chunks, codecs = grid, tuple(map(int, shard["chunk_shape"])), list(shard["codecs"])
            self.index_first = shard.get("index_location", "end") == "start"
            self.index_spare = 4 * sum(c["name"] == "crc32c" for c in shard["index_codecs"])
        byteorder, self.transpose = "<", tuple(range(len(self.shape)))
        while codecs[0]["name"] == "transpose":
            order = codecs.pop(0)["configuration"]["order"]
            self.transpose = tuple(self.transpose[int(n)] for n in order)
        if codecs[0]["name"] != "bytes":
            raise InputError(f"{self.file}: codecs: found {codecs[0]['name']!r}, which is not read: save the image with other codecs")
        byteorder = ">" if (codecs[0].get("configuration") or {}).get("endian") == "big" else "<"
        self.dtype = np.dtype(about["data_type"]).newbyteorder(byteorder)
        self.unpack = [self._unpacker(codec["name"]) for codec in reversed(codecs[1:])]
        encoding = about.get("chunk_key_encoding", {"name": "default"})
        default = encoding["name"] == "default"
        separator = (encoding.get("configuration") or {}).get("separator", "/" if default else ".")
        self.name = lambda place: separator.join(["c", *map(str, place)] if default else map(str, place))

    def _unpacker(self, name: str) -> Callable[[bytes, int], bytes]:
        if name not in UNPACK:
            raise InputError(f"{self.file}: is packed with {name!r}, expected one of {', '.join(UNPACK)}: save the image with one of these")
        return UNPACK[name]

    def read(self, place: Sequence[int | slice]) -> NDArray[Any]:
        """The numbers at steps and slices, one an axis, each slice with its begin and end; in this machine's byte order."""
        spans = [(p.start, p.stop) if isinstance(p, slice) else (p, p + 1) for p in place]
        found = np.empty([high - low for low, high in spans], self.dtype.newbyteorder("="))
        grids = [range(low // n, -(-high // n)) for (low, high), n in zip(spans, self.chunks, strict=True)]
        for at in itertools.product(*grids):
            chunk = self._chunk(at)
            into, of = [], []
            for (low, high), n, number in zip(spans, self.chunks, at, strict=True):
                first, last = max(low, number * n), min(high, (number + 1) * n)
                into.append(slice(first - low, last - low))
                of.append(slice(first - number * n, last - number * n))
            found[tuple(into)] = chunk[tuple(of)] if chunk.ndim else chunk
        return found[tuple(0 if not isinstance(p, slice) else slice(None) for p in place)]

    def _chunk(self, at: tuple[int, ...]) -> NDArray[Any]:
        steps = [-(-n // chunk) for n, chunk in zip(self.shape, self.chunks, strict=True)]
        return self.cache.get((0, int(np.ravel_multi_index(at, steps))), lambda: self._unpacked(at))

    def _unpacked(self, at: tuple[int, ...]) -> NDArray[Any]:
        """A chunk; a single number where it is not there."""
        data = self._stored(at)
        if data is None:
            return np.asarray(self.fill, self.dtype.newbyteorder("="))
        for unpack in self.unpack:
            data = unpack(data, self.chunk_bytes + SPARE)
        if len(data) != self.chunk_bytes:
            raise InputError(f"{self.folder}: chunk {at} has {len(data):,} bytes, expected {self.chunk_bytes:,}: it is damaged or cut off")
        numbers = np.frombuffer(data, self.dtype)
        if self.order == "F":
            return numbers.reshape(self.chunks, order="F")
        return numbers.reshape([self.chunks[n] for n in self.transpose]).transpose(np.argsort(self.transpose))

    def _stored(self, at: tuple[int, ...]) -> bytes | None:
        """The bytes of a chunk as they are stored; None where there are none."""
        if self.shard is None:
            file = self.folder / self.name(at)
            return file.read_bytes() if file.is_file() else None
        inner = [s // c for s, c in zip(self.shard, self.chunks, strict=True)]
        file = self.folder / self.name([n // i for n, i in zip(at, inner, strict=True)])
        if not file.is_file():
            return None
        number = int(np.ravel_multi_index([n % i for n, i in zip(at, inner, strict=True)], inner))
        size, index = file.stat().st_size, 16 * math.prod(inner) + self.index_spare
        with file.open("rb") as opened:
            opened.seek((0 if self.index_first else max(0, size - index)) + 16 * number)
            entry = opened.read(16)
            offset, length = int.from_bytes(entry[:8], "little"), int.from_bytes(entry[8:], "little")
            if offset == length == NO_CHUNK:
                return None
            if len(entry) < 16 or offset + length > size:
                raise InputError(f"{file}: its chunks reach beyond its {size:,} bytes: the file is cut off")
            opened.seek(offset)
            return opened.read(length)


def _inflate(data: bytes, most: int) -> bytes:
    return zlib.decompressobj(zlib.MAX_WBITS | 32).decompress(data, most)


def _blosc(data: bytes, most: int) -> bytes:
    if len(data) < 16 or int.from_bytes(data[4:8], "little") > most:
        raise ValueError("the chunk becomes larger than chunks are")
    return bytes(imagecodecs.blosc_decode(data))


def _lz4(data: bytes, most: int) -> bytes:
    if int.from_bytes(data[:4], "little") > most:
        raise ValueError("the chunk becomes larger than chunks are")
    return bytes(imagecodecs.lz4_decode(data, header=True))


# Name of a codec -> its bytes unpacked, of which there are at most so many.
UNPACK: dict[str, Callable[[bytes, int], bytes]] = {
    "zlib": _inflate,
    "gzip": _inflate,
    "blosc": _blosc,
    "zstd": lambda data, most: bytes(imagecodecs.zstd_decode(data, out=most)),
    "lz4": _lz4,
    "bz2": lambda data, most: bz2.BZ2Decompressor().decompress(data, most),
    "lzma": lambda data, most: lzma.LZMADecompressor().decompress(data, most),
    "crc32c": lambda data, most: data[:-4],  # what it guards is unpacked by codecs that find damage too
}
