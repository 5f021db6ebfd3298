"""Which files an OME-TIFF in several files consists of."""

from pathlib import Path

import tifffile

from somaseg.images.decoders.ome import files_of, is_ome, parse_ome


def set_of(path: Path) -> list[Path]:
    """The other files of the set that a TIFF belongs to; none where it stands alone, or cannot be read."""
    try:
        with path.open("rb") as file:
            head = file.read(16)
        if head[:2] not in (b"II", b"MM"):
            return []
        with tifffile.TiffFile(path, is_ome=False) as tif:
            description = tif.pages.first.description
        if not is_ome(description):
            return []
        return [path.parent / name for name in files_of(parse_ome(path, description)) if (path.parent / name).is_file()]
    except Exception:  # what is wrong with the file is told when it is read
        return []
