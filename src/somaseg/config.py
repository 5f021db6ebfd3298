"""Every setting, as frozen pydantic models: a typo is an error that names the field."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from somaseg.errors import InputError


class Settings(BaseModel):
    """Base of all settings: frozen, unknown fields refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def _by_class(value: Any) -> Any:
    """A plain number holds for all classes."""
    return {"default": value} if isinstance(value, (int, float, str)) else value


def _has_default(values: dict[str, float]) -> dict[str, float]:
    if "default" not in values:
        raise ValueError("give a value for `default`: it holds for the classes that are not named")
    return values


Probability = Annotated[float, Field(ge=0, le=1)]
ProbabilityByClass = Annotated[dict[str, Probability], BeforeValidator(_by_class), AfterValidator(_has_default)]
AreaByClass = Annotated[dict[str, Annotated[float, Field(ge=0)]], BeforeValidator(_by_class), AfterValidator(_has_default)]


class PostprocessSettings(Settings):
    """From raw detections to cells.

    A field by class maps class names to values; `default` holds for all others, and a plain number for all.

    Attributes:
        one_class_per_image: give every cell the class with the largest sum of scores.
        rank_by_mask: the score becomes score x mean mask probability over the mask (docs/method.md).
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


class SegmentSettings(Settings):
    """What `segment` can be told with `--set`."""

    postprocess: PostprocessSettings = PostprocessSettings()


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
        raise InputError(f"{path}: {_faults(error)}") from error


def override(settings: S, assignments: Sequence[str]) -> S:
    """Settings with assignments such as `postprocess.nms_iou=0.2` or `postprocess.min_area.astro=120` made; values are YAML.

    Raises:
        InputError: when an assignment is none, or names no field, or gives it a wrong value.
    """
    values = settings.model_dump()
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        *parents, last = name.split(".")
        place: Any = values
        for parent in parents:
            place = place.get(parent) if isinstance(place, dict) else None
        if not equals or not isinstance(place, dict):
            raise InputError(f"--set {assignment}: expected KEY=VALUE with a key below {', '.join(values)}")
        try:
            place[last] = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise InputError(f"--set {assignment}: {text!r} cannot be read as a YAML value") from error
    try:
        return type(settings).model_validate(values)
    except ValidationError as error:
        raise InputError(f"--set {' '.join(assignments)}: {_faults(error)}") from error


def _faults(error: ValidationError) -> str:
    return "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}, found {e['input']!r}" for e in error.errors())


class BackboneSettings(Settings):
    """A timm network and the pyramid on it.

    Attributes:
        name: timm's name of the network.
        strides: strides of the features that enter the pyramid, fine to coarse.
        freeze_at: 0 trains all; 1 holds the stem; n holds the stem and the first n - 1 stages (timm EfficientNets).
        fpn_width: channels of every level.
        fpn_norm: "GN" or "" for none.
    """

    name: str = "tf_efficientnet_lite0"
    strides: tuple[int, ...] = (4, 8, 16, 32)
    freeze_at: int = Field(default=2, ge=0)
    fpn_width: int = Field(default=96, ge=8)
    fpn_norm: Literal["", "GN"] = ""


class RpnSettings(Settings):
    """Region proposals (Faster R-CNN, Ren et al. 2015); sizes in pixels of the network's input.

    Attributes:
        sizes: anchor sides by level, fine to coarse, as many on each level.
        ratios: height / width of the anchors.
        positive_iou, negative_iou: an anchor is a cell from the first on, background below the second.
        samples, positive_share: anchors an image in the loss, and the largest share of cells among them.
        nms_iou: overlap at which of two proposals of a level one goes.
        pre_nms, post_nms: proposals a level before, and an image after it, at inference.
        train_pre_nms, train_post_nms: the same in training.
    """

    sizes: tuple[tuple[float, ...], ...] = ((28, 20), (48, 36), (88, 64), (170, 120))
    ratios: tuple[float, ...] = (0.5, 1.0, 2.0)
    positive_iou: Probability = 0.6
    negative_iou: Probability = 0.3
    samples: int = Field(default=256, ge=1)
    positive_share: Probability = 0.5
    nms_iou: Probability = 0.7
    pre_nms: int = Field(default=2000, ge=1)
    post_nms: int = Field(default=1500, ge=1)
    train_pre_nms: int = Field(default=400, ge=1)
    train_post_nms: int = Field(default=300, ge=1)


class HeadSettings(Settings):
    """The cascade (Cai & Vasconcelos 2018) and the mask head.

    Attributes:
        ious: overlap from which a box is a cell, by stage.
        samples, positive_share: boxes an image in the loss, and the largest share of cells among them.
        canonical_size: side in pixels of the network's input of a box that is pooled from the level `canonical_level`.
        canonical_level: that level, 0 is the finest.
        pool_ratio: samples along a bin's side; 0 adapts to the box.
        box_convs, box_conv_width, box_fcs, box_fc_width: layers of a stage's box head.
        mask_convs, mask_width: layers of the mask head, on 14 x 14 features; it gives 28 x 28.
        mask_samples: cells an image in the mask loss, at most (0 takes all).
        norm: "GN" or "" for the convolutions of both heads.
    """

    ious: tuple[float, ...] = (0.5, 0.6, 0.7)
    samples: int = Field(default=96, ge=1)
    positive_share: Probability = 0.35
    canonical_size: float = Field(default=112.0, gt=0)
    canonical_level: int = 2
    pool_ratio: int = Field(default=0, ge=0)
    box_convs: int = 0
    box_conv_width: int = 128
    box_fcs: int = 2
    box_fc_width: int = 256
    mask_convs: int = 3
    mask_width: int = 96
    mask_samples: int = 16
    norm: Literal["", "GN"] = ""


class DetectSettings(Settings):
    """What a detector keeps of its raw detections.

    Attributes:
        scale: size of the network's input over the size of the image.
        score_thresh: detections below are not kept; low, since post-processing screens.
        nms_iou: box overlap at which of two detections one goes; loose, since masks decide later.
        per_class: True keeps a detection for every class above the threshold (Detectron2's way); False one a box,
            with 1 - p(background) as its score and its most probable class as label.
        max_detections: an image; reaching it gives a warning.
    """

    scale: float = Field(default=1.5, gt=0)
    score_thresh: Probability = 0.05
    nms_iou: Probability = 0.6
    per_class: bool = False
    max_detections: int = Field(default=1500, ge=1)


class ModelSettings(Settings):
    """A Cascade Mask R-CNN, whole: classes, parts, and how it detects."""

    classes: tuple[str, ...] = ("shsy5y", "astro", "cort")
    backbone: BackboneSettings = BackboneSettings()
    rpn: RpnSettings = RpnSettings()
    heads: HeadSettings = HeadSettings()
    detect: DetectSettings = DetectSettings()


class AugmentSettings(Settings):
    """What training does to an image, in the order it is done (docs/method.md).

    Attributes:
        crop: side of the square network input in pixels.
        scale: the network's input over the image, drawn log-uniformly from this range.
        turn: draw one of the eight flips and quarter turns.
        rotate, rotate_share: degrees either way, and how often.
        paste_share: how often cells of a donor image of the same class are pasted.
        paste_cells: range of the share of the donor's cells.
        keep_visible: a covered cell stays if more than this share of it is visible.
        contrast, brightness: factor within 1 / (1 + c) .. 1 + c, and shift within +-b deviations.
        noise: largest deviation of added Gaussian noise.
    """

    crop: int = Field(default=384, ge=32)
    scale: tuple[float, float] = (1.1, 2.0)
    turn: bool = True
    rotate: float = 15.0
    rotate_share: Probability = 0.7
    paste_share: Probability = 0.5
    paste_cells: tuple[float, float] = (0.3, 0.6)
    keep_visible: Probability = 0.1
    contrast: float = 0.25
    brightness: float = 0.25
    noise: float = 0.15


class TrainSettings(Settings):
    """A training run.

    Attributes:
        steps: optimiser steps.
        batch: crops a step (over all processes).
        rate, weight_decay: of AdamW; no decay on norms and biases.
        warmup, cooldown: steps in which the rate rises from 1 % at the start, and falls to 1 % at the end; flat between
            them, so that a run may be resumed with more or fewer steps.
        clip: largest gradient norm.
        ema: decay of the moving average of the weights that is validated and saved.
        validate_every: steps between validations; 0 validates at the end alone.
        validate_images: held-out images a validation, at most, the same each time; 0 takes all.
        log_every: steps between log lines.
        checkpoint_minutes: minutes between checkpoints to resume from.
        type_weights: how often images of a class are drawn, relative to each other; missing ones 1.
        folds, fold: folds of the grouped split, and the one held out.
        bf16: compute in bfloat16 where that is safe.
        workers: processes that make crops; 0 makes them in the training process.
        pretrained: start the backbone from packaged ImageNet weights.
        seed, seed_of_folds: of everything that is drawn, and of the split.
    """

    steps: int = Field(default=8000, ge=1)
    batch: int = Field(default=4, ge=1)
    rate: float = 4e-4
    weight_decay: float = 0.02
    warmup: int = Field(default=300, ge=0)
    cooldown: int = Field(default=2000, ge=1)
    clip: float = 5.0
    ema: float = 0.998
    validate_every: int = 1000
    validate_images: int = 30
    log_every: int = Field(default=20, ge=1)
    checkpoint_minutes: float = 3.0
    type_weights: dict[str, Annotated[float, Field(ge=0)]] = {}
    folds: int = Field(default=5, ge=2)
    fold: int = 0
    bf16: bool = True
    workers: int = 1
    pretrained: bool = True
    seed: int = 0
    seed_of_folds: int = 0


class Config(Settings):
    """Everything of a run."""

    model: ModelSettings = ModelSettings()
    augment: AugmentSettings = AugmentSettings()
    train: TrainSettings = TrainSettings()
    postprocess: PostprocessSettings = PostprocessSettings()
