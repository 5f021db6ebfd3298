"""What somaseg's own record of an image tells a corrected file beside it: which image it is of, its size, the classes."""

from pathlib import Path
from typing import Any, NamedTuple

import orjson

from somaseg.annotations.image_folder import is_file
from somaseg.masks.crops import Size

FOLDER = "coco"


class Record(NamedTuple):
    """The image of an exported file."""

    image: Path
    size: Size
    classes: tuple[str, ...]


def record_of(path: Path, name: str) -> Record | None:
    """The record `../coco/NAME.json` of an exported file such as `imagej/NAME.zip`; None where there is none that can be used."""
    file = path.absolute().parent.parent / FOLDER / f"{name}.json"
    try:
        document: Any = orjson.loads(file.read_bytes()) if is_file(file) else None
        image = document["images"][0]
        size = image["height"], image["width"]
        classes = tuple(category["name"] for category in document["categories"])
        source = Path(document["info"]["source"])
    except (OSError, ValueError, TypeError, LookupError):
        return None
    if not all(type(edge) is int and edge > 0 for edge in size) or not all(isinstance(name, str) for name in classes):
        return None
    return Record(source, size, classes)
