import importlib.util
import sys
from pathlib import Path

import pytest

from somaseg.errors import MissingExtraError
from somaseg.parallel.run import run_tasks
from somaseg.parallel.task import Task

needs_ray = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="needs somaseg[ray]")


def test_in_order_a_failure_is_named_and_the_others_go_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked, written = tmp_path / "asked", tmp_path / "written"
    failures = run_tasks(
        [
            Task("refuses", "errands:refuse", {"path": asked}),
            Task("stumbles", "errands:stumble", {}),
            Task("forgets", "errands:forget", {}, outputs=(tmp_path / "nothing",)),
            Task("writes", "errands:write", {"path": written, "text": "done"}, outputs=(written,)),
        ]
    )
    assert failures == {
        "refuses": "a.png: no image: leave it out",
        "stumbles": "KeyError: 'lost'",
        "forgets": f"ended without writing {tmp_path / 'nothing'}",
    }
    assert written.read_text() == "done"
    assert asked.read_text() == "asked\n"
    trace = capsys.readouterr().err
    assert "errands.py" in trace
    assert "InputError" not in trace


def test_ray_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtraError, match=r"somaseg\[ray\]"):
        run_tasks([Task("a", "errands:forget", {})], ray="local")
