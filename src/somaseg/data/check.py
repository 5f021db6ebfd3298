"""What is wrong with annotations and with their image files."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.progress import track
from scipy import ndimage

from somaseg.annotations.image_folder import is_file
from somaseg.annotations.read import inspect_annotations
from somaseg.annotations.samples import Problem, ProblemKind, Sample
from somaseg.errors import InputError
from somaseg.images.read import read_frames
from somaseg.masks.crops import Boxes, Mask, Size

STRAIGHT = 50  # pixels; docs/method.md: longer horizontal runs of an outline are cuts, not cells
EIGHT = np.ones((3, 3), bool)


@dataclass(frozen=True)
class ImageCheck:
    """Numbers of one image.

    Attributes:
        name: name of the sample.
        areas: pixels of the cells that have any, by class.
        foreground: pixels under at least one cell.
        overlapping: pixels under at least two.
        in_pieces: cells of several pieces that do not touch, not even at corners.
    """

    name: str
    areas: dict[str, list[int]]
    foreground: int
    overlapping: int
    in_pieces: int


@dataclass(frozen=True, eq=False)
class Check:
    """Samples as read, what is wrong with them, and the numbers of each image."""

    samples: list[Sample]
    problems: list[Problem]
    images: list[ImageCheck]


def check(path: str | Path, images: str | Path | None = None, progress: bool = False) -> Check:
    """Check the annotations that `read_annotations` reads from `path`, and their image files.

    Found are: masks that cannot be read or have a piece that is no polygon, belong to no image or class, are empty, reach beyond the
    image, repeat an earlier one exactly, have holes, or have a straight horizontal edge of 50 pixels or more inside the image; boxes
    beyond the image and scores that are none (COCO); images that are listed twice; masks of classes given as label images; image
    files that are missing, unreadable, of another size, or not certain.

    Raises:
        InputError: when the file as a whole cannot be read.
    """
    samples, problems = inspect_annotations(path, images)
    unread = {(p.image, p.index) for p in problems if p.kind == "unreadable mask"}
    not_there = {p.image for p in problems if p.kind in ("missing image", "ambiguous image")}
    numbers = []
    for sample in track(samples, "checking", disable=not progress, transient=True):
        problems += [p for p in mask_problems(sample) if (p.image, p.index) not in unread]
        problems += [] if sample.name in not_there else image_problems(sample)
        numbers.append(_numbers(sample))
    return Check(samples, problems, numbers)


def mask_problems(sample: Sample) -> list[Problem]:
    """Masks of a sample that are empty, double or broken."""
    instances = sample.instances
    problems: list[Problem] = []
    first_of: dict[tuple[bytes, bytes], int] = {}
    for i, (mask, box) in enumerate(zip(instances.masks, instances.boxes, strict=True)):

        def found(kind: ProblemKind, text: str, index: int = i) -> None:
            problems.append(Problem(kind, f"{sample.name}: cell {index}: {text}", sample.name, index))

        if not mask.any():
            found("empty mask", "the mask has no pixel")
            continue
        first = first_of.setdefault(mask_key(mask, box), i)
        if first != i:
            classes = [instances.classes[instances.labels[n]] for n in (first, i)]
            other = "" if classes[0] == classes[1] else f", as {classes[1]} instead of {classes[0]}"
            found("duplicate mask", f"the mask repeats cell {first} exactly{other}")
        if not mask.all() and (hole := int(ndimage.binary_fill_holes(mask).sum()) - int(instances.area[i])):
            found("hole", f"the mask has holes of {hole} pixels")
        if (run := straight_run(mask, box.tolist(), instances.size)) >= STRAIGHT:
            found("straight cut", f"the outline runs {run} pixels straight along a row inside the image")
    return problems


def mask_key(mask: Mask, box: Boxes) -> tuple[bytes, bytes]:
    """The same for two cells exactly when their masks have the same pixels."""
    return box.tobytes(), np.packbits(mask).tobytes()


def straight_run(mask: Mask, box: Sequence[int], size: Size) -> int:
    """Pixels of the longest horizontal piece of a crop's outline that does not lie on the border of the image."""
    if mask.shape[1] < STRAIGHT:
        return 0
    if mask.all():
        return mask.shape[1] if box[1] > 0 or box[3] < size[0] else 0
    framed = np.pad(mask, ((1, 1), (1, 1)))
    edges = [framed[1:-1] & ~framed[:-2], framed[1:-1] & ~framed[2:]]
    if box[1] == 0:
        edges[0][0] = False
    if box[3] == size[0]:
        edges[1][-1] = False
    steps = np.diff(np.concatenate(edges).astype(np.int8).ravel())
    return int((np.flatnonzero(steps == -1) - np.flatnonzero(steps == 1)).max(initial=0))


def image_problems(sample: Sample) -> list[Problem]:
    """What is wrong with the image file of a sample."""
    height, width = sample.instances.size
    if not is_file(sample.image):
        return [Problem("missing image", f"{sample.image}: is not there: give the folder of the images", sample.name)]
    try:
        sizes = {frame.array.shape[:2] for frame in read_frames(sample.image)}
    except InputError as error:
        return [Problem("unreadable image", str(error), sample.name)]
    return [
        Problem("size differs", f"{sample.image}: is {w} x {h} pixels, its annotation says {width} x {height}", sample.name)
        for h, w in sorted(sizes - {(height, width)})
    ]


def _numbers(sample: Sample) -> ImageCheck:
    instances = sample.instances
    filled = instances[instances.area > 0]
    areas: dict[str, list[int]] = {}
    for label, area in zip(filled.labels.tolist(), filled.area.tolist(), strict=True):
        areas.setdefault(instances.classes[label], []).append(area)
    covered = np.zeros(instances.size, np.uint8)
    foreground = overlapping = 0
    for mask, (x0, y0, x1, y1) in zip(filled.masks, filled.boxes, strict=True):
        view = covered[y0:y1, x0:x1]
        foreground += int(np.count_nonzero(mask & (view == 0)))
        overlapping += int(np.count_nonzero(mask & (view == 1)))
        view += mask & (view < 2)
    return ImageCheck(
        name=sample.name,
        areas=areas,
        foreground=foreground,
        overlapping=overlapping,
        in_pieces=sum(not mask.all() and ndimage.label(mask, EIGHT)[1] > 1 for mask in filled.masks),
    )
