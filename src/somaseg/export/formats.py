"""The files of an image's result: one exporter a line."""

from collections.abc import Callable
from typing import NamedTuple

from somaseg.export.coco import coco_file
from somaseg.export.foreign.cellpose import mask_file, seg_file
from somaseg.export.foreign.imagej import roi_file
from somaseg.export.foreign.ome_tiff import ome_tiff_file
from somaseg.export.foreign.ome_zarr import zarr_file
from somaseg.export.foreign.qupath import geojson_file
from somaseg.export.image_result import Exported, ImageResult
from somaseg.export.labels import label_file
from somaseg.export.overlay import outline_file, overlay_file


class Format(NamedTuple):
    """How one format is written.

    Attributes:
        suffix: of the file, after the name of the image.
        export: makes the file's content.
        needs_image: whether it shows the image, so that there is no such file where the image is gone.
    """

    suffix: str
    export: Callable[[ImageResult], Exported]
    needs_image: bool = False


# Name, which is also the folder in a result -> how it is written.
FORMATS = {
    "coco": Format(".json", coco_file),
    "labels": Format("_labels.tif", label_file),
    "overlays": Format("_overlay.png", overlay_file, needs_image=True),
    "outlines": Format("_outlines.png", outline_file, needs_image=True),
    "imagej": Format(".zip", roi_file),
    "qupath": Format(".geojson", geojson_file),
    "cellpose": Format("_seg.npy", seg_file),
    "cellpose-masks": Format("_cp_masks.tif", mask_file),
    "ome-tiff": Format("_labels.ome.tif", ome_tiff_file),
    "ome-zarr": Format(".ome.zarr/zarr.json", zarr_file, needs_image=True),
}

RECORD = "coco"  # in every result and written last: it tells what a result was made from, and stands for a finished image
DEFAULT = ("labels", "overlays")
