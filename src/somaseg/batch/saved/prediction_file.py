"""Raw predictions on disk, one `.npz` file an image, so that thresholds are tried and models fused without a network.

A file holds these arrays, uncompressed, none of them pickled:

format      int64 ()           version of this layout, now 1
size        int64 (2,)         height and width of the image in pixels
boxes       float32 (N, 4)     x0 y0 x1 y1 in pixels of the image
scores      float32 (N,)       in [0, 1]
labels      int64 (N,)         indices into the classes of `origin`
mask_probs  float16 (N, S, S)  probabilities on a grid over the box
origin      uint8 (bytes,)     UTF-8 JSON of `Origin`: what the prediction was made from
"""

import io
import math
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.npyio import NpzFile
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from somaseg.errors import InputError
from somaseg.files import write_whole
from somaseg.instances import Prediction
from somaseg.limits import check_pixels, limit

FORMAT = 1
SUFFIX = ".npz"
FIELDS: dict[str, tuple[type[np.generic], tuple[int | None, ...]]] = {
    "size": (np.int64, (2,)),
    "boxes": (np.float32, (None, 4)),
    "scores": (np.float32, (None,)),
    "labels": (np.int64, (None,)),
    "mask_probs": (np.float16, (None, None, None)),
}
"""Type and shape of the arrays of a prediction."""
# What zipfile and NumPy raise on archives that are damaged, and on headers of arrays that are none.
DAMAGED = (
    *(OSError, EOFError, ValueError, TypeError, KeyError, OverflowError, SyntaxError, MemoryError),
    *(RuntimeError, struct.error, tokenize.TokenError, zipfile.BadZipFile, zlib.error),
)


