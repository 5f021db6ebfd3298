"""What a person sees of a run: one bar in a terminal, a line now and then elsewhere, and nothing that Lightning says of itself."""

import logging
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from somaseg.errors import MissingExtraError

try:
    import pytorch_lightning as pl
    from pytorch_lightning.callbacks import ProgressBar
except ImportError:
    raise MissingExtraError("pytorch-lightning", "train") from None

LINE_SECONDS = 60.0
"""Between lines where there is no terminal to draw a bar in."""


@contextmanager
def quiet() -> Iterator[None]:
    """Keep Lightning from telling of devices and other products, advising more workers, and counting what it cannot know."""
    loggers = [logging.getLogger(name) for name in ("pytorch_lightning", "lightning_fabric")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="pytorch_lightning")
        try:
            for logger in loggers:
                logger.setLevel(logging.WARNING)
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


@contextmanager
def passes_on_interrupts(trainer: pl.Trainer) -> Iterator[None]:
    """Let a Ctrl-C reach the caller as such: Lightning ends the process in its place."""
    try:
        yield
    except SystemExit:
        if trainer.interrupted:
            raise KeyboardInterrupt from None
        raise


class RunProgress(ProgressBar):
    """The steps of a run as one bar, which also tells of validations; warnings and lines appear above it.

    Args:
        steps: of the run.
        every: steps between looks at the loss.
        resume: the checkpoint that a stopped run goes on from.
        console: where to show it; standard output unless given.
    """

    def __init__(self, steps: int, every: int, resume: Path, console: Console | None = None) -> None:
        super().__init__()
        self.steps, self.every, self.resume, self.console = steps, every, resume, console or Console()
        columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[note]}")
        times = TimeElapsedColumn(), TimeRemainingColumn()
        self._bar = Progress(*columns, *times, console=self.console, transient=True, disable=not self.console.is_terminal)
        self._task: TaskID | None = None
        self._enabled, self._note = True, ""
        self._told = time.monotonic()

    @property
    def is_enabled(self) -> bool:
        """Whether it shows anything; in the first process alone."""
        return self._enabled

    def enable(self) -> None:
        """Show it."""
        self._enabled = True

    def disable(self) -> None:
        """Show nothing."""
        self._enabled = False

    def print(self, *args: Any, **kwargs: Any) -> None:
        """A line above the bar, as it is."""
        self.console.print(*args, markup=False, highlight=False, soft_wrap=True)

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: object, batch_idx: int) -> None:
        """Show the bar: not before the loader's processes are made, which must not be born while the bar's thread draws."""
        self._show(trainer, "training")

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        """Count a step."""
        step = trainer.global_step
        looks = step % self.every == 0 or step >= self.steps
        loss = f"loss {float(trainer.callback_metrics['loss']):.3f}" if looks else None
        self._show(trainer, "training", loss)
        if loss and self._enabled and not self.console.is_terminal and time.monotonic() - self._told >= LINE_SECONDS:
            self._told = time.monotonic()
            self.print(f"step {step} of {self.steps}: {loss}")

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Tell that images are scored."""
        self._show(trainer, "validating")

    def on_validation_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: object, batch: object, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Count an image."""
        self._show(trainer, f"validating, image {batch_idx + 1}")

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Take the bar away; when a person broke the run off, say what there is to go on from."""
        self._bar.stop()
        if isinstance(exception, KeyboardInterrupt) and self._enabled:
            last = f"the last checkpoint is {self.resume}" if self.resume.exists() else "there is no checkpoint yet, so it will begin anew"
            self.print(f"broken off at step {trainer.global_step} of {self.steps}: {last}")

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Take the bar away."""
        self._bar.stop()

    def _show(self, trainer: pl.Trainer, description: str, note: str | None = None) -> None:
        if not self._enabled:
            return
        if self._task is None:
            self._task = self._bar.add_task(description, total=self.steps, completed=trainer.global_step, note=self._note)
        self._bar.start()
        self._note = self._note if note is None else note
        self._bar.update(self._task, description=description, completed=trainer.global_step, note=self._note)
