"""Settings of augmentation and training."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from somaseg.config.base import Probability, Settings

Positive = Annotated[float, Field(gt=0)]


class ZoomSettings(Settings):
    """Square crops of images enlarged by a factor.

    Attributes:
        side: of the crop, in pixels of the network's input.
        factor: the network's input over the image, drawn log-uniformly from this range.
    """

    kind: Literal["zoom"] = "zoom"
    side: int = Field(default=384, ge=32)
    factor: tuple[Positive, Positive] = (1.1, 2.0)


class EdgeSettings(Settings):
    """Large crops resized by their shorter edge, as Detectron2 does it.

    Attributes:
        crop: share of the image's height, and of its width, that is cropped before; 1 takes the whole image.
        edges: pixels that the shorter edge becomes.
        draw: "choice" draws one of the edges, "range" any whole number from the least to the largest of them.
        longest: the longer edge becomes no longer than this.
    """

    kind: Literal["edge"] = "edge"
    crop: Annotated[float, Field(gt=0, le=1)] = 0.9
    edges: tuple[Annotated[int, Field(ge=1)], ...] = Field(default=(800,), min_length=1)
    draw: Literal["choice", "range"] = "choice"
    longest: int = Field(default=1333, ge=1)


class PasteSettings(Settings):
    """Cells of a donor, pasted at the place they have there (Ghiasi et al. 2021, without moving them).

    Attributes:
        share: how often the donor is another image of the same cell type.
        flip_share: how often it is the image itself, mirrored left to right (FlipPaste).
        cells: range of the share of the donor's cells.
        keep_visible: a covered cell stays if more than this share of it is visible.
        feather: pixels of the image over which the donor's surroundings of a pasted cell fade out; 0 cuts at its outline.
        leave_out: images whose file name fits one of these patterns (such as `*_Phase_*`) neither take nor give cells.
    """

    share: Probability = 0.5
    flip_share: Probability = 0.0
    cells: tuple[Probability, Probability] = (0.3, 0.6)
    keep_visible: Probability = 0.1
    feather: float = Field(default=0.0, ge=0)
    leave_out: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _one_donor_at_a_time(self) -> Self:
        if self.share + self.flip_share > 1:
            raise ValueError(f"share and flip_share exclude each other: found {self.share} + {self.flip_share}, give at most 1 together")
        return self


class AugmentSettings(Settings):
    """What training does to an image (docs/method.md).

    Attributes:
        size: how large a part of the image becomes how many pixels of the network's input.
        turns: "all" draws one of the eight flips and quarter turns, "flips" one of the four flips, "none" leaves it as it is.
        rotate, rotate_share: degrees either way, and how often.
        paste: cells of other images.
        contrast, brightness: factor within 1 / (1 + c) .. 1 + c about the image's mean, and shift within +-b of its deviations.
        noise: largest deviation of added Gaussian noise, in the image's deviations.
    """

    size: Annotated[ZoomSettings | EdgeSettings, Field(discriminator="kind")] = ZoomSettings()
    turns: Literal["all", "flips", "none"] = "all"
    rotate: float = 15.0
    rotate_share: Probability = 0.7
    paste: PasteSettings = PasteSettings()
    contrast: float = Field(default=0.25, ge=0)
    brightness: float = Field(default=0.25, ge=0)
    noise: float = Field(default=0.15, ge=0)


class _OptimizerSettings(Settings):
    rate: Positive
    weight_decay: float = Field(ge=0)
    norm_decay: float = Field(default=0.0, ge=0)
    bias_decay: float | None = Field(default=None, ge=0)
    warmup: int = Field(ge=0)
    warmup_factor: Probability


class SgdSettings(_OptimizerSettings):
    """Stochastic gradient descent, by default as Detectron2 sets it.

    Attributes:
        rate, momentum: learning rate after warm-up, and how much of the last step is kept.
        weight_decay: of weights.
        norm_decay: of the weights and biases of norms.
        bias_decay: of all other biases; not given, theirs is `weight_decay`.
        warmup, warmup_factor: steps over which the rate rises in a line, and the share of it that it starts at.
    """

    kind: Literal["sgd"] = "sgd"
    rate: Positive = 0.005
    momentum: Probability = 0.9
    weight_decay: float = Field(default=1e-4, ge=0)
    warmup: int = Field(default=1000, ge=0)
    warmup_factor: Probability = 0.001


class AdamWSettings(_OptimizerSettings):
    """AdamW (Loshchilov & Hutter 2019), which makes decay independent of the gradient's size.

    Attributes:
        rate: learning rate after warm-up.
        weight_decay: of weights.
        norm_decay: of the weights and biases of norms.
        bias_decay: of all other biases; not given, theirs is `weight_decay`.
        warmup, warmup_factor: steps over which the rate rises in a line, and the share of it that it starts at.
    """

    kind: Literal["adamw"] = "adamw"
    rate: Positive = 4e-4
    weight_decay: float = Field(default=0.02, ge=0)
    bias_decay: float | None = Field(default=0.0, ge=0)
    warmup: int = Field(default=300, ge=0)
    warmup_factor: Probability = 0.01


class FlatSchedule(Settings):
    """The full rate until the last steps, so that a run may be resumed with more or fewer steps.

    Attributes:
        cooldown: steps at the end over which the rate falls in a line.
        final: share of the rate at the end.
    """

    kind: Literal["flat"] = "flat"
    cooldown: int = Field(default=2000, ge=1)
    final: Probability = 0.01


class MultiStepSchedule(Settings):
    """A rate that falls at once.

    Attributes:
        at: steps from which on it is `factor` times what it was.
        factor: see `at`.
    """

    kind: Literal["multi_step"] = "multi_step"
    at: tuple[int, ...]
    factor: Probability = 0.1


class CosineSchedule(Settings):
    """Half a cosine from the first step to the last (Loshchilov & Hutter 2017).

    Attributes:
        final: share of the rate at the end.
    """

    kind: Literal["cosine"] = "cosine"
    final: Probability = 0.0


class PseudoTrainSettings(Settings):
    """How much pseudo-labelled images count, once there are any among the data (docs/method.md, "Pseudo-labels").

    Attributes:
        weight: what the losses of their crops are multiplied by at the end; 0 never shows them.
        start, full: shares of the run's steps; up to the first they are not shown at all, from there their weight rises in a line, and
            from the second on it is `weight`. Both 0: all of it from the first step on.
        share: share of the crops that show them, while they count.
    """

    weight: float = Field(default=3.0, ge=0)
    start: Probability = 0.6
    full: Probability = 0.9
    share: Probability = 0.5

    @model_validator(mode="after")
    def _starts_before_it_is_full(self) -> Self:
        if self.start > self.full:
            raise ValueError(f"start is {self.start}, full is {self.full}: give a start of no more than that")
        return self


class TrainSettings(Settings):
    """A training run.

    Attributes:
        init: what the weights start from: "imagenet" packaged ImageNet weights of the trunk, "none" drawn ones, else the name or path
            of somaseg weights; their class heads are matched by class name.
        hold: parts of the network that stay as they are: its trunk and pyramid ("backbone"), what proposes boxes ("proposal_generator"),
            what refines them and draws masks ("roi_heads"). With the first and the last held, only proposals learn, in less time.
        steps: optimiser steps.
        batch: crops a step (over all processes).
        accumulate: micro-batches that each process passes its crops through the trunk in; gradients add up over them, and the losses
            are those of the whole batch. More of them take less memory; above 1 the trunk is computed twice.
        optimizer, schedule: what turns gradients into steps, and how its rate goes on after warm-up.
        clip: largest gradient norm; 0 leaves gradients as they are.
        ema: decay of the moving average of the weights that is validated and saved; 0 takes the weights themselves.
        validate_every: steps between validations; 0 validates at the end alone.
        validate_images: held-out images a validation, at most, the same each time; 0 takes all.
        log_every: steps between log lines.
        checkpoint_minutes: minutes between checkpoints to resume from.
        draw: "types" draws every cell type as often, "images" every image.
        type_weights: how often images of a class are drawn on top of that, relative to each other; missing ones 1.
        pseudo: pseudo-labelled images.
        folds, fold: folds of the grouped split, and the one held out.
        bf16: compute in bfloat16 where that is safe, on devices that are fast at it.
        workers: processes that make crops; 0 makes them in the training process.
        magnification: "auto" shows images whose annotated cells are smaller or larger than those that the weights of `init` know so much
            larger or smaller, and makes that the new weights' own scale; "off" takes the scale of `model` and `augment` as it is.
        seed, seed_of_folds: of everything that is drawn, and of the split.
    """

    init: str = "imagenet"
    hold: tuple[Literal["backbone", "proposal_generator", "roi_heads"], ...] = ()
    steps: int = Field(default=8000, ge=1)
    batch: int = Field(default=4, ge=1)
    accumulate: int = Field(default=1, ge=1)
    optimizer: Annotated[AdamWSettings | SgdSettings, Field(discriminator="kind")] = AdamWSettings()
    schedule: Annotated[FlatSchedule | MultiStepSchedule | CosineSchedule, Field(discriminator="kind")] = FlatSchedule()
    clip: float = Field(default=5.0, ge=0)
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.998
    validate_every: int = Field(default=1000, ge=0)
    validate_images: int = Field(default=30, ge=0)
    log_every: int = Field(default=20, ge=1)
    checkpoint_minutes: float = 3.0
    draw: Literal["types", "images"] = "types"
    type_weights: dict[str, Annotated[float, Field(ge=0)]] = {}
    pseudo: PseudoTrainSettings = PseudoTrainSettings()
    folds: int = Field(default=5, ge=2)
    fold: int = 0
    bf16: bool = True
    workers: int = 1
    magnification: Literal["auto", "off"] = "auto"
    seed: int = 0
    seed_of_folds: int = 0
