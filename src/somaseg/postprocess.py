"""From what a detector found to cells: vote, paste, threshold, mask NMS, overlap removal, area filter (docs/method.md).

Each step is a pure function on crops (boolean arrays, each exactly its half-open box), so nothing here ever makes a full frame a cell.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from somaseg import masks as mk
from somaseg.config import PostprocessSettings
from somaseg.errors import InputError
from somaseg.instances import Instances, Prediction

BATCH_PIXELS = 1 << 20  # pixels pasted at once: 4 MB of float32, which stays in the cache


@dataclass(frozen=True)
class StepReport:
    """How many detections came in, how many each step removed, and how many cells are left.

    Attributes:
        detections: raw detections.
        low_score: below `score_thresh`, after the mask took part in the score.
        empty_mask: no pixel at or above `mask_thresh` inside the image.
        duplicates: mask NMS.
        covered: more than `max_covered` taken by better cells.
        small: below `min_area`.
        cells: what is left.
    """

    detections: int
    low_score: int
    empty_mask: int
    duplicates: int
    covered: int
    small: int
    cells: int


def postprocess(prediction: Prediction, settings: PostprocessSettings) -> Instances:
    """The cells of one image, in falling order of score; see `postprocess_with_report` for the steps."""
    return postprocess_with_report(prediction, settings)[0]


def postprocess_with_report(prediction: Prediction, settings: PostprocessSettings) -> tuple[Instances, StepReport]:
    """The cells of one image, in falling order of score, and what each step removed.

    Steps: class vote; score threshold; paste and mask threshold; score x mean mask probability and the threshold again;
    mask NMS; holes filled; overlap removal (with overlaps="trim"); largest piece; least area.

    Raises:
        InputError: when the settings name a class that the prediction does not know.
    """
    classes = prediction.classes
    score_thresh = by_class(settings.score_thresh, classes, "score_thresh")
    mask_thresh = by_class(settings.mask_thresh, classes, "mask_thresh")
    min_area = by_class(settings.min_area, classes, "min_area")

    labels = np.asarray(prediction.labels, np.int64)
    if settings.one_class_per_image and len(labels):
        labels = np.full_like(labels, vote(labels, prediction.scores))
    # The mean mask probability is at most 1, so what is too low now stays too low: it need not be pasted.
    chosen = np.flatnonzero(prediction.scores >= score_thresh[labels])
    low_score = len(prediction) - len(chosen)
    labels, scores = labels[chosen], prediction.scores[chosen].astype(np.float32)
    boxes, crops, means = paste(prediction.boxes[chosen], prediction.mask_probs[chosen], mask_thresh[labels], prediction.size)

    filled = means > 0
    if settings.rank_by_mask:
        scores = scores * means
    high = filled & (scores >= score_thresh[labels])
    order = np.flatnonzero(high)[np.argsort(-scores[high], kind="stable")]
    crops, boxes = [crops[i] for i in order], boxes[order]

    kept = suppress(crops, boxes, settings.nms_iou)
    order, boxes = order[kept], boxes[kept]
    crops = fill_holes([crops[i] for i in kept])
    whole = areas(crops)
    before_trim = len(order)
    if settings.overlaps == "trim":
        kept, crops = trim(crops, boxes, prediction.size, settings.max_covered)
        order, boxes, whole = order[kept], boxes[kept], whole[kept]
    crops = largest_pieces(crops)

    area = areas(crops)
    large = np.flatnonzero(area >= np.maximum(min_area[labels[order]], 1))
    tight = [_tight(crops[i], boxes[i]) if area[i] < whole[i] else (boxes[i], crops[i]) for i in large]
    cells = Instances.build(prediction.size, tight, classes, labels[order[large]], scores[order[large]])
    report = StepReport(
        detections=len(prediction),
        low_score=low_score + int(np.count_nonzero(filled & ~high)),
        empty_mask=int(np.count_nonzero(~filled)),
        duplicates=int(np.count_nonzero(high)) - before_trim,
        covered=before_trim - len(order),
        small=len(order) - len(large),
        cells=len(cells),
    )
    return cells, report


def by_class(values: Mapping[str, float], classes: Sequence[str], field: str) -> NDArray[np.float64]:
    """One value a class (K,) from a mapping of class names, with `default` for those that it does not name.

    Raises:
        InputError: when the mapping names an unknown class.
    """
    unknown = sorted(set(values) - {"default", *classes})
    if unknown:
        raise InputError(f"postprocess.{field} names class {unknown[0]!r}, the detector knows {', '.join(classes)}: correct the name")
    return np.array([values.get(name, values["default"]) for name in classes], np.float64)


def check_classes(settings: PostprocessSettings, classes: Sequence[str]) -> None:
    """Raise InputError when the settings name a class that is not among `classes`."""
    for field in ("score_thresh", "mask_thresh", "min_area"):
        by_class(getattr(settings, field), classes, field)


def vote(labels: NDArray[np.int64], scores: NDArray[np.float32]) -> int:
    """The label with the largest sum of scores; of equal ones the lowest."""
    return int(np.argmax(np.bincount(labels, weights=scores)))


def paste(
    boxes: NDArray[np.float32], mask_probs: NDArray[np.floating], thresholds: NDArray[np.float64], size: mk.Size
) -> tuple[mk.Boxes, list[mk.Mask], NDArray[np.float32]]:
    """Resize soft masks to their boxes and threshold them.

    The value at pixel centre (x + .5, y + .5) is the bilinear interpolation of the S x S grid at u = (x + .5 - x0) / (x1 - x0) * S - .5,
    with zeros around the grid: what Detectron2's paste gives with grid_sample(align_corners=False). The interpolation is separable
    and linear, so it is two matrix products, rows @ grid @ columns.T, for many boxes of about one size at once.

    Args:
        boxes: (N, 4) x0 y0 x1 y1 in pixels of the image.
        mask_probs: (N, S, S) probabilities.
        thresholds: (N,) least probability of a pixel.
        size: (height, width) of the image.

    Returns:
        Tight boxes int32 (N, 4), N crops, and the mean probability over each mask (N,); an empty mask has `EMPTY_BOX` and mean 0.
    """
    count, grid = len(boxes), mask_probs.shape[-1]
    tight = np.zeros((count, 4), np.int32)
    crops: list[mk.Mask] = [np.zeros((0, 0), bool)] * count
    means = np.zeros(count, np.float32)
    start = np.asarray(boxes, np.float64).reshape(-1, 4)[:, :2]
    end = np.asarray(boxes, np.float64).reshape(-1, 4)[:, 2:]
    extent = end - start
    sound = (np.isfinite(extent) & (extent > 0)).all(axis=1, keepdims=True)
    margin = extent / (2 * grid)  # interpolation towards the zeros around the grid reaches half a grid cell out of the box
    limit = np.array([size[1], size[0]])
    first = np.clip(np.ceil(np.where(sound, start - margin - 0.5, 0)), 0, limit).astype(np.int64)
    last = np.clip(np.floor(np.where(sound, end + margin - 0.5, -1)) + 1, 0, limit).astype(np.int64)
    lengths = last - first  # (N, 2): width, height of the window of pixels that the soft mask can reach
    for chosen in _size_batches(lengths):
        width, height = lengths[chosen].max(axis=0)
        rows = _weights(first[chosen, 1], start[chosen, 1], extent[chosen, 1], int(height), grid)
        columns = _weights(first[chosen, 0], start[chosen, 0], extent[chosen, 0], int(width), grid)
        soft = rows @ mask_probs[chosen].astype(np.float32) @ columns.transpose(0, 2, 1)
        # Beyond its own window a batch member may run out of the image.
        inside_rows = np.arange(height) < lengths[chosen, 1:, None]
        inside_columns = np.arange(width) < lengths[chosen, :1, None]
        hard = soft >= np.maximum(thresholds[chosen], 1e-6).astype(np.float32)[:, None, None]
        hard &= inside_rows.transpose(0, 2, 1) & inside_columns
        area = np.count_nonzero(hard, axis=(1, 2))
        means[chosen] = np.einsum("nij,nij->n", soft, hard) / np.maximum(area, 1)
        windows = _tight_windows(hard)
        windows[area == 0] = 0
        tight[chosen] = np.where(area[:, None] > 0, windows + np.tile(first[chosen], 2), 0)
        for i, mask, (x0, y0, x1, y1) in zip(chosen.tolist(), hard, windows.tolist(), strict=True):
            crops[i] = mask[y0:y1, x0:x1].copy()
    return tight, crops, means


def suppress(crops: Sequence[mk.Mask], boxes: mk.Boxes, iou: float) -> NDArray[np.int64]:
    """Greedy mask NMS: of two masks with an IoU above `iou` the later one goes, if the earlier one stays.

    Args:
        crops: N masks in falling order of score.
        boxes: their boxes (N, 4).
        iou: in [0, 1].

    Returns:
        The indices that stay, rising.
    """
    area = areas(crops)
    better, worse, windows = _rivals(boxes, area, iou)
    corners, total = boxes[:, :2].tolist(), area.tolist()
    alive = [True] * len(crops)
    # Most masks fall to their first rival, so shared pixels are counted only when they are asked for.
    for i, j, (x0, y0, x1, y1) in zip(better.tolist(), worse.tolist(), windows.tolist(), strict=True):
        if alive[i] and alive[j]:
            (xi, yi), (xj, yj) = corners[i], corners[j]
            both = crops[i][y0 - yi : y1 - yi, x0 - xi : x1 - xi] & crops[j][y0 - yj : y1 - yj, x0 - xj : x1 - xj]
            shared = np.count_nonzero(both)
            alive[j] = shared <= iou * (total[i] + total[j] - shared)
    return np.flatnonzero(alive)


def fill_holes(crops: Sequence[mk.Mask]) -> list[mk.Mask]:
    """Each mask with its holes filled: background that no 4-connected way joins with the outside."""
    # All crops are laid out on one sheet, because one call of ndimage.label costs less than one a cell; so in largest_pieces.
    sheet, windows = _sheet(crops)
    background, _ = ndimage.label(~sheet)
    filled = background != background[0, 0]
    return [filled[window].copy() for window in windows]


def largest_pieces(crops: Sequence[mk.Mask]) -> list[mk.Mask]:
    """Each mask's largest 4-connected piece, of equal ones the first in row order; the crops keep their shapes."""
    sheet, windows = _sheet(crops)
    pieces, count = ndimage.label(sheet)
    if count <= len(crops) and all(crop.any() for crop in crops):
        return list(crops)
    sizes = np.bincount(pieces.ravel())
    sizes[0] = 0
    largest: list[mk.Mask] = []
    for crop, window in zip(crops, windows, strict=True):
        piece = pieces[window]
        first = piece.flat[crop.argmax()] if crop.size else 0
        if sizes[first] == np.count_nonzero(crop):
            largest.append(crop)
        else:
            present = np.unique(piece)
            largest.append(np.asarray(piece == present[np.argmax(sizes[present])]))
    return largest


