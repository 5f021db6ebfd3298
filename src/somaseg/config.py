"""Every setting, as frozen pydantic models: a typo is an error that names the field."""

from pathlib import Path
from typing import Annotated, Literal, TypeVar

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from somaseg.errors import InputError


class Settings(BaseModel):
    """Base of all settings: frozen, unknown fields refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def _has_default(values: dict[str, float]) -> dict[str, float]:
    if "default" not in values:
        raise ValueError("give a value for `default`: it holds for the classes that are not named")
    return values


Probability = Annotated[float, Field(ge=0, le=1)]
ProbabilityByClass = Annotated[dict[str, Probability], AfterValidator(_has_default)]
AreaByClass = Annotated[dict[str, Annotated[float, Field(ge=0)]], AfterValidator(_has_default)]


class PostprocessSettings(Settings):
    """From raw detections to cells. A field by class maps class names to values; `default` holds for all others.

    Attributes:
        one_class_per_image: give every cell the class with the largest sum of scores.
        rank_by_mask: the score becomes score x mean mask probability over the mask (RECIPE section 3).
        score_thresh: least score of a cell, by class.
        mask_thresh: least probability of a pixel of a cell, by class.
        nms_iou: of two masks with a larger IoU the one with the lower score goes.
        overlaps: "trim" gives a pixel to the cell with the highest score alone; "keep" lets cells share pixels.
        max_covered: with "trim", a cell of which more than this share is taken by better ones is dropped, not trimmed.
        min_area: least area of a cell in pixels, by class.
    """

    one_class_per_image: bool = True
    rank_by_mask: bool = True
    score_thresh: ProbabilityByClass = {"default": 0.3}
    mask_thresh: ProbabilityByClass = {"default": 0.45}
    nms_iou: Probability = 0.3
    overlaps: Literal["trim", "keep"] = "trim"
    max_covered: Probability = 0.3
    min_area: AreaByClass = {"default": 60.0}


S = TypeVar("S", bound=Settings)


def load_settings(kind: type[S], path: Path) -> S:
    """Read settings of `kind` from a YAML file; what the file leaves out keeps its default.

    Raises:
        InputError: when the file is not a YAML mapping, or a field is unknown or has a wrong value.
    """
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"{path}: cannot be read as YAML settings: {error}") from error
    if not isinstance(values, dict):
        raise InputError(f"{path}: found {type(values).__name__}, expected settings as `name: value` lines")
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}, found {e['input']!r}" for e in error.errors())
        raise InputError(f"{path}: {faults}") from error
