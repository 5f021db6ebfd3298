"""What a person sees of a run."""

import io
import logging
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console

pytest.importorskip("pytorch_lightning", reason="needs somaseg[train]")

from somaseg.training import progress
from somaseg.training.progress import RunProgress, passes_on_interrupts, quiet


def shown(tmp_path: Path, terminal: bool) -> tuple[RunProgress, io.StringIO]:
    """The progress of a run of 4 steps, and what it shows."""
    text = io.StringIO()
    console = Console(file=text, force_terminal=terminal, width=100, color_system=None)
    return RunProgress(4, 2, tmp_path / "last.ckpt", console), text


def run(bar: RunProgress, steps: int) -> SimpleNamespace:
    """Steps, and a validation of two images after them."""
    trainer = SimpleNamespace(global_step=0, callback_metrics={})
    bar.on_train_batch_start(trainer, None, None, 0)
    for step in range(1, steps + 1):
        trainer.global_step, trainer.callback_metrics["loss"] = step, step / 2
        bar.on_train_batch_end(trainer, None, None, None, step - 1)
    bar.on_validation_start(trainer, None)
    for number in range(2):
        bar.on_validation_batch_end(trainer, None, None, None, number)
    bar.print("step 2: [map_iou] .5")
    return trainer


def test_a_terminal_shows_one_bar_and_lines_above_it(tmp_path: Path) -> None:
    bar, text = shown(tmp_path, True)
    run(bar, 3)
    bar.teardown(None, None, "fit")
    lines = re.sub(r"\x1b\[[0-9?;]*[a-zA-Z]", "", text.getvalue()).replace("\r", "\n").split("\n")
    drawn = [line for line in lines if "━" in line]
    assert drawn
    assert all(line.startswith(("training", "validating")) for line in drawn)
    assert re.match(r"validating, image 2 .*3/4 loss 1\.000", drawn[-1])  # the loss of step 2, the last that was looked at
    assert "step 2: [map_iou] .5" in lines  # as it is, without markup


def test_a_file_gets_lines_now_and_then(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bar, text = shown(tmp_path, False)
    run(bar, 4)
    assert text.getvalue().split("\n") == ["step 2: [map_iou] .5", ""]  # no minute has gone by
    monkeypatch.setattr(progress, "LINE_SECONDS", 0)
    bar, text = shown(tmp_path, False)
    run(bar, 4)
    assert text.getvalue().split("\n") == ["step 2 of 4: loss 1.000", "step 4 of 4: loss 2.000", "step 2: [map_iou] .5", ""]


def test_other_processes_show_nothing(tmp_path: Path) -> None:
    bar, text = shown(tmp_path, True)
    bar.disable()
    assert not bar.is_enabled
    trainer = SimpleNamespace(global_step=1, callback_metrics={"loss": 1.0})
    bar.on_train_batch_start(trainer, None, None, 0)
    bar.on_train_batch_end(trainer, None, None, None, 0)
    bar.on_exception(trainer, None, KeyboardInterrupt())
    assert text.getvalue() == ""


def test_a_run_that_is_broken_off_says_what_it_goes_on_from(tmp_path: Path) -> None:
    bar, text = shown(tmp_path, False)
    trainer = SimpleNamespace(global_step=3)
    bar.on_exception(trainer, None, ValueError())
    assert text.getvalue() == ""
    bar.on_exception(trainer, None, KeyboardInterrupt())
    (tmp_path / "last.ckpt").touch()
    bar.on_exception(trainer, None, KeyboardInterrupt())
    assert text.getvalue().split("\n")[:2] == [
        "broken off at step 3 of 4: there is no checkpoint yet, so it will begin anew",
        f"broken off at step 3 of 4: the last checkpoint is {tmp_path / 'last.ckpt'}",
    ]


def test_lightning_is_quiet_meanwhile() -> None:
    logger = logging.getLogger("pytorch_lightning")
    before = logger.level
    with quiet():
        assert not logging.getLogger("pytorch_lightning.utilities.rank_zero").isEnabledFor(logging.INFO)
        assert logger.isEnabledFor(logging.WARNING)
    assert logger.level == before
    with pytest.raises(ValueError, match="passed on"), quiet():
        raise ValueError("passed on")
    assert logger.level == before


@pytest.mark.parametrize(("interrupted", "kind"), [(True, KeyboardInterrupt), (False, SystemExit)])
def test_a_ctrl_c_reaches_the_caller(interrupted: bool, kind: type[BaseException]) -> None:
    with pytest.raises(kind), passes_on_interrupts(SimpleNamespace(interrupted=interrupted)):
        raise SystemExit(1)