def trim(crops: Sequence[mk.Mask], boxes: mk.Boxes, size: mk.Size, max_covered: float) -> tuple[NDArray[np.int64], list[mk.Mask]]:
    """Give every pixel to the first of the masks that claim it.

    A mask of which more than the share `max_covered` is taken already is dropped and takes nothing.

    Returns:
        The indices that stay, rising, and their masks without the pixels of others, in crops of the old shapes.
    """
    used = np.zeros(size, bool)
    kept, trimmed = [], []
    for i, (crop, (x0, y0, x1, y1)) in enumerate(zip(crops, boxes.tolist(), strict=True)):
        view = used[y0:y1, x0:x1]
        free = crop & ~view
        area = np.count_nonzero(crop)
        if area - np.count_nonzero(free) <= max_covered * area:
            view |= crop
            kept.append(i)
            trimmed.append(free)
    return np.array(kept, np.int64), trimmed


def areas(crops: Sequence[mk.Mask]) -> NDArray[np.int64]:
    """Pixels of each mask (N,)."""
    return np.array([np.count_nonzero(crop) for crop in crops], np.int64)


def _rivals(boxes: mk.Boxes, area: NDArray[np.int64], iou: float) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int32]]:
    """Pairs i < j, ordered by j then i, whose boxes share enough for a mask IoU above `iou`, and the boxes' shared windows."""
    order = np.argsort(boxes[:, 0], kind="stable")
    left = boxes[order, 0]
    after = np.arange(1, len(boxes) + 1)
    count = np.maximum(np.searchsorted(left, boxes[order, 2], side="left") - after, 0)  # boxes that start before this one ends
    one = np.repeat(order, count)
    other = order[np.arange(count.sum()) + np.repeat(after - (np.cumsum(count) - count), count)]
    first = np.maximum(boxes[one, :2], boxes[other, :2])
    last = np.minimum(boxes[one, 2:], boxes[other, 2:])
    extent = np.maximum(last - first, 0).astype(np.int64)
    # shared / (a + b - shared) > iou needs shared > iou / (1 + iou) * (a + b), and the masks share no more than their boxes
    near = extent[:, 0] * extent[:, 1] * (1 + iou) > iou * (area[one] + area[other])
    better, worse = np.minimum(one[near], other[near]), np.maximum(one[near], other[near])
    ranked = np.lexsort((better, worse))
    return better[ranked], worse[ranked], np.concatenate([first, last], axis=1)[near][ranked]


