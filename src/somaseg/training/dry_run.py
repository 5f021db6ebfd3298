"""Two steps of a run at reduced size: does it work here, what memory does it take, and how long would the whole take?"""

import os
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader

from somaseg.config import Config, EdgeSettings, ZoomSettings
from somaseg.images.resize import size_by_edge
from somaseg.masks.crops import Size
from somaseg.training.dataset import Crops, Steps, collate
from somaseg.training.held_out import read_split
from somaseg.training.module import DetectorModule, initial_model, moving_average
from somaseg.training.progress import quiet

STEPS = 2
IMAGES = 12  # that crops are drawn from; reading hundreds would take longer than the steps


@dataclass(frozen=True)
class DryRun:
    """What a dry run measured.

    Attributes:
        start: what the weights started from.
        parameters, trained: numbers in the model, and how many of them train.
        edge: mean of the crops' sides, in pixels of the network's input.
        seconds: of each step, without making the crops; the first one sets up kernels and memory.
        crop_seconds: to make one crop; `train.workers` do so beside the steps.
        losses: of each step.
        peak_ram, peak_gpu: bytes of the whole process; None where the system does not tell, or there is no GPU.
        growth: pixels of a step of the whole run over those of a step here.
        steps: of the whole run.
    """

    start: str
    parameters: int
    trained: int
    edge: float
    seconds: tuple[float, ...]
    crop_seconds: float
    losses: tuple[float, ...]
    peak_ram: int | None
    peak_gpu: int | None
    growth: float
    steps: int

    @property
    def whole(self) -> float:
        """Seconds of the whole run on this machine, as if the last step's time grew with the pixels."""
        return self.seconds[-1] * self.growth * self.steps

    def text(self) -> str:
        """All of it, in lines."""
        sizes = [("RAM", self.peak_ram), ("GPU memory", self.peak_gpu)]
        return "\n".join(
            [
                f"starts from {self.start}; {self.parameters / 1e6:.2f} million weights, {self.trained / 1e6:.2f} million of them train",
                f"crops of {self.edge:.0f} x {self.edge:.0f} pixels on average, {self.crop_seconds:.2f} s to make one",
                *[f"step {n}: {s:.1f} s, loss {loss:.3f}" for n, (s, loss) in enumerate(zip(self.seconds, self.losses, strict=True), 1)],
                *[f"peak {name}: {size / 2**30:.2f} GiB" for name, size in sizes if size is not None],
                f"the whole run: {self.steps} steps with {self.growth:.1f} times the pixels, about {self.whole / 3600:.1f} hours "
                "on this machine (the last step's time x pixels x steps; heads grow less than that)",
            ]
        )


def dry_run(config: Config, data: Sequence[Path], edge: int) -> DryRun:
    """Take two optimiser steps of a run, without writing anything.

    Args:
        config: of the run.
        data: one or more annotations; see `read_annotations`.
        edge: pixels that the crops' shorter edge becomes at most; cells keep their size, crops show less. 0 leaves crops as they are.

    Raises:
        InputError: for data or weights that cannot be used.
    """
    training = read_split(config, data)[0]
    full, size = config.augment.size, training[0].instances.size
    small = full if not edge else smaller(full, edge)
    few = config.model_copy(update={"augment": config.augment.model_copy(update={"size": small})})
    crops = Crops(training[:: max(1, len(training) // IMAGES)], few)
    torch.manual_seed(config.train.seed)
    model, start = initial_model(config)
    watch = _Watch()
    loader = DataLoader(crops, batch_sampler=Steps(0, STEPS, config.train.batch), collate_fn=collate)
    with tempfile.TemporaryDirectory() as folder, quiet():
        trainer = pl.Trainer(
            default_root_dir=folder,
            max_steps=STEPS,
            max_epochs=-1,
            accelerator="auto",
            devices=1,
            gradient_clip_val=config.train.clip or None,
            callbacks=[watch, *moving_average(config)],
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        trainer.fit(DetectorModule(few, model, Path(folder), []), loader)
    begin = time.perf_counter()
    collate([crops[i] for i in range(config.train.batch)])
    made = (time.perf_counter() - begin) / config.train.batch
    return DryRun(
        start=start,
        parameters=sum(p.numel() for p in model.parameters()),
        trained=sum(p.numel() for p in model.parameters() if p.requires_grad),
        edge=mean_pixels(small, size) ** 0.5,
        seconds=tuple(watch.seconds),
        crop_seconds=made,
        losses=tuple(watch.losses),
        peak_ram=peak_ram(),
        peak_gpu=torch.cuda.max_memory_allocated() if torch.cuda.is_available() else None,
        growth=mean_pixels(full, size) / mean_pixels(small, size),
        steps=config.train.steps,
    )


def smaller(settings: ZoomSettings | EdgeSettings, edge: int) -> ZoomSettings | EdgeSettings:
    """Crops with a shorter edge of at most `edge` pixels that show as much less of the image, so that cells are as large as before."""
    if isinstance(settings, ZoomSettings):
        return settings.model_copy(update={"side": min(settings.side, edge)})
    share = min(1.0, edge / max(settings.edges))
    return settings.model_copy(
        update={
            "crop": settings.crop * share,
            "edges": tuple(max(1, round(e * share)) for e in settings.edges),
            "longest": max(1, round(settings.longest * share)),
        }
    )


def mean_pixels(settings: ZoomSettings | EdgeSettings, size: Size) -> float:
    """Pixels of a crop, on average, of images of `size` (height, width)."""
    if isinstance(settings, ZoomSettings):
        return float(settings.side**2)
    edges = settings.edges if settings.draw == "choice" else range(min(settings.edges), max(settings.edges) + 1)
    sizes = [size_by_edge(size, edge, settings.longest) for edge in edges]
    return sum(height * width for height, width in sizes) / len(sizes)


def peak_ram() -> int | None:
    """Most bytes of memory that this process held so far."""
    if os.name != "posix":
        return None
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


class _Watch(pl.Callback):
    """Times the steps and keeps their losses."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.losses: list[float] = []

    def on_train_batch_start(self, trainer: pl.Trainer, *rest: object) -> None:
        self.begin = time.perf_counter()

    def on_train_batch_end(self, trainer: pl.Trainer, *rest: object) -> None:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.seconds.append(time.perf_counter() - self.begin)
        self.losses.append(float(trainer.callback_metrics["loss"]))