class Origin(BaseModel):
    """What a prediction was made from.

    Attributes:
        file: the image file, resolved.
        sha256: of the image file.
        page: number of the frame in a file of several, else None.
        pixel_size: edge of a pixel in µm where it is known, else None.
        classes: class names.
        weights: name of the weights.
        weights_sha256: of the weights' file.
        model: settings of the network.
        magnification: how the size was to be found at which the image was shown.
        zoom: how many times larger it was shown than the weights would have it, `Prediction.zoom`.
        zoom_from: where that came from, see `somaseg.magnification.choose.Source`.
        tta: settings of the views.
        tiles: settings of the tiles of large images.
        postprocess: the thresholds that come with the weights.
        somaseg: version of somaseg.
        warnings: what the detector warned of.
        seconds: that the prediction took.
        channel: that was chosen, by name or number; None where none was.
        depth: that was chosen: `all`, `max`, `mean` or a number.
        place: of the frame in a file that says what its axes are, such as t003_z012; else empty.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    file: str
    sha256: str
    page: int | None = None
    pixel_size: float | None = None
    classes: tuple[str, ...]
    weights: str
    weights_sha256: str
    model: dict[str, Any]
    magnification: dict[str, Any] = {}
    zoom: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    zoom_from: str = ""
    tta: dict[str, Any]
    tiles: dict[str, Any] = {}
    postprocess: dict[str, Any]
    somaseg: str
    warnings: tuple[str, ...] = ()
    seconds: float = 0.0
    channel: str | None = None
    depth: str = "all"
    place: str = ""

    @property
    def detect(self) -> dict[str, Any]:
        """What the network kept of its raw detections, a section of `model`."""
        return dict(self.model.get("detect", {}))

    def key(self) -> dict[str, Any]:
        """All that a prediction depends on: equal keys, equal predictions."""
        network = {"weights": self.weights_sha256, "tta": self.tta, "detect": self.detect, "tiles": self.tiles}
        network["magnification"] = self.magnification
        return {"image": self.sha256, "channel": self.channel, "depth": self.depth, **network, "somaseg": self.somaseg}


@dataclass(frozen=True, eq=False)
class SavedPrediction:
    """A prediction and what it was made from."""

    prediction: Prediction
    origin: Origin


def save_prediction(path: Path, saved: SavedPrediction) -> None:
    """Write a prediction to a file that appears whole or not at all."""
    arrays = {name: np.asarray(getattr(saved.prediction, name), dtype) for name, (dtype, _) in FIELDS.items()}
    origin = np.frombuffer(saved.origin.model_copy(update={"zoom": saved.prediction.zoom}).model_dump_json().encode(), np.uint8)
    buffer = io.BytesIO()
    np.savez(buffer, format=np.int64(FORMAT), origin=origin, **arrays)  # type: ignore[arg-type]
    write_whole(path, buffer.getvalue())


def load_prediction(path: str | Path) -> SavedPrediction:
    """Read what `save_prediction` wrote.

    Raises:
        InputError: naming file and field, when the file is missing, damaged, something else, or of a newer somaseg.
    """
    path = Path(path)
    arrays = _read(path, ("origin", *FIELDS))
    origin = _origin(path, arrays["origin"])
    count = len(arrays["boxes"]) if arrays["boxes"].ndim else 0
    for name, (dtype, shape) in FIELDS.items():
        array = arrays[name]
        expected = tuple(count if i == 0 and n is None else n for i, n in enumerate(shape))
        fits = array.ndim == len(shape) and all(n in (None, found) for n, found in zip(expected, array.shape, strict=True))
        if array.dtype != dtype or not fits:
            wanted = ", ".join("any" if n is None else str(n) for n in expected)
            raise InputError(
                f"{path}: {name}: found {array.dtype} {array.shape}, expected {np.dtype(dtype)} ({wanted}): run `somaseg predict` again"
            )
    _check_values(path, arrays, len(origin.classes))
    height, width = arrays["size"].tolist()
    check_pixels(f"{path}: size", height, width)
    return SavedPrediction(
        Prediction(
            size=(height, width),
            boxes=arrays["boxes"],
            scores=arrays["scores"],
            labels=arrays["labels"],
            mask_probs=arrays["mask_probs"],
            classes=origin.classes,
            zoom=origin.zoom,
        ),
        origin,
    )


def load_origin(path: str | Path) -> Origin:
    """Read only what a saved prediction was made from, which is quick.

    Raises:
        InputError: as `load_prediction` does.
    """
    return _origin(Path(path), _read(Path(path), ("origin",))["origin"])


def prediction_files(folder: str | Path) -> dict[str, Path]:
    """The files of a folder of predictions by the name of the image, which is the file's stem; sorted.

    Raises:
        InputError: when there is no such folder, or no prediction in it.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder: give one that `somaseg predict` wrote")
    files = {path.stem: path for path in sorted(folder.glob(f"[!.]*{SUFFIX}"))}
    if not files:
        raise InputError(f"{folder}: holds no prediction (*{SUFFIX}): give a folder that `somaseg predict` wrote")
    return files


