"""Training: `fit` runs it, and resumes it."""

import json
import math
import os
import pickle
import subprocess
from collections.abc import Sequence
from contextlib import nullcontext
from datetime import timedelta
from pathlib import Path

import torch
import yaml
from torch import Tensor
from torch.utils.data import DataLoader

from somaseg.config import Config, EvaluationSettings, TrainedSize, load_settings
from somaseg.errors import InputError, MissingExtraError
from somaseg.files import only_run, write_whole
from somaseg.models.targets import Target
from somaseg.provenance import versions
from somaseg.training.dataset import Crops, Steps, collate

try:
    import pytorch_lightning as pl
    from pytorch_lightning.callbacks import LearningRateMonitor, ModelCheckpoint
    from pytorch_lightning.loggers import TensorBoardLogger
    from pytorch_lightning.utilities import rank_zero_info
except ImportError:
    raise MissingExtraError("pytorch-lightning", "train") from None
from somaseg.training.held_out import brought_to_size, read_split
from somaseg.training.module import DetectorModule, Metrics, SaveBest, WholeCheckpoints, initial_model, moving_average
from somaseg.training.progress import RunProgress, passes_on_interrupts, quiet

RESUME = "last.ckpt"
"""What a run goes on from."""


def fit(config: Config, data: Sequence[Path], run: Path) -> Path:
    """Train, resuming where a killed run stopped, and return the best weights' path.

    Args:
        config: of the run.
        data: one or more annotations; see `read_annotations`.
        run: folder of the run; made if absent.

    Raises:
        InputError: for data that cannot be used, or a run folder of other settings.
        OutputError: when another run writes into the folder.
        NotFiniteError: when the loss becomes NaN.
    """
    _, _, rank = _world()
    with nullcontext() if rank else only_run(run):  # the processes of one run share its folder
        return _fit(config, data, run)


def _fit(config: Config, data: Sequence[Path], run: Path) -> Path:
    training, held_out = read_split(config, data)
    config, told = brought_to_size(config, training)
    _check_settings(config, run)
    if told:
        rank_zero_info(told)
    crops = Crops(training, config)
    torch.manual_seed(config.train.seed)
    model, start_text = initial_model(config)
    for part in config.train.hold:
        model.get_submodule(part).requires_grad_(False)
    rank_zero_info(f"starts from {start_text}")
    resume = run / RESUME
    start = reached_step(resume) if resume.exists() else 0
    if start:
        rank_zero_info(f"goes on from step {start} of {config.train.steps}")
    cfg = config.train
    chosen = held_out[:: max(1, math.ceil(len(held_out) / cfg.validate_images))] if cfg.validate_images else held_out
    pseudo = sum(sample.source == "pseudo" for sample in training)
    images = {"images": len(training) - pseudo, "pseudo_images": pseudo, "held_out": len(held_out)}
    about = {"data": ", ".join(path.name for path in data), "start": start_text} | images | {"fold": cfg.fold, "folds": cfg.folds}
    _describe(config, run)  # not before all that was given is known to be usable: else the mended settings would seem to be another run's
    with quiet():
        trainer = _trainer(config, run, SaveBest(about, config.evaluation.type_weights), start)
        module = DetectorModule(config, model, run, chosen)
        validation: DataLoader[int] = DataLoader(range(len(chosen)), batch_size=None)  # type: ignore[arg-type]
        ckpt_path = str(resume) if resume.exists() else None
        with passes_on_interrupts(trainer):
            trainer.fit(module, _loader(crops, config, start), validation, ckpt_path=ckpt_path, weights_only=True)
            if cfg.steps % _interval(config):
                trainer.validate(module, validation, verbose=False)  # so that the last weights are scored and saved too
    return run / "best.safetensors"


def reached_step(path: Path) -> int:
    """The step that the checkpoint of a run to resume was written at; nothing that the file holds is run.

    Raises:
        InputError: when the file is damaged, or holds anything but tensors in plain containers.
    """
    try:
        return int(torch.load(path, map_location="cpu", weights_only=True, mmap=True)["global_step"])
    except pickle.UnpicklingError as error:
        raise InputError(
            f"{path}: refused, and nothing in it was run: expected the tensors and numbers of a run to resume ({_first_line(error)}): "
            "delete the file to train from the start, or give another --out"
        ) from error
    except (OSError, RuntimeError, ValueError, KeyError, TypeError, EOFError) as error:
        raise InputError(
            f"{path}: cannot be read as a run to resume ({_first_line(error)}): delete the file to train from the start, "
            "or give another --out"
        ) from error


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0]


def _world() -> tuple[int, int, int]:
    """How many processes torchrun started, how many of them on this machine, and which of all this one is."""
    return int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("LOCAL_WORLD_SIZE", "1")), int(os.environ.get("RANK", "0"))


def _interval(config: Config) -> int:
    """Steps between validations."""
    return min(config.train.validate_every or config.train.steps, config.train.steps)


def _loader(crops: Crops, config: Config, start: int) -> DataLoader[tuple[Tensor, Target]]:
    """This process's crops from step `start` on."""
    world, _, rank = _world()
    cfg = config.train
    return DataLoader(
        crops,
        batch_sampler=Steps(start, cfg.steps, cfg.batch, rank, world),
        collate_fn=collate,
        num_workers=cfg.workers,
        persistent_workers=cfg.workers > 0,
    )


def _trainer(config: Config, run: Path, best: SaveBest, start: int) -> pl.Trainer:
    cfg, (world, local, _) = config.train, _world()
    return pl.Trainer(
        default_root_dir=run,
        max_steps=cfg.steps,
        max_epochs=-1,
        accelerator="auto",
        devices=local,
        num_nodes=max(1, world // local),
        strategy="ddp" if world > 1 else "auto",
        use_distributed_sampler=False,
        gradient_clip_val=cfg.clip or None,
        val_check_interval=_interval(config),
        check_val_every_n_epoch=None,
        num_sanity_val_steps=0,
        log_every_n_steps=cfg.log_every,
        plugins=[WholeCheckpoints()],
        logger=[Metrics(run, start), TensorBoardLogger(run, name="", version="tensorboard")],
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
            RunProgress(cfg.steps, cfg.log_every, run / RESUME),
        ],
        enable_model_summary=False,
    )


def _what_trains(config: Config) -> Config:
    """The settings without those that a run may be resumed with others of: how far it goes, and how it is scored."""
    train = config.train.model_copy(update={"steps": 1})
    model = config.model.model_copy(update={"trained_at": TrainedSize()})
    return config.model_copy(update={"train": train, "model": model, "evaluation": EvaluationSettings()})


def _check_settings(config: Config, run: Path) -> None:
    """Refuse a folder of a run with other settings."""
    settings = run / "settings.yaml"
    if settings.exists() and _what_trains(load_settings(Config, settings)) != _what_trains(config):
        raise InputError(
            f"{settings}: belongs to a run with other settings: give another --out, or these to resume "
            "(only train.steps and evaluation may differ)"
        )


def _describe(config: Config, run: Path) -> None:
    """Write what the run is made of."""
    run.mkdir(parents=True, exist_ok=True)
    write_whole(run / "settings.yaml", yaml.safe_dump(json.loads(config.model_dump_json()), sort_keys=False))
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False).stdout.strip() or None
    about = {"versions": versions(["pytorch-lightning"]), "git_commit": commit}
    write_whole(run / "about.json", json.dumps(about, indent=1))
