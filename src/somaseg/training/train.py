"""Training: the Lightning module, its callbacks, and `fit`."""

import json
import math
import os
import subprocess
import warnings
from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor
from torch.utils.data import DataLoader

from somaseg.annotations.read import read_annotations
from somaseg.annotations.samples import Sample, with_classes
from somaseg.checkpoints.checkpoint import load_checkpoint, save_checkpoint
from somaseg.checkpoints.class_heads import adapt_classes
from somaseg.checkpoints.names import weights_path
from somaseg.config import Config, load_settings
from somaseg.data.groups import with_groups
from somaseg.data.splits import make_folds
from somaseg.errors import InputError, MissingExtraError
from somaseg.evaluation.map_iou import FULL_SET_IMAGES, map_iou
from somaseg.images.read import read_image
from somaseg.inference.detect import bf16_is_fast, detect
from somaseg.inference.views import View
from somaseg.instances import Instances
from somaseg.models.cascade import CascadeMaskRCNN
from somaseg.models.targets import Target
from somaseg.postprocessing.steps import postprocess
from somaseg.provenance import versions
from somaseg.training.dataset import Crops, Steps, collate
from somaseg.training.optimise import make_optimizer, rate_factor

try:
    import pytorch_lightning as pl
    from pytorch_lightning.callbacks import EMAWeightAveraging, LearningRateMonitor, ModelCheckpoint, TQDMProgressBar
    from pytorch_lightning.loggers import CSVLogger, TensorBoardLogger
    from pytorch_lightning.utilities import rank_zero_info
    from pytorch_lightning.utilities.types import OptimizerLRSchedulerConfig
except ImportError:
    raise MissingExtraError("pytorch-lightning", "train") from None

EMA_EVERY = 5  # optimiser steps between updates of the moving average; each costs about a hundredth of a step


class NotFiniteError(RuntimeError):
    """The loss became NaN or infinite; the message names the file that holds the batch."""


class Trainer(pl.LightningModule):
    """Losses, optimiser and schedule of a run; validation scores `map_iou` through the thresholds that `segment` uses.

    Args:
        config: of the run.
        model: to train.
        run: folder that a batch with a NaN loss is saved to.
        held_out: samples that validation scores, by their number.
    """

    def __init__(self, config: Config, model: CascadeMaskRCNN, run: Path, held_out: Sequence[Sample]) -> None:
        super().__init__()
        self.config, self.model, self.run, self.held_out = config, model, run, held_out
        self.scored: list[tuple[Instances, Instances, str]] = []

    def training_step(self, batch: tuple[list[Tensor], list[Target]], index: int) -> Tensor:
        """The sum of all losses of a batch."""
        # What is sampled in a step depends on the step alone, so that a resumed run goes on as it would have.
        torch.manual_seed(self.config.train.seed * 1_000_003 + self.global_step * 64 + self.global_rank)
        images, targets = batch
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.train.bf16):
            losses = self.model(images, targets, self.config.train.accumulate)
        total = torch.stack(list(losses.values())).sum()
        if not torch.isfinite(total):
            path = self.run / f"not_finite_step_{self.global_step}.pt"
            torch.save({"images": images, "targets": targets, "losses": losses, "model": self.model.state_dict()}, path)
            parts = ", ".join(f"{k} {v.item():.3g}" for k, v in losses.items())
            raise NotFiniteError(f"the loss of step {self.global_step} is not finite ({parts}): batch and weights are in {path}")
        several = self.trainer.world_size > 1
        self.log("loss", total, prog_bar=True, batch_size=len(images), sync_dist=several)
        self.log_dict(losses, batch_size=len(images), sync_dist=several)
        return total

    def validation_step(self, number: int, index: int) -> None:
        """Score one held-out image."""
        self.scored.append(score_sample(self.model, self.held_out[int(number)], self.config, self.device))

    def on_validation_epoch_start(self) -> None:
        """Forget the last validation."""
        self.scored = []

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """The optimiser, and its rate step by step."""
        cfg = self.config.train
        optimizer = make_optimizer(self.model, cfg.optimizer)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: rate_factor(cfg, step))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def score_sample(model: CascadeMaskRCNN, sample: Sample, config: Config, device: torch.device) -> tuple[Instances, Instances, str]:
    """What the model finds in an annotated image, its truth, and its cell type."""
    image = read_image(sample.image).array
    prediction = detect(View(model.eval(), config.model), [image], config.train.bf16 and bf16_is_fast(device), device)[0]
    return postprocess(prediction, config.postprocess), sample.instances, sample.cell_type or ""


def moving_average(config: Config) -> list[pl.Callback]:
    """The callback that averages the weights, if the settings ask for it."""
    decay = config.train.ema
    return [EMAWeightAveraging(decay=decay**EMA_EVERY, update_every_n_steps=EMA_EVERY)] if decay else []


