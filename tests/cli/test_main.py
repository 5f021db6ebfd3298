"""What a person gets when a command fails: a line, an exit code, and with --debug the place in the code."""

import subprocess
import sys
from pathlib import Path

import pytest

from somaseg.cli import main as cli


def run(monkeypatch: pytest.MonkeyPatch, *words: str, error: Exception | None = None) -> int:
    monkeypatch.setattr(sys, "argv", ["somaseg", *words])
    if error is not None:

        def broken(*_: object, **__: object) -> None:
            raise error

        monkeypatch.setattr("somaseg.synth.folder.write_cultures", broken)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return int(ended.value.code or 0)


def test_what_a_user_can_mend_is_a_line_and_exit_code_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    assert run(monkeypatch, "segment", str(tmp_path / "gone"), "--out", str(tmp_path / "out")) == 2
    told = capsys.readouterr()
    assert told.err.startswith("error: ")
    assert f"{tmp_path / 'gone'}: no such file or folder" in told.err
    assert "Traceback" not in told.err + told.out


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [(PermissionError(13, "Permission denied", "a.json"), 2, "a.json"), (KeyError("x"), 3, "KeyError: 'x'; this is a fault of somaseg")],
)
def test_a_fault_of_ours_says_so(
    error: Exception, code: int, text: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    assert run(monkeypatch, "synth", "--out", "x", error=error) == code
    assert text in capsys.readouterr().err


def test_debug_shows_where_it_came_from(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "somaseg", "--debug", "segment", str(tmp_path / "gone"), "--out", str(tmp_path / "out")]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 1
    assert "Traceback" in ran.stderr
    assert "images/find.py" in ran.stderr or "images/read.py" in ran.stderr


def test_commands_stand_in_the_order_of_work(capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(monkeypatch, "--help") == 0
    told = capsys.readouterr().out
    places = [told.index(f"│ {name} ") for name in ("segment", "predict", "evaluate", "train", "data", "weights")]
    assert places == sorted(places)
