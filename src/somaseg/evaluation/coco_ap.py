"""`coco_ap`: COCO's area under the precision-recall curve for masks, by faster-coco-eval.

Another number than `map_iou`: it ranks the cells of all images by score and matches IoU >= t. COCO's usual cap of 100 detections an
image would cut most cultures short, so the cap here is 2000, or more where an image has more. Ignored regions are COCO's crowds.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from faster_coco_eval import COCO, COCOeval_faster
from numpy.typing import NDArray

from somaseg.evaluation.matching import Pair, Record
from somaseg.instances import Instances

MAX_DETECTIONS = 2000
LARGEST_AREA = 1e10
AREA_BINS: dict[str, tuple[float, float]] = {
    "coco small": (0, 32**2),
    "coco medium": (32**2, 96**2),
    "coco large": (96**2, LARGEST_AREA),
    "livecell small": (0, 324),
    "livecell medium": (324, 961),
    "livecell large": (961, LARGEST_AREA),
}
"""Mask areas in pixels: COCO's bins, and those of LIVECell (Edlund et al. 2021), made for cells."""


class AreaAp(Record):
    """AP and AR over IoU .50:.05:.95 of the true cells of one area bin; None where there is no such cell."""

    ap: float | None
    ar: float | None


class Ap(Record):
    """COCO mask AP of one set of images; None where there is no true cell.

    Attributes:
        ap: mean AP over IoU .50:.05:.95.
        ap50: AP at IoU .50.
        ap75: AP at IoU .75.
        ar: the recall that all predictions together reach, mean over IoU .50:.05:.95.
        by_area: by the names of `AREA_BINS`.
    """

    ap: float | None
    ap50: float | None
    ap75: float | None
    ar: float | None
    by_area: dict[str, AreaAp]


class CocoAp(Record):
    """COCO mask AP of all cells in one ranking whatever their type, and within each cell type.

    Attributes:
        overall: all cells as one category, as LIVECell's benchmark counts them; not the mean over cell types.
        by_class: each cell type alone, in alphabetical order.
        max_detections: predictions of one image that were considered.
    """

    overall: Ap
    by_class: dict[str, Ap]
    max_detections: int


def coco_ap(pairs: Sequence[Pair], cell_types: Sequence[str]) -> CocoAp:
    """COCO mask AP of predictions against truth; the class of a cell is the cell type of its image.

    Args:
        pairs: (prediction, truth) or (prediction, truth, ignored regions) of each image.
        cell_types: cell type of each image's truth.
    """
    names = sorted(set(cell_types))
    categories = [names.index(name) + 1 for name in cell_types]
    images = [{"id": i, "height": truth.size[0], "width": truth.size[1]} for i, (_, truth, *_) in enumerate(pairs, start=1)]
    max_detections = max([MAX_DETECTIONS, *(len(pred) for pred, *_ in pairs)])
    evaluator = COCOeval_faster(
        _coco(images, [truth for _, truth, *_ in pairs], categories, names, [pair[2] if len(pair) == 3 else None for pair in pairs]),
        _coco(images, [pred for pred, *_ in pairs], categories, names, [None] * len(pairs)),
        iouType="segm",
        ranges={name: list(bounds) for name, bounds in AREA_BINS.items()},
    )
    evaluator.params.maxDets = [max_detections]
    by_class = _evaluate(evaluator)
    evaluator.params.useCats = 0
    (overall,) = _evaluate(evaluator)
    return CocoAp(overall=overall, by_class=dict(zip(names, by_class, strict=True)), max_detections=max_detections)


def _coco(
    images: list[dict[str, int]],
    parts: Sequence[Instances],
    categories: Sequence[int],
    names: Sequence[str],
    crowds: Sequence[Instances | None],
) -> COCO:
    annotations: list[dict[str, Any]] = []
    for image, category, instances, crowd in zip(images, categories, parts, crowds, strict=True):
        for part, is_crowd in ((instances, 0), (crowd, 1)):
            if part is None:
                continue
            for rle, area, score in zip(part.to_rle(), part.area.tolist(), part.scores.tolist(), strict=True):
                annotations.append(
                    {
                        "id": len(annotations) + 1,  # from 1: to COCO's tools id 0 means "not matched"
                        "image_id": image["id"],
                        "category_id": category,
                        "segmentation": rle,
                        "area": area,
                        "iscrowd": is_crowd,
                        "score": score,
                    }
                )
    return COCO(
        {"images": images, "annotations": annotations, "categories": [{"id": i, "name": name} for i, name in enumerate(names, start=1)]}
    )


def _evaluate(evaluator: COCOeval_faster) -> list[Ap]:
    """One `Ap` a category; a single one when categories are not used."""
    evaluator.evaluate()
    evaluator.accumulate()
    precision = evaluator.eval["precision"][..., 0]  # (IoU thresholds, recalls, categories, areas)
    recall = evaluator.eval["recall"][..., 0]  # (IoU thresholds, categories, areas)
    areas = {name: i for i, name in enumerate(evaluator.params.areaRngLbl)}
    return [
        Ap(
            ap=_mean(precision[:, :, k, 0]),
            ap50=_mean(precision[0, :, k, 0]),
            ap75=_mean(precision[5, :, k, 0]),
            ar=_mean(recall[:, k, 0]),
            by_area={name: AreaAp(ap=_mean(precision[:, :, k, areas[name]]), ar=_mean(recall[:, k, areas[name]])) for name in AREA_BINS},
        )
        for k in range(precision.shape[2])
    ]


def _mean(values: NDArray[np.float64]) -> float | None:
    """Mean of the entries that are defined; COCO's tools write -1 where there is no true cell."""
    defined = values[values > -1]
    return float(defined.mean()) if defined.size else None
