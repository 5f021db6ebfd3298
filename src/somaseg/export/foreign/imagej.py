"""Cells as a zip of ImageJ ROIs, which the ROI manager opens."""

import io
import json
import re
import zipfile

import numpy as np
import roifile

from somaseg.export.image_result import Exported, ImageResult
from somaseg.instances import Instances
from somaseg.masks.pixel_edges import Ring, polygons_from_crop

FARTHEST = 60_535  # largest coordinate, and number of points, of a plain outline: ImageJ takes what is beyond for a negative number
MOST_GROUPS = 255
LONGEST = 80  # characters of a class in the name of a ROI
UNSAFE = re.compile(r"[^\w .()+-]+")
MOVE, LINE, CLOSE = 0, 1, 4  # segments of a path


def roi_file(result: ImageResult) -> Exported:
    """A zip with a ROI a cell, in their order: `NUMBER-CLASS.roi`, the number as in the table, exact to the pixel, overlaps kept."""
    cells, buffer = result.cells, io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for number, (crop, box) in enumerate(zip(cells.masks, cells.boxes, strict=True), start=1):
            if not crop.any():
                continue
            roi = roi_of([ring for polygon in polygons_from_crop(crop, box) for ring in polygon])
            _describe(roi, cells, number)
            archive.writestr(zipfile.ZipInfo(f"{roi.name}.roi"), roi.tobytes())  # of no time, so that equal cells give equal files
    return Exported(buffer.getvalue())


def roi_of(rings: list[Ring]) -> roifile.ImagejRoi:
    """One outline as a traced ROI; several, holes among them, and what such a ROI cannot hold, as a composite one."""
    points = np.concatenate(rings)
    (left, top), (right, bottom) = points.min(axis=0).tolist(), points.max(axis=0).tolist()
    roi = roifile.ImagejRoi(left=left, top=top, right=right, bottom=bottom)
    if len(rings) == 1 and max(right, bottom, len(points)) <= FARTHEST:
        roi.roitype = roifile.ROI_TYPE.TRACED
        roi.n_coordinates, roi.integer_coordinates = len(points), points.astype(np.int32) - (left, top)
        return roi
    roi.roitype = roifile.ROI_TYPE.RECT
    path = np.concatenate([_path(ring) for ring in rings])
    roi.multi_coordinates, roi.shape_roi_size = path, len(path)
    return roi


def _path(ring: Ring) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    """A ring as numbers of a path: segment, x, y of each point, then the end."""
    steps = np.full((len(ring), 3), LINE, np.float32)
    steps[0, 0], steps[:, 1:] = MOVE, ring
    return np.append(steps.ravel(), np.float32(CLOSE))


def _describe(roi: roifile.ImagejRoi, cells: Instances, number: int) -> None:
    """Give a ROI its name, its group where there are several classes, and class and score as properties."""
    label = int(cells.labels[number - 1])
    name = cells.classes[label]
    roi.name = f"{number:04d}-{UNSAFE.sub('_', name)[:LONGEST].strip() or 'cell'}".encode("ascii", "replace").decode().replace("?", "_")
    roi.group = label + 1 if len(cells.classes) > 1 and label < MOST_GROUPS else 0
    plain = name.isascii() and name.isprintable() and name == name.strip() and not name.startswith('"')
    roi.props = f"class: {name if plain else json.dumps(name)}\nscore: {float(cells.scores[number - 1]):.6g}\n"