def _size_batches(lengths: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Indices of windows (width, height) in batches of about one size; windows without a pixel are left out."""
    inside = np.flatnonzero((lengths > 0).all(axis=1))
    steps = np.ceil(np.log(np.maximum(lengths[inside], 1)) / np.log(1.5)).astype(np.int64)
    _, group = np.unique(steps[:, 0] * 100 + steps[:, 1], return_inverse=True)
    batches = []
    for number in range(int(group.max()) + 1 if len(group) else 0):
        members = inside[group == number]
        most = max(1, BATCH_PIXELS // int(lengths[members].max(axis=0).prod()))
        batches += [members[i : i + most] for i in range(0, len(members), most)]
    return batches


def _weights(
    first: NDArray[np.int64], start: NDArray[np.float64], extent: NDArray[np.float64], length: int, grid: int
) -> NDArray[np.float32]:
    """Linear interpolation weights (n, length, grid) of `length` pixel centres from `first` on, in a grid over start..start + extent."""
    step = (grid / extent)[:, None]
    position = (first + 0.5 - start)[:, None] * step - 0.5 + np.arange(length) * step
    distance = position.astype(np.float32)[:, :, None] - np.arange(grid, dtype=np.float32)
    np.abs(distance, out=distance)
    np.subtract(1, distance, out=distance)
    return np.maximum(distance, 0, out=distance)


def _tight_windows(masks: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Tight half-open boxes (n, 4), x0 y0 x1 y1, of n masks (n, H, W); meaningless for an empty mask."""
    rows, columns = np.asarray(masks.any(axis=2)), np.asarray(masks.any(axis=1))
    return np.stack(
        [
            columns.argmax(axis=1),
            rows.argmax(axis=1),
            columns.shape[1] - columns[:, ::-1].argmax(axis=1),
            rows.shape[1] - rows[:, ::-1].argmax(axis=1),
        ],
        axis=1,
    )


def _sheet(crops: Sequence[mk.Mask]) -> tuple[mk.Mask, list[tuple[slice, slice]]]:
    """Crops laid out side by side with a pixel of background around each, and the window of each one."""
    shapes = [crop.shape for crop in crops]
    sheet_width = max([1022, *(width for _, width in shapes)]) + 2
    windows = [np.s_[0:0, 0:0]] * len(crops)
    x, y, shelf = 1, 1, 0
    for i in sorted(range(len(crops)), key=lambda i: -shapes[i][0]):
        height, width = shapes[i]
        if x + width + 1 > sheet_width:
            x, y, shelf = 1, y + shelf + 1, 0
        windows[i] = np.s_[y : y + height, x : x + width]
        x += width + 1
        shelf = max(shelf, height)
    sheet = np.zeros((y + shelf + 1, sheet_width), bool)
    for crop, window in zip(crops, windows, strict=True):
        sheet[window] = crop
    return sheet, windows


def _tight(crop: mk.Mask, box: mk.Boxes) -> tuple[tuple[int, int, int, int], mk.Mask]:
    (x0, y0, x1, y1), tight = mk.crop_from_mask(crop)
    return (x0 + int(box[0]), y0 + int(box[1]), x1 + int(box[0]), y1 + int(box[1])), tight
