"""Labels of an OME-Zarr: of NGFF 0.5 (Zarr 3) and of earlier versions (Zarr 2), read chunk by chunk."""

from collections.abc import Mapping
from itertools import product
from math import prod
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import orjson
from numpy.typing import NDArray

from somaseg.errors import InputError, shown
from somaseg.limits import check_pixels, limit

MOST_CHUNKS = 1_000_000
DECODERS = {
    "gzip": imagecodecs.gzip_decode,
    "zlib": imagecodecs.zlib_decode,
    "zstd": imagecodecs.zstd_decode,
    "blosc": imagecodecs.blosc_decode,
}


def read_zarr_labels(path: Path) -> tuple[NDArray[Any], dict[str, Any]]:
    """The labels (H, W) of an OME-Zarr, of its group `labels`, or of one label image in it; and the classes that it tells of.

    Raises:
        InputError: when there are none, or several, they are no plane, or their chunks are packed in a way that is not read.
    """
    folder, ome = _label_group(path)
    try:
        dataset = ome["multiscales"][0]["datasets"][0]["path"]
    except (LookupError, TypeError) as error:
        raise InputError(f"{folder}: multiscales: {error!r} is missing: expected a label image of OME-Zarr") from error
    values = _read_array(_inside(folder, dataset))
    return values, _classes(ome.get("image-label"), int(values.max(initial=0)))


def _label_group(path: Path) -> tuple[Path, Mapping[str, Any]]:
    """The folder of a label image, and what OME says of it."""
    ome = _ome(path)
    if "image-label" in ome or ("multiscales" in ome and path.parent.name == "labels"):
        return path, ome
    group = path if "labels" in ome else path / "labels"
    names = _ome(group).get("labels") if group.is_dir() else None
    if not isinstance(names, list) or not names:
        raise InputError(f"{path}: holds no labels, expected a group labels in it: give the OME-Zarr that was saved with labels")
    if len(names) > 1:
        raise InputError(f"{path}: holds several labels, {', '.join(map(str, names[:5]))}: give one of them, {group / str(names[0])}")
    folder = _inside(group, names[0])
    return folder, _ome(folder)


def _inside(folder: Path, name: Any) -> Path:
    """A folder in another; a name that leads elsewhere is refused."""
    if not isinstance(name, str) or Path(name).is_absolute() or ".." in Path(name).parts or "\0" in name:
        raise InputError(f"{folder}: found the path {shown(name)}, expected one inside the OME-Zarr: save it again")
    return folder / name


def _ome(folder: Path) -> Mapping[str, Any]:
    """What OME says of a group, by either format of Zarr."""
    attributes = _json(folder / "zarr.json")
    found = attributes.get("attributes") if attributes is not None else _json(folder / ".zattrs")
    ome = found.get("ome", found) if isinstance(found, Mapping) else None
    return ome if isinstance(ome, Mapping) else {}


def _json(file: Path) -> Mapping[str, Any] | None:
    if not file.is_file():
        return None
    try:
        content = orjson.loads(file.read_bytes())
    except (OSError, orjson.JSONDecodeError) as error:
        raise InputError(f"{file}: cannot be read ({error}): save the OME-Zarr again") from error
    if not isinstance(content, dict):
        raise InputError(f"{file}: found {shown(content)}, expected fields of Zarr: save the OME-Zarr again")
    return content


