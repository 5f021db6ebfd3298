"""Which program an annotation file is of, told by its content."""

import re
import zipfile
from pathlib import Path
from typing import Literal

from somaseg.texts.encoding import decode

Kind = Literal["imagej", "qupath", "cellpose", "ome-zarr"]

HEAD = 4096  # bytes in which a GeoJSON says what it is
ROI, ZIP, NPY = b"Iout", b"PK\x03\x04", b"\x93NUMPY"
EMPTY_ZIP = b"PK\x05\x06"
GEOJSON = re.compile(r'^\s*[\[{].*"type"\s*:\s*"Feature(Collection)?"', re.DOTALL)
ZARR_FILES = ("zarr.json", ".zattrs", ".zgroup")


def kind_of(path: Path) -> Kind | None:
    """The kind of a file, or of the folder that an OME-Zarr is; None for every other, label images among them."""
    try:
        if path.is_dir():
            return "ome-zarr" if any((path / name).is_file() for name in ZARR_FILES) else None
        with path.open("rb") as file:
            head = file.read(HEAD)
    except OSError:
        return None
    if head.startswith(ROI) or (head.startswith((ZIP, EMPTY_ZIP)) and _holds_rois(path)):
        return "imagej"
    if head.startswith(NPY):
        return "cellpose"
    return "qupath" if path.suffix.lower() == ".geojson" or _is_geojson(head) else None


def is_entry(name: str) -> bool:
    """Whether an entry of a zip is a ROI; a Mac puts a file of its own beside each."""
    last = name.rpartition("/")[2]
    return name.lower().endswith(".roi") and not name.startswith("__MACOSX/") and not last.startswith("._")


def _holds_rois(path: Path) -> bool:
    """Whether a zip has a ROI in it, or nothing at all, as a set does in which nothing was found."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (OSError, zipfile.BadZipFile, ValueError, NotImplementedError):
        return path.suffix.lower() == ".zip"  # cut off, perhaps: the reader says so
    return not names or any(map(is_entry, names))


def _is_geojson(head: bytes) -> bool:
    try:
        return GEOJSON.match(decode(head)) is not None
    except UnicodeDecodeError:  # cut within a character
        return GEOJSON.match(head.decode("latin-1").replace("\0", "")) is not None