def paired_files(folders: Sequence[str | Path]) -> dict[str, tuple[Path, ...]]:
    """The files of each image, by its name, in the order of the folders.

    Raises:
        InputError: when a folder lacks an image of another, or `prediction_files` fails.
    """
    found = [prediction_files(folder) for folder in folders]
    names = dict.fromkeys(name for files in found for name in files)
    lacking = {str(folder): [n for n in names if n not in files] for folder, files in zip(folders, found, strict=True)}
    lines = [f"{folder} lacks {_some(missing)}" for folder, missing in lacking.items() if missing]
    if lines:
        raise InputError(f"the folders hold predictions of different images: {'; '.join(lines)}: predict the same images with every model")
    return {name: tuple(files[name] for files in found) for name in names}


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def _read(path: Path, names: Sequence[str]) -> dict[str, NDArray[Any]]:
    """Some arrays of a file, after a look at its version."""
    name = "format"
    try:
        with path.open("rb") as stream:
            # NpzFile, not np.load, which takes whatever is no archive for a pickle or a bare array.
            file = NpzFile(stream, allow_pickle=False)
            _check_archive(path, file.zip)
            version = _array(file, name)
            if version.shape != () or version.dtype.kind != "i" or version < 1:
                raise InputError(f"{path}: format: found {version!r}, expected a version number: this is no prediction of somaseg")
            if version > FORMAT:
                raise InputError(f"{path}: format: found version {version}, this somaseg reads up to {FORMAT}: update somaseg")
            arrays = {}
            for name in names:
                arrays[name] = _array(file, name)
            return arrays
    except InputError:
        raise
    except DAMAGED as error:
        if isinstance(error, OSError) and not path.is_file():
            raise InputError(f"{path}: no such file: give a prediction that `somaseg predict` wrote") from error
        if isinstance(error, zipfile.BadZipFile) and name == "format":
            raise InputError(
                f"{path}: is no prediction of somaseg, or damaged ({str(error)[:300]}): run `somaseg predict` again"
            ) from error
        reason = "is missing" if isinstance(error, KeyError) else f"cannot be read ({str(error)[:300]})"
        raise InputError(f"{path}: {name}: {reason}: damaged or no prediction of somaseg, run `somaseg predict` again") from error


def _check_archive(path: Path, archive: zipfile.ZipFile | None) -> None:
    """Refuse an archive that holds more than `SOMASEG_MAX_BYTES` when it is unpacked, before anything is."""
    held, most = sum(entry.file_size for entry in archive.infolist()) if archive else 0, limit("SOMASEG_MAX_BYTES")
    if held > most:
        raise InputError(
            f"{path}: holds {held:,} bytes when unpacked, the limit is {most:,}: "
            f"if it is a prediction, set the variable SOMASEG_MAX_BYTES={held}"
        )


def _array(file: NpzFile, name: str) -> NDArray[Any]:
    """An array of an archive, whose header claims no more than its entry holds."""
    if file.zip is None or f"{name}.npy" not in file.zip.namelist():
        raise KeyError(name)
    with file.zip.open(f"{name}.npy") as entry:
        major, _ = np.lib.format.read_magic(entry)
        read_header = np.lib.format.read_array_header_1_0 if major == 1 else np.lib.format.read_array_header_2_0
        shape, _, dtype = read_header(entry)
    claimed, held = math.prod(shape) * dtype.itemsize, file.zip.getinfo(f"{name}.npy").file_size
    if claimed > held:
        raise ValueError(f"its header claims {claimed:,} bytes, there are {held:,}")
    return np.asarray(file[name])


def _origin(path: Path, array: NDArray[Any]) -> Origin:
    try:
        return Origin.model_validate_json(array.tobytes())
    except ValidationError as error:
        fault = error.errors()[0]
        field = ".".join(map(str, ("origin", *fault["loc"])))
        raise InputError(f"{path}: {field}: {fault['msg']}: the file is damaged or not of somaseg, run `somaseg predict` again") from error


def _check_values(path: Path, arrays: dict[str, NDArray[Any]], n_classes: int) -> None:
    """Refuse numbers that no detector gives."""
    bits = arrays["mask_probs"].view(np.uint16)  # in the order of the numbers from 0 up, others above; comparing float16 is slow
    faults = {
        "size": (arrays["size"] < 0, "0 or more"),
        "boxes": (~np.isfinite(arrays["boxes"]), "finite numbers"),
        "scores": (~((arrays["scores"] >= 0) & (arrays["scores"] <= 1)), "0 to 1"),
        "labels": ((arrays["labels"] < 0) | (arrays["labels"] >= n_classes), f"0 to {n_classes - 1}, one of the classes"),
        "mask_probs": ((bits > np.float16(1).view(np.uint16)) & (bits != np.float16(-0.0).view(np.uint16)), "0 to 1"),
    }
    for name, (bad, expected) in faults.items():
        if bad.any():
            raise InputError(f"{path}: {name}: found {arrays[name][bad][0]}, expected {expected}: the file is damaged, predict again")
