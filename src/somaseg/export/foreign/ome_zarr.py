"""An OME-Zarr (NGFF 0.5): the image, and the cells as a label image beside it."""

import gzip
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from somaseg.export.image_result import Exported, ImageResult
from somaseg.export.overlay import COLOURS
from somaseg.texts.tables import writable

VERSION = "0.5"
CHUNK = 1024  # px of the edge of a chunk
LABELS = "cells"


def zarr_file(result: ImageResult) -> Exported:
    """The folder of an OME-Zarr as files; it needs the image. A pixel that several cells have goes to the first of them.

    Class, score and colour of each cell stand in `image-label`. One scale each; chunks are gzipped.
    """
    assert result.image is not None
    labels, lost = result.cells.to_label_image()
    image = np.asarray(result.image)
    planes = np.moveaxis(image, -1, 0) if image.ndim == 3 else image
    if planes.dtype.kind == "b":
        planes = planes.astype(np.uint8)
    space = None if result.pixel_size is None else result.pixel_size
    files = dict(_array("0", planes))
    place = f"labels/{LABELS}"
    files |= dict(_array(f"{place}/0", labels))
    files["labels/zarr.json"] = _group({"version": VERSION, "labels": [LABELS]})
    files[f"{place}/zarr.json"] = _group(
        {"version": VERSION, "multiscales": [_multiscale(LABELS, 2, space)], "image-label": _image_label(result)}
    )
    root = _group({"version": VERSION, "multiscales": [_multiscale(writable(result.file_name), planes.ndim, space)]})
    return Exported(root, lost, files)


def _group(ome: dict[str, Any]) -> bytes:
    return orjson.dumps({"zarr_format": 3, "node_type": "group", "attributes": {"ome": ome}})


def _multiscale(name: str, dimensions: int, pixel_size: float | None) -> dict[str, Any]:
    unit = {} if pixel_size is None else {"unit": "micrometer"}
    axes = [{"name": "c", "type": "channel"}, *({"name": name, "type": "space", **unit} for name in "yx")]
    scale = [1.0, pixel_size or 1.0, pixel_size or 1.0][-dimensions:]
    datasets = [{"path": "0", "coordinateTransformations": [{"type": "scale", "scale": scale}]}]
    return {"name": name, "axes": axes[-dimensions:], "datasets": datasets}


def _image_label(result: ImageResult) -> dict[str, Any]:
    cells = result.cells
    colours = np.rint(255 * COLOURS[np.arange(len(cells)) % len(COLOURS)]).astype(int).tolist()
    told = zip(cells.labels.tolist(), cells.scores.tolist(), strict=True)
    return {
        "colors": [{"label-value": i, "rgba": [*colour, 255]} for i, colour in enumerate(colours, start=1)],
        "properties": [
            {"label-value": i, "class": writable(cells.classes[label]), "score": round(score, 6)}
            for i, (label, score) in enumerate(told, start=1)
        ],
        "source": {"image": "../../"},
    }


def _array(path: str, array: NDArray[Any]) -> Iterator[tuple[str, bytes]]:
    """The files of a Zarr array of format 3, every chunk of it, so that none of an earlier one stays."""
    chunk = (*([1] * (array.ndim - 2)), *(min(CHUNK, max(edge, 1)) for edge in array.shape[-2:]))
    yield f"{path}/zarr.json", orjson.dumps(_array_metadata(array, chunk))
    little = array.astype(array.dtype.newbyteorder("<"), copy=False)
    grid = [-(-edge // step) for edge, step in zip(array.shape, chunk, strict=True)]
    for place in np.ndindex(*grid):
        window = little[tuple(slice(i * step, (i + 1) * step) for i, step in zip(place, chunk, strict=True))]
        whole = np.zeros(chunk, little.dtype)
        whole[tuple(slice(0, edge) for edge in window.shape)] = window
        yield "/".join((path, "c", *map(str, place))), gzip.compress(whole.tobytes(), 5, mtime=0)


def _array_metadata(array: NDArray[Any], chunk: Sequence[int]) -> dict[str, Any]:
    return {
        "zarr_format": 3,
        "node_type": "array",
        "shape": list(array.shape),
        "data_type": array.dtype.name,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": list(chunk)}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "fill_value": 0,
        "codecs": [{"name": "bytes", "configuration": {"endian": "little"}}, {"name": "gzip", "configuration": {"level": 5}}],
        "attributes": {},
        "dimension_names": ["c", "y", "x"][-array.ndim :],
    }