class SaveBest(pl.Callback):
    """Logs `map_iou` of each validation and keeps the best weights.

    Stands before the moving average in the list of callbacks, so that it sees the averaged weights.
    """

    def __init__(self, provenance: dict[str, Any]) -> None:
        self.best = -1.0
        self.provenance = provenance

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run must know."""
        return {"best": self.best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from `state_dict`."""
        self.best = state_dict["best"]

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Score the images of this validation and save the weights if they are the best."""
        assert isinstance(pl_module, Trainer)
        if trainer.sanity_checking or not pl_module.scored:
            return
        types = [t for _, _, t in pl_module.scored]
        weights = {t: FULL_SET_IMAGES[t] for t in set(types)} if set(types) <= set(FULL_SET_IMAGES) else None
        result = map_iou([(found, truth) for found, truth, _ in pl_module.scored], types, weights, draws=100)
        value = result.headline.value
        pl_module.log("map_iou", value, prog_bar=True, sync_dist=False)
        pl_module.log_dict({f"map_iou_{t or 'all'}": s.value for t, s in result.by_class.items()})
        if trainer.is_global_zero:
            by_type = ", ".join(f"{t} {s.value:.4f}" for t, s in result.by_class.items())
            rank_zero_info("step %d: map_iou %.4f (%s) on %d held-out images", trainer.global_step, value, by_type, len(types))
            provenance = self.provenance | {"step": trainer.global_step, "map_iou": value}
            save_checkpoint(pl_module.run / "last.safetensors", pl_module.model, pl_module.config, provenance)
            if value > self.best:
                self.best = value
                save_checkpoint(pl_module.run / "best.safetensors", pl_module.model, pl_module.config, provenance)


def split(samples: list[Sample], config: Config) -> tuple[list[Sample], list[Sample]]:
    """Training and held-out samples of the run's fold."""
    cfg = config.train
    folds = make_folds(samples, cfg.folds, cfg.seed_of_folds)
    training = [s for s in samples if folds[s.name] != cfg.fold]
    held_out = [s for s in samples if folds[s.name] == cfg.fold]
    return training, held_out


def read_split(config: Config, data: Sequence[Path]) -> tuple[list[Sample], list[Sample]]:
    """Training and held-out samples of all annotations (see `read_annotations`), in the model's classes.

    Each of the annotations is split on its own, so that what is held out of it does not depend on the others: a model that was
    pre-trained on a pool has not seen what a later run on a part of the pool holds out.

    Pseudo-labelled images are never held out; they come last of the training samples, without those that show a held-out field.

    Raises:
        InputError: when annotations cannot be used, a person made none of them, two of them name the same image, or a pseudo-labelled
            image has no group.
    """
    training: list[Sample] = []
    held_out: list[Sample] = []
    pseudo: list[Sample] = []
    for path in data:
        samples = [with_classes(s, config.model.classes) for s in read_annotations(path)]
        pseudo += with_known_fields([s for s in samples if s.source == "pseudo"], path)
        if annotated := [s for s in samples if s.source == "manual"]:
            parts = split(with_groups(annotated), config)
            training += parts[0]
            held_out += parts[1]
    if not (training or held_out):
        raise InputError(
            "--data: no image that a person annotated, expected some to learn from and to score on: give their annotations too"
        )
    twice = [name for name, count in Counter(s.name for s in (*training, *held_out, *pseudo)).items() if count > 1]
    if twice:
        raise InputError(f"--data: {len(twice)} images are in several annotations, such as {twice[0]}: give each image once")
    return [*training, *of_other_fields(pseudo, held_out)], held_out


def with_known_fields(pseudo: list[Sample], path: Path) -> list[Sample]:
    """The pseudo-labelled images of one annotation.

    Raises:
        InputError: when one has no group.
    """
    for sample in pseudo:
        if sample.group is None:
            raise InputError(
                f"{path}: images, group: the pseudo-labelled image {sample.name} has none, so it may show the field of a held-out one: "
                "make the pseudo-labels again with `somaseg pseudo --near ANNOTATIONS`, for all annotations of people that training gets"
            )
    return pseudo


def of_other_fields(pseudo: list[Sample], held_out: list[Sample]) -> list[Sample]:
    """Pseudo-labelled images without those of the field of a held-out image; tells how many these are."""
    # A group that was found in images is called by one of them; since then images may have come that gave it another name.
    shown = {sample.group for sample in held_out} | {sample.name for sample in held_out}
    kept = [sample for sample in pseudo if sample.group not in shown]
    if len(kept) < len(pseudo):
        rank_zero_info(f"left out {len(pseudo) - len(kept)} of {len(pseudo)} pseudo-labelled images: they show the field of a held-out one")
    return kept


