"""One attempt at a task."""

from pathlib import Path

import pytest

from somaseg.parallel.task import Task, attempt


def test_what_went_wrong_in_words(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    written = tmp_path / "a.txt"
    assert attempt(Task("writes", "errands:write", {"path": written, "text": "done"}, outputs=(written,))) is None
    assert attempt(Task("refuses", "errands:refuse", {"path": tmp_path / "b"})) == "a.png: no image: leave it out"
    assert capsys.readouterr().err == ""  # input that cannot be used is no fault of the code
    assert attempt(Task("stumbles", "errands:stumble", {})) == "KeyError: 'lost'"
    assert "errands.py" in capsys.readouterr().err
    assert attempt(Task("forgets", "errands:forget", {}, outputs=(tmp_path / "c",))) == f"ended without writing {tmp_path / 'c'}"


def test_a_function_that_there_is_not() -> None:
    assert str(attempt(Task("lost", "errands:nothing", {}))).startswith("AttributeError")
