"""A deterministic stand-in for a trained model: every bright blob is a cell."""

import warnings
from pathlib import Path
from typing import Any, ClassVar

import imageio.v3 as iio
import numpy as np
import tifffile
from numpy.typing import NDArray
from scipy import ndimage

from somaseg.config import ModelSettings, PostprocessSettings, PredictSettings, TileSettings
from somaseg.images.levels import levels_of
from somaseg.images.normalize import to_grey
from somaseg.instances import KeptTiles, Prediction
from somaseg.tiling.predict import Sight, fill_tiles, predict_tiled

CLASSES = ("round", "long")
SETTINGS = PostprocessSettings(min_area={"default": 4})
A = (4, 4, 10, 14)
B = (20, 20, 34, 28)
C = (40, 30, 46, 46)


class BlobSegmenter:
    """Finds what is brighter than 100; blobs wider than high are `long`.

    `calls` counts predictions; the one numbered `interrupt_at` is broken off as by Ctrl-C, images as high as `fail_height` fail.
    """

    name = "blobs"
    classes = CLASSES
    model_settings = ModelSettings()
    settings = SETTINGS
    runtime: ClassVar[dict[str, Any]] = {}
    about: ClassVar[dict[str, dict[str, Any]]] = {"model": {}, "tta": {}, "postprocess": {"min_area": {"default": 4.0}}}

    def __init__(self, sha256: str = "b10b", interrupt_at: int | None = None, fail_height: int | None = None, warn: bool = False) -> None:
        self.sha256, self.interrupt_at, self.fail_height, self.warn = sha256, interrupt_at, fail_height, warn
        self.calls = 0

    def configure(self, settings: PredictSettings) -> None:
        """Blobs are the same however they are looked at."""

    def predict(self, image: NDArray[Any], zoom: float = 1.0, kept: KeptTiles | None = None) -> Prediction:
        self.calls += 1
        if self.calls == self.interrupt_at:
            raise KeyboardInterrupt
        grey = to_grey(np.asarray(image))
        if grey.shape[0] == self.fail_height:
            raise RuntimeError("out of memory")
        if self.warn:
            warnings.warn("detections reached their cap of 9", stacklevel=2)
        pieces, count = ndimage.label(grey > 100)
        boxes = [(c.start, r.start, c.stop, r.stop) for r, c in ndimage.find_objects(pieces)]
        extent = np.array(boxes, np.float32).reshape(-1, 4)
        return Prediction(
            size=(grey.shape[0], grey.shape[1]),
            boxes=extent,
            scores=np.linspace(0.9, 0.6, count, dtype=np.float32),
            labels=(extent[:, 2] - extent[:, 0] > extent[:, 3] - extent[:, 1]).astype(np.int64),
            mask_probs=np.ones((count, 28, 28), np.float16),
            classes=CLASSES,
            zoom=zoom,
        )

    def fill_tiles(self, image: NDArray[Any], zoom: float, kept: KeptTiles, part: int, parts: int) -> int:
        """Blobs are seen at once."""
        return 1


class TiledBlobs(BlobSegmenter):
    """The same, tile by tile."""

    tiles = TileSettings(whole=100, side=80, overlap=16, step=4)

    def see(self, image: NDArray[Any], sight: Sight) -> Prediction:
        return BlobSegmenter.predict(self, image, sight.zoom)

    def predict(self, image: NDArray[Any], zoom: float = 1.0, kept: KeptTiles | None = None) -> Prediction:
        return predict_tiled(self.see, image, Sight(levels_of(image), zoom), self.tiles, kept)

    def fill_tiles(self, image: NDArray[Any], zoom: float, kept: KeptTiles, part: int, parts: int) -> int:
        return fill_tiles(self.see, image, Sight(levels_of(image), zoom), self.tiles, kept, part, parts)


def blob_image(*boxes: tuple[int, int, int, int], size: tuple[int, int] = (48, 64)) -> NDArray[np.uint8]:
    """A dark image with bright boxes (x0, y0, x1, y1)."""
    image = np.full(size, 20, np.uint8)
    for x0, y0, x1, y1 in boxes:
        image[y0:y1, x0:x1] = 200
    return image


def write_images(folder: Path) -> Path:
    """Images of no, one and three blobs."""
    folder.mkdir()
    for name, boxes in {"one": (A,), "three": (A, B, C), "none": ()}.items():
        iio.imwrite(folder / f"{name}.png", blob_image(*boxes))
    return folder


def write_mixed_images(folder: Path) -> Path:
    """These, a stack of three pages with a pixel size, an image of a name that is taken, and a file that is none."""
    write_images(folder)
    stack = np.stack([blob_image((4 + i, 4, 10 + i, 14)) for i in range(3)])
    tifffile.imwrite(folder / "stack.ome.tif", stack, metadata={"axes": "ZYX", "PhysicalSizeX": 0.5, "PhysicalSizeXUnit": "µm"})
    (folder / "sub").mkdir()
    iio.imwrite(folder / "sub" / "one.png", blob_image(B))
    return folder