def _read_array(folder: Path) -> NDArray[Any]:
    """The only plane of a Zarr array; chunks that are not there have its fill value."""
    version = 3 if (folder / "zarr.json").is_file() else 2
    file = folder / ("zarr.json" if version == 3 else ".zarray")
    metadata = _json(file)
    if metadata is None:
        raise InputError(f"{folder}: is no array of Zarr: save the OME-Zarr again")
    try:
        shape, chunk, dtype, fill, separator = (_described_3 if version == 3 else _described_2)(metadata)
        chain = _decoders(metadata, version)
    except (LookupError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise InputError(
            f"{file}: {str(error) or repr(error)}: expected labels packed with {', '.join(DECODERS)}, or not at all"
        ) from error
    if prod(shape[:-2]) != 1:
        raise InputError(f"{file}: shape: found {shape}, expected one plane: save the labels of each plane as an OME-Zarr of their own")
    check_pixels(str(file), *shape[-2:])
    grid = [-(-edge // step) for edge, step in zip(shape, chunk, strict=True)]
    if prod(grid) > MOST_CHUNKS or prod(chunk) * dtype.itemsize > limit("SOMASEG_MAX_IMAGE_BYTES"):
        raise InputError(f"{file}: found {prod(grid):,} chunks of {chunk}, which are too many or too large: save it in other chunks")
    values = np.full(shape, fill, dtype)
    for place in product(*map(range, grid)):
        key = separator.join(map(str, place))
        part = folder / (f"c{separator}{key}" if version == 3 else key)
        if part.is_file():
            window = tuple(slice(i * step, (i + 1) * step) for i, step in zip(place, chunk, strict=True))
            whole = _chunk(part, chain, dtype, chunk)
            values[window] = whole[tuple(slice(0, edge) for edge in values[window].shape)]
    return values.reshape(shape[-2:])


def _described_3(metadata: Mapping[str, Any]) -> tuple[tuple[int, ...], tuple[int, ...], np.dtype[Any], Any, str]:
    keys = metadata["chunk_key_encoding"]
    if metadata["chunk_grid"]["name"] != "regular" or keys["name"] != "default":
        raise ValueError("chunks are neither regular nor called as usual")
    separator = keys.get("configuration", {}).get("separator", "/")
    little = not any(c["name"] == "bytes" and c.get("configuration", {}).get("endian") == "big" for c in metadata["codecs"])
    dtype = _whole_numbers(np.dtype(metadata["data_type"])).newbyteorder("<" if little else ">")
    chunk = metadata["chunk_grid"]["configuration"]["chunk_shape"]
    return *_sizes(metadata["shape"], chunk), dtype, dtype.type(metadata["fill_value"]), separator


def _described_2(metadata: Mapping[str, Any]) -> tuple[tuple[int, ...], tuple[int, ...], np.dtype[Any], Any, str]:
    if metadata["order"] != "C" or metadata["filters"]:
        raise ValueError("chunks are in the order of columns, or filtered")
    dtype = _whole_numbers(np.dtype(metadata["dtype"]))
    fill = dtype.type(metadata["fill_value"] or 0)
    return *_sizes(metadata["shape"], metadata["chunks"]), dtype, fill, metadata.get("dimension_separator", ".")


def _sizes(shape: Any, chunk: Any) -> tuple[tuple[int, ...], tuple[int, ...]]:
    if not all(type(edge) is int and edge > 0 for edge in (*shape, *chunk)) or not 2 <= len(shape) == len(chunk) <= 8:
        raise ValueError(f"shape {shown(shape)} in chunks of {shown(chunk)}")
    return tuple(shape), tuple(chunk)


def _whole_numbers(dtype: np.dtype[Any]) -> np.dtype[Any]:
    if dtype.kind not in "uib":
        raise ValueError(f"values of the type {dtype}")
    return dtype


def _decoders(metadata: Mapping[str, Any], version: int) -> list[str]:
    """Names of what packed a chunk, the last first."""
    if version == 2:
        compressor = metadata["compressor"]
        names = [] if compressor is None else [compressor["id"]]
    else:
        names = [codec["name"] for codec in metadata["codecs"]][::-1]
        if not names or names[-1] != "bytes":
            raise ValueError(f"chunks packed with {', '.join(map(str, names[::-1]))}")
        names = names[:-1]
    unknown = next((name for name in names if name not in (*DECODERS, "crc32c")), None)
    if unknown is not None:
        raise ValueError(f"chunks packed with {shown(unknown)}")
    return names


def _chunk(part: Path, chain: list[str], dtype: np.dtype[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    """A chunk, unpacked into no more bytes than it has pixels."""
    size = prod(shape) * dtype.itemsize
    try:
        data: Any = part.read_bytes()
        for number, name in enumerate(chain):
            if name == "crc32c":
                data = data[:-4]
            else:
                last = all(after == "crc32c" for after in chain[number + 1 :])
                data = DECODERS[name](data, out=size if last else size + 4)
        return np.frombuffer(data, dtype, prod(shape)).reshape(shape)
    except Exception as error:  # decoders raise what they like
        reason = str(error).partition("\n")[0][:200]
        raise InputError(f"{part}: cannot be unpacked ({reason}): the file may be damaged or cut off, save it again") from error


def _classes(told: Any, largest: int) -> dict[str, Any]:
    """Class names, and the class of each value from 1, where `image-label` tells the class of all of them."""
    properties = told.get("properties") if isinstance(told, Mapping) else None
    if not isinstance(properties, list):
        return {}
    of_value = {p["label-value"]: p["class"] for p in properties if isinstance(p, Mapping) and {"label-value", "class"} <= p.keys()}
    if not 0 < largest <= len(properties) or not all(isinstance(of_value.get(value), str) for value in range(1, largest + 1)):
        return {}
    names = list(dict.fromkeys(of_value[value] for value in range(1, largest + 1)))
    return {"classes": names, "labels": [names.index(of_value[value]) for value in range(1, largest + 1)]}
