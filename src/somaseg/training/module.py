"""The Lightning module of a run, its callbacks, and the model that it starts from."""

import csv
import io
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from somaseg.annotations.samples import Sample
from somaseg.checkpoints.checkpoint import load_checkpoint, save_checkpoint
from somaseg.checkpoints.class_heads import adapt_classes
from somaseg.checkpoints.names import weights_path
from somaseg.config import Config
from somaseg.errors import InputError, MissingExtraError
from somaseg.evaluation.map_iou import map_iou, present_weights
from somaseg.files import whole, write_whole
from somaseg.images.read import read_image
from somaseg.inference.detect import detect
from somaseg.inference.views import View
from somaseg.instances import Instances
from somaseg.models.cascade import CascadeMaskRCNN
from somaseg.models.targets import Target
from somaseg.postprocessing.steps import postprocess
from somaseg.runtimes.torch_detector import TorchDetector
from somaseg.runtimes.torch_precision import autocast
from somaseg.training.optimise import make_optimizer, rate_factor

try:
    import pytorch_lightning as pl
    from lightning_fabric.loggers.logger import rank_zero_experiment
    from pytorch_lightning.callbacks import EMAWeightAveraging
    from pytorch_lightning.loggers import CSVLogger
    from pytorch_lightning.plugins.io import TorchCheckpointIO
    from pytorch_lightning.utilities.types import OptimizerLRSchedulerConfig
except ImportError:
    raise MissingExtraError("pytorch-lightning", "train") from None


EMA_EVERY = 5  # optimiser steps between updates of the moving average; each costs about a hundredth of a step


class NotFiniteError(RuntimeError):
    """The loss became NaN or infinite; the message names the file that holds the batch."""


class DetectorModule(pl.LightningModule):
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
        self.scored: list[tuple[Instances, Sample]] = []
        self.warned: Counter[str] = Counter()

    def training_step(self, batch: tuple[list[Tensor], list[Target]], index: int) -> Tensor:
        """The sum of all losses of a batch."""
        # What is sampled in a step depends on the step alone, so that a resumed run goes on as it would have.
        torch.manual_seed(self.config.train.seed * 1_000_003 + self.global_step * 64 + self.global_rank)
        images, targets = batch
        with autocast(self.device, self.config.train.bf16):
            losses = self.model(images, targets, self.config.train.accumulate)
        total = torch.stack(list(losses.values())).sum()
        if not torch.isfinite(total):
            path = self.run / f"not_finite_step_{self.global_step}.pt"
            with whole(path) as part:
                torch.save({"images": images, "targets": targets, "losses": losses, "model": self.model.state_dict()}, part)
            parts = ", ".join(f"{k} {v.item():.3g}" for k, v in losses.items())
            raise NotFiniteError(f"the loss of step {self.global_step} is not finite ({parts}): batch and weights are in {path}")
        several = self.trainer.world_size > 1
        self.log("loss", total, prog_bar=True, batch_size=len(images), sync_dist=several)
        self.log_dict(losses, batch_size=len(images), sync_dist=several)
        return total

    def validation_step(self, number: int, index: int) -> None:
        """Score one held-out image; what is warned of is told once for all of them."""
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", UserWarning)
            self.scored.append(score_sample(self.model, self.held_out[int(number)], self.config))
        self.warned.update({str(warning.message) for warning in caught})

    def on_validation_epoch_start(self) -> None:
        """Forget the last validation."""
        self.scored, self.warned = [], Counter()

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """The optimiser, and its rate step by step."""
        cfg = self.config.train
        optimizer = make_optimizer(self.model, cfg.optimizer)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: rate_factor(cfg, step))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def score_sample(model: CascadeMaskRCNN, sample: Sample, config: Config) -> tuple[Instances, Sample]:
    """What the model finds in an annotated image, and the sample."""
    image = np.asarray(read_image(sample.image).picture)
    prediction = detect(View(TorchDetector(model.eval(), config.train.bf16), config.model), [image])[0]
    return postprocess(prediction, config.postprocess), sample


def moving_average(config: Config) -> list[pl.Callback]:
    """The callback that averages the weights, if the settings ask for it."""
    decay = config.train.ema
    return [EMAWeightAveraging(decay=decay**EMA_EVERY, update_every_n_steps=EMA_EVERY)] if decay else []


class SaveBest(pl.Callback):
    """Logs `map_iou` of each validation and keeps the best weights.

    Stands before the moving average in the list of callbacks, so that it sees the averaged weights.

    Args:
        provenance: what the files of weights tell of themselves.
        type_weights: of the score. A run that goes on with others than before looks for its best score anew.
    """

    def __init__(self, provenance: dict[str, Any], type_weights: Mapping[str, float]) -> None:
        self.best = -1.0
        self.provenance, self.type_weights = provenance, dict(type_weights)

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run must know."""
        return {"best": self.best, "type_weights": self.type_weights}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from `state_dict`."""
        if state_dict.get("type_weights", self.type_weights) == self.type_weights:
            self.best = state_dict["best"]

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Score the images of this validation and save the weights if they are the best."""
        assert isinstance(pl_module, DetectorModule)
        if trainer.sanity_checking or not pl_module.scored:
            return
        types = [sample.type_name for _, sample in pl_module.scored]
        weights = present_weights(self.type_weights, types)
        result = map_iou([(found, s.instances, s.ignored) for found, s in pl_module.scored], types, weights, draws=100)
        value = result.headline.value
        pl_module.log("map_iou", value, prog_bar=True, sync_dist=False)
        pl_module.log_dict({f"map_iou_{t}": s.value for t, s in result.by_class.items()})
        if trainer.is_global_zero:
            by_type = ", ".join(f"{t} {s.value:.4f}" for t, s in result.by_class.items())
            pl_module.print(f"step {trainer.global_step}: map_iou {value:.4f} ({by_type}) on {len(types)} held-out images")
            for text, count in pl_module.warned.items():
                pl_module.print(f"note: {count} of these images: {text}")
            provenance = self.provenance | {"step": trainer.global_step, "map_iou": value}
            save_checkpoint(pl_module.run / "last.safetensors", pl_module.model, pl_module.config, provenance)
            if value > self.best:
                self.best = value
                save_checkpoint(pl_module.run / "best.safetensors", pl_module.model, pl_module.config, provenance)


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


class WholeCheckpoints(TorchCheckpointIO):
    """Writes checkpoints to resume from beside their place, and then into it; Lightning goes through the folder of temporary files."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write a checkpoint whole or not at all."""
        with whole(Path(path)) as part:
            torch.save(checkpoint, part)


class Metrics(CSVLogger):
    """The metrics of a run as `csv/metrics.csv`; a resumed run keeps the rows of the steps before the one it goes on from.

    Args:
        run: the folder of the run.
        start: the step that it goes on from, 0 for a new run.
    """

    def __init__(self, run: Path, start: int) -> None:
        super().__init__(run, name="", version="csv")
        self._file, self._kept = run / "csv" / "metrics.csv", list[dict[str, str]]()
        if start and self._file.exists():
            with self._file.open(newline="", encoding="utf-8") as file:
                self._kept = [row for row in csv.DictReader(file) if int(row["step"]) < start]

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """What writes the rows."""
        is_new = self._experiment is None
        writer: Any = super().experiment
        if is_new and self._kept:
            writer.metrics_keys = sorted(self._kept[0])
            text = io.StringIO()
            table = csv.DictWriter(text, writer.metrics_keys, lineterminator="\n")
            table.writeheader()
            table.writerows(self._kept)
            write_whole(self._file, text.getvalue())
        return writer