def initial_model(config: Config) -> tuple[CascadeMaskRCNN, str]:
    """The model that a run starts from, as `train.init` says, and what was done to get it.

    Raises:
        InputError: when the weights cannot be read, or do not fit `model`.
    """
    init, settings = config.train.init, config.model
    model = CascadeMaskRCNN(settings, pretrained=init == "imagenet")
    if init in ("imagenet", "none"):
        return model, "ImageNet weights of the trunk" if init == "imagenet" else "weights drawn at random"
    source = load_checkpoint(weights_path(init))
    if source.config.model.input != settings.input:
        raise InputError(f"train.init: {init} was trained on other pixel values: set model.input to {source.config.model.input!r}")
    adapted = adapt_classes(source.model.state_dict(), source.config.model.classes, settings.classes, seed=config.train.seed)
    own = model.state_dict()
    wrong = sorted(
        name for name in own.keys() | adapted.state.keys()
        if name not in own or name not in adapted.state or own[name].shape != adapted.state[name].shape
    )  # fmt: skip
    if wrong:
        raise InputError(f"train.init: {len(wrong)} tensors of {init} do not fit `model`, such as {wrong[0]}: set it as in those weights")
    model.load_state_dict(adapted.state)
    return model, f"{init} (SHA-256 {source.sha256}); classes {adapted.text()}"


def fit(config: Config, data: Sequence[Path], run: Path) -> Path:
    """Train, resuming where a killed run stopped, and return the best weights' path.

    Args:
        config: of the run.
        data: one or more annotations; see `read_annotations`.
        run: folder of the run; made if absent.

    Raises:
        InputError: for data that cannot be used, or a run folder of other settings.
        NotFiniteError: when the loss becomes NaN.
    """
    _begin(config, run)
    training, held_out = read_split(config, data)
    crops = Crops(training, config)
    torch.manual_seed(config.train.seed)
    model, start_text = initial_model(config)
    rank_zero_info(f"starts from {start_text}")
    resume = run / "last.ckpt"
    start = int(torch.load(resume, map_location="cpu", weights_only=False, mmap=True)["global_step"]) if resume.exists() else 0
    world, rank = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("RANK", "0"))
    cfg = config.train
    loader = DataLoader(
        crops,
        batch_sampler=Steps(start, cfg.steps, cfg.batch, rank, world),
        collate_fn=collate,
        num_workers=cfg.workers,
        persistent_workers=cfg.workers > 0,
    )
    interval = min(cfg.validate_every or cfg.steps, cfg.steps)
    chosen = held_out[:: max(1, math.ceil(len(held_out) / cfg.validate_images))] if cfg.validate_images else held_out
    pseudo = sum(sample.source == "pseudo" for sample in training)
    images = {"images": len(training) - pseudo, "pseudo_images": pseudo, "held_out": len(held_out)}
    about = {"data": ", ".join(path.name for path in data), "start": start_text} | images
    best = SaveBest(about | {"fold": cfg.fold, "folds": cfg.folds})
    trainer = pl.Trainer(
        default_root_dir=run,
        max_steps=cfg.steps,
        max_epochs=-1,
        accelerator="auto",
        devices=int(os.environ.get("LOCAL_WORLD_SIZE", "1")),
        num_nodes=max(1, world // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))),
        strategy="ddp" if world > 1 else "auto",
        use_distributed_sampler=False,
        gradient_clip_val=cfg.clip or None,
        val_check_interval=interval,
        check_val_every_n_epoch=None,
        num_sanity_val_steps=0,
        log_every_n_steps=cfg.log_every,
        logger=[CSVLogger(run, name="", version="csv"), TensorBoardLogger(run, name="", version="tensorboard")],
        callbacks=[
            best,
            *moving_average(config),
            ModelCheckpoint(
                run,
                filename="last",
                train_time_interval=timedelta(minutes=cfg.checkpoint_minutes),
                enable_version_counter=False,
            ),
            LearningRateMonitor("step"),
            TQDMProgressBar(refresh_rate=cfg.log_every),
        ],
        enable_model_summary=False,
    )
    with warnings.catch_warnings():
        # Lightning advises more loader workers and counts what it cannot know; both are settled here.
        warnings.filterwarnings("ignore", module="pytorch_lightning")
        module = Trainer(config, model, run, chosen)
        validation: DataLoader[int] = DataLoader(range(len(chosen)), batch_size=None)  # type: ignore[arg-type]
        trainer.fit(module, loader, validation, ckpt_path=str(resume) if resume.exists() else None, weights_only=False)
        if cfg.steps % interval:
            trainer.validate(module, validation, verbose=False)  # so that the last weights are scored and saved too
    return run / "best.safetensors"


def _but_steps(config: Config) -> Config:
    return config.model_copy(update={"train": config.train.model_copy(update={"steps": 1})})


def _begin(config: Config, run: Path) -> None:
    """Write what the run is made of, or check that it is the same."""
    run.mkdir(parents=True, exist_ok=True)
    settings = run / "settings.yaml"
    if settings.exists() and _but_steps(load_settings(Config, settings)) != _but_steps(config):
        raise InputError(
            f"{settings}: belongs to a run with other settings: give another --out, or these to resume (only train.steps may differ)"
        )
    settings.write_text(yaml.safe_dump(json.loads(config.model_dump_json()), sort_keys=False))
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False).stdout.strip() or None
    about = {"versions": versions(["pytorch-lightning"]), "git_commit": commit}
    (run / "about.json").write_text(json.dumps(about, indent=1))
