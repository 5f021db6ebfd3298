"""Which thresholds of the settings can be tuned, and over which values."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from somaseg.config import SegmentSettings
from somaseg.postprocessing.steps import READS

Range = tuple[float, float, float]
"""Lowest value, highest value, step."""

BY_CLASS: dict[str, Range] = {"score_thresh": (0.1, 0.9, 0.01), "mask_thresh": (0.25, 0.7, 0.05)}
SHARED: dict[str, Range] = {"box_nms_iou": (0.3, 0.95, 0.05), "nms_iou": (0.05, 0.7, 0.05), "max_covered": (0.0, 1.0, 0.05)}
FUSION: dict[str, Range] = {"support_iou": (0.0, 0.5, 0.05), "nms_iou": (0.05, 0.7, 0.05), "box_iou": (0.3, 0.9, 0.05)}
OF_METHOD = {"screening": ("support_iou", "nms_iou"), "nms": ("nms_iou",), "mask_nms": ("nms_iou",), "weighted": ("box_iou",)}
TUNABLE = {*BY_CLASS, *SHARED, "min_area"}
"""Fields of post-processing with a value to choose."""
AREA_STEPS = 40
"""Into how many steps the areas up to the median area of a class are parted."""


@dataclass(frozen=True)
class Threshold:
    """A threshold, and the values among which one is chosen.

    Attributes:
        section: of the settings, with its field.
        field: its name there.
        cell_type: the class that it is for; None where all classes share it.
        low: the least value, `start` less a whole number of steps.
        high: the largest one, likewise.
        step: between neighbouring values.
        start: the value to begin with.
    """

    section: Literal["postprocess", "fuse"]
    field: str
    cell_type: str | None
    low: float
    high: float
    step: float
    start: float

    @property
    def name(self) -> str:
        """As `--set` has it."""
        return ".".join(filter(None, (self.section, self.field, self.cell_type)))

    def value_in(self, settings: SegmentSettings) -> float:
        """The value that settings hold; a class that they do not name has the default."""
        held: float | dict[str, float] = getattr(getattr(settings, self.section), self.field)
        return held.get(self.cell_type or "default", held["default"]) if isinstance(held, dict) else held


@dataclass(frozen=True)
class Trial:
    """What was tried.

    Attributes:
        values: of all thresholds, by name.
        score: of all images.
        by_class: score of the images of each class that has thresholds of its own.
    """

    values: dict[str, float]
    score: float
    by_class: dict[str, float]


def thresholds(settings: SegmentSettings, models: int, median_areas: Mapping[str, float]) -> tuple[Threshold, ...]:
    """The thresholds that take effect with these settings, those that all classes share first.

    Args:
        settings: where to start.
        models: how many are fused; with one, settings of fusion take no effect.
        median_areas: of true cells in pixels, by each class that shall have thresholds of its own; no least area above it is tried.
    """
    own, fusion = settings.postprocess, settings.fuse
    steps = set(own.steps if models == 1 else (*fusion.member_steps, *fusion.final_steps))
    read = {field for step in steps for field in READS[step]}
    if own.overlaps == "keep":
        read -= {"max_covered"}
    found = [_threshold("postprocess", name, None, values, getattr(own, name)) for name, values in SHARED.items() if name in read]
    if models > 1:
        found += [_threshold("fuse", name, None, FUSION[name], getattr(fusion, name)) for name in OF_METHOD[fusion.method]]
    for cell_type, area in median_areas.items():
        ranges = BY_CLASS | {"min_area": (0.0, area, float(max(1, area // AREA_STEPS)))}
        for name, values in ((name, values) for name, values in ranges.items() if name in read):
            by_class = getattr(own, name)
            found.append(_threshold("postprocess", name, cell_type, values, by_class.get(cell_type, by_class["default"])))
    return tuple(found)


def with_values(settings: SegmentSettings, tuned: Sequence[Threshold], values: Mapping[str, float]) -> SegmentSettings:
    """The settings with these values, by the thresholds' names."""
    changed = settings.model_dump()
    for threshold in tuned:
        section, value = changed[threshold.section], values[threshold.name]
        if threshold.cell_type is None:
            section[threshold.field] = value
        else:
            section[threshold.field] = section[threshold.field] | {threshold.cell_type: value}
    return SegmentSettings.model_validate(changed)


def _threshold(section: Literal["postprocess", "fuse"], field: str, cell_type: str | None, values: Range, start: float) -> Threshold:
    """Steps are counted from the starting value, so that it is one of the values."""
    low, high, step = values
    below, above = (max(0, math.floor(reach / step + 1e-6)) for reach in (start - low, high - start))
    return Threshold(section, field, cell_type, round(start - below * step, 6), round(start + above * step, 6), step, start)
