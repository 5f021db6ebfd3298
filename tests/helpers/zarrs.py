"""OME-Zarr images of any version, written by hand: plain JSON and chunks."""

import gzip
import itertools
import json
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

UNITS = {"x": "micrometer", "y": "micrometer", "z": "micrometer", "t": "second"}


def about(axes: str, scale: Sequence[float] | None = None, channels: Sequence[str] = ()) -> dict[str, Any]:
    """The description of an image with one level, in the folder `0`."""
    named = [{"name": axis, **({"unit": UNITS[axis]} if axis in UNITS else {})} for axis in axes]
    level = {"path": "0", "coordinateTransformations": [{"type": "scale", "scale": list(scale or [1] * len(axes))}]}
    omero = {"omero": {"channels": [{"label": name} for name in channels]}} if channels else {}
    return {"multiscales": [{"axes": named, "datasets": [level], "version": "0.4"}], **omero}


def write_zarr(
    folder: Path,
    array: NDArray[Any],
    axes: str,
    chunks: Sequence[int],
    form: int = 2,
    shards: Sequence[int] | None = None,
    description: dict[str, Any] | None = None,
    leave_out: Sequence[Sequence[int]] = (),
) -> Path:
    """An image as a folder: version 0.4 in format 2 with zlib, or 0.5 in format 3 with gzip, and in shards."""
    told = description or about(axes)
    (folder / "0").mkdir(parents=True)
    kept = [at for at in itertools.product(*(range(-(-n // c)) for n, c in zip(array.shape, chunks, strict=True))) if at not in leave_out]
    whole = {at: _chunk(array, at, chunks) for at in kept}
    if form == 2:
        (folder / ".zgroup").write_text('{"zarr_format": 2}')
        (folder / ".zattrs").write_text(json.dumps(told))
        stored = {"zarr_format": 2, "shape": array.shape, "chunks": list(chunks), "dtype": array.dtype.str, "order": "C", "filters": None}
        (folder / "0/.zarray").write_text(json.dumps({**stored, "compressor": {"id": "zlib", "level": 1}, "fill_value": 7}))
        for at, chunk in whole.items():
            (folder / "0" / ".".join(map(str, at))).write_bytes(zlib.compress(chunk.tobytes()))
        return folder
    group = {"zarr_format": 3, "node_type": "group", "attributes": {"ome": {"version": "0.5", **told}}}
    (folder / "zarr.json").write_text(json.dumps(group))
    little = {"name": "bytes", "configuration": {"endian": "little"}}
    codecs: list[dict[str, Any]] = [little, {"name": "gzip", "configuration": {"level": 1}}]
    packed = {at: gzip.compress(chunk.tobytes()) for at, chunk in whole.items()}
    if shards is not None:
        of_shard = {"chunk_shape": list(chunks), "codecs": codecs, "index_codecs": [little, {"name": "crc32c"}], "index_location": "end"}
        codecs = [{"name": "sharding_indexed", "configuration": of_shard}]
        packed = _sharded(packed, [s // c for s, c in zip(shards, chunks, strict=True)])
    grid = {"name": "regular", "configuration": {"chunk_shape": list(shards or chunks)}}
    about_array = {"zarr_format": 3, "node_type": "array", "shape": array.shape, "data_type": array.dtype.name, "chunk_grid": grid}
    keys = {"name": "default", "configuration": {"separator": "/"}}
    (folder / "0/zarr.json").write_text(json.dumps({**about_array, "chunk_key_encoding": keys, "fill_value": 7, "codecs": codecs}))
    for at, data in packed.items():
        file = folder.joinpath("0/c", *map(str, at))
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
    return folder


def _chunk(array: NDArray[Any], at: Sequence[int], chunks: Sequence[int]) -> NDArray[Any]:
    """A chunk of full size, with zeros beyond the array."""
    part = array[tuple(slice(n * c, (n + 1) * c) for n, c in zip(at, chunks, strict=True))]
    return np.pad(part, [(0, c - n) for c, n in zip(chunks, part.shape, strict=True)])


def _sharded(packed: dict[tuple[int, ...], bytes], inner: Sequence[int]) -> dict[tuple[int, ...], bytes]:
    shards: dict[tuple[int, ...], dict[tuple[int, ...], bytes]] = {}
    for at, data in packed.items():
        shard = tuple(n // i for n, i in zip(at, inner, strict=True))
        shards.setdefault(shard, {})[tuple(n % i for n, i in zip(at, inner, strict=True))] = data
    made = {}
    for shard, chunks in shards.items():
        body, index = b"", np.full((*inner, 2), 2**64 - 1, "<u8")
        for at, data in chunks.items():
            index[at] = (len(body), len(data))
            body += data
        made[shard] = body + index.tobytes() + bytes(4)
    return made
