"""Settings of augmentation and training."""

from typing import Annotated

from pydantic import Field

from somaseg.config.base import Probability, Settings


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
