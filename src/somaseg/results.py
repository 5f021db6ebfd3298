"""The folder of a run's results: what each image is called there, what is done, and the files of each image.

DIR/coco/NAME.json             the cells of an image as COCO JSON; written last, so that it stands for a finished image
DIR/labels/NAME_labels.tif     its label image
DIR/overlays/NAME_overlay.png  its picture
"""

import hashlib
from pathlib import Path
from typing import Any

import orjson

from somaseg import export
from somaseg.data.images import Frame, image_stem
from somaseg.data.normalize import to_grey
from somaseg.instances import Instances
from somaseg.overlay import overlay_png


class ResultFolder:
    """Results by name of the image; a name belongs to the first image that has it.

    Args:
        out: the folder; it need not be there.
        overlay: whether a picture belongs to the results.
    """

    def __init__(self, out: Path, overlay: bool) -> None:
        self.out, self.overlay = out, overlay
        self._taken: set[str] = set()

    def document(self, name: str) -> dict[str, Any] | None:
        """The COCO document of an image; None where there is none that `write` made."""
        try:
            document = orjson.loads(self._coco(name).read_bytes())
        except (OSError, orjson.JSONDecodeError):
            return None
        info = document.get("info") if isinstance(document, dict) else None
        return dict(document) if isinstance(info, dict) and {"made_from", "source"} <= set(info) else None

    def name(self, path: Path, page: int | None) -> str:
        """What to call an image: stem and page, and a suffix where that name belongs to the image of another file.

        The suffix comes from the path alone, and a name goes to the file that had it in an earlier run, so names stay.
        """
        tail = "" if page is None else f"_p{page:03d}"
        name = image_stem(path) + tail
        document = self.document(name)
        owner = str(path.resolve()) if document is None else document["info"]["source"]
        if name not in self._taken and (owner == str(path.resolve()) or not Path(owner).exists()):
            return name
        return f"{image_stem(path)}-{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:6]}{tail}"

    def take(self, name: str) -> None:
        """Let no other image of this run have the name."""
        self._taken.add(name)

    def is_done(self, name: str, made_from: dict[str, Any]) -> bool:
        """Whether all files of an image are there and were made from the same things."""
        document = self.document(name)
        files = [self._labels(name), *([self._overlay(name)] if self.overlay else [])]
        return document is not None and document["info"]["made_from"] == made_from and all(file.exists() for file in files)

    def write(self, name: str, frame: Frame, cells: Instances, info: dict[str, Any]) -> None:
        """Write all files of an image; `info` becomes part of the COCO JSON."""
        labels, lost = export.label_tiff(cells)
        export.write_atomic(self._labels(name), labels)
        if self.overlay:
            export.write_atomic(self._overlay(name), overlay_png(to_grey(frame.array), cells))
        document = export.coco_document(cells, frame.path.name, frame.page, frame.pixel_size)
        source = str(frame.path.resolve())
        export.write_atomic(self._coco(name), orjson.dumps({"info": info | {"source": source, "label_pixels_lost": lost}, **document}))

    def _coco(self, name: str) -> Path:
        return self.out / "coco" / f"{name}.json"

    def _labels(self, name: str) -> Path:
        return self.out / "labels" / f"{name}_labels.tif"

    def _overlay(self, name: str) -> Path:
        return self.out / "overlays" / f"{name}_overlay.png"
