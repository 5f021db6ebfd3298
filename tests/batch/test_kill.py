"""Killed at any moment, a run leaves whole files alone, and the same command finishes it."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest

from blobs import SETTINGS, BlobSegmenter, blob_image
from somaseg.batch.segment import predict_folder, segment_folder

CODE = """
import sys, time
from pathlib import Path
from blobs import SETTINGS, BlobSegmenter
from somaseg.batch.segment import predict_folder, segment_folder

class Slow(BlobSegmenter):
    def predict(self, image, zoom=1.0, kept=None):
        time.sleep(0.01)
        return super().predict(image, zoom, kept)

images, out = map(Path, sys.argv[2:])
print("begun", flush=True)
segment_folder([images], out, Slow(), SETTINGS) if sys.argv[1] == "segment" else predict_folder([images], out, Slow())
"""


def files(out: Path) -> dict[str, bytes]:
    """All results but those that hold times."""
    timed = ("run.json", ".lock")
    return {
        p.relative_to(out).as_posix(): p.read_bytes()
        for p in out.rglob("*")
        if p.is_file() and p.name not in timed and p.parent.name != "coco"
    }


@pytest.mark.parametrize("what", ["segment", "predict"])
def test_a_run_that_is_killed_again_and_again_ends_as_one_that_was_not(tmp_path: Path, what: str) -> None:
    images, out, straight = tmp_path / "images", tmp_path / "out", tmp_path / "straight"
    images.mkdir()
    random = np.random.default_rng(0)
    for number in range(12):
        x, y = random.integers(1, 40, 2).tolist()
        iio.imwrite(images / f"{number:02d}.png", blob_image((x, y, x + 9, y + 7)))
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[1] / "helpers"), *sys.path])}
    for wait in (0.02, 0.05, 0.09, 0.14):
        process = subprocess.Popen([sys.executable, "-c", CODE, what, str(images), str(out)], env=environment, stdout=subprocess.PIPE)
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(wait)
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        if what == "segment":
            for path in out.rglob("*.json"):
                assert path.read_bytes()[-1:] == b"}"
    if what == "segment":
        summary = segment_folder([images], out, BlobSegmenter(), SETTINGS)
        segment_folder([images], straight, BlobSegmenter(), SETTINGS)
    else:
        summary = predict_folder([images], out, BlobSegmenter())
        predict_folder([images], straight, BlobSegmenter())
    assert (summary.images, summary.failures) == (12, {})
    if what == "segment":
        assert files(out) == files(straight)
    assert not list(out.rglob("*.part"))
    assert {p.name for p in out.rglob("*")} == {p.name for p in straight.rglob("*")}
