"""No command opens a connection to anywhere."""

import socket
from pathlib import Path

import imageio.v3 as iio
import pytest

from somaseg.cli.main import app
from somaseg.synth.render import SynthSettings, render


def test_rendering_segmenting_and_scoring_open_no_connection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object, **__: object) -> None:
        raise AssertionError("a connection was opened")

    for name in ("connect", "connect_ex", "sendto"):
        monkeypatch.setattr(socket.socket, name, refused)
    monkeypatch.setattr(socket, "getaddrinfo", refused)
    (tmp_path / "images").mkdir()
    iio.imwrite(tmp_path / "images" / "culture.png", render(SynthSettings(size=(130, 176)), seed=1)[0])
    app(["synth", "--out", str(tmp_path / "cultures"), "--count", "1"], standalone_mode=False)
    app(["segment", str(tmp_path / "images"), "--out", str(tmp_path / "result")], standalone_mode=False)
    app(["evaluate", str(tmp_path / "result"), str(tmp_path / "result"), "--out", str(tmp_path / "scores")], standalone_mode=False)
    assert (tmp_path / "scores" / "metrics.json").exists()
