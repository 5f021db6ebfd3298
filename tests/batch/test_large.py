"""Large images: a run that is stopped goes on with the tiles that are left, and workers leave what one process would."""

import importlib.util
import os
from pathlib import Path

import numpy as np
import pytest
from imageio import v3 as iio

import somaseg.batch.images as batch_images
from blobs import TiledBlobs, blob_image
from runs import segment
from somaseg.batch.segment import predict_folder

SIZE = (290, 340)
TILES = 30
CELLS = [(60, 60, 90, 90), (200, 200, 212, 220), (126, 126, 134, 140)]


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "images" / "large.png"
    path.parent.mkdir()
    iio.imwrite(path, blob_image(*CELLS, size=SIZE))
    return path


def files(out: Path) -> dict[str, bytes]:
    """All results but those that hold times."""
    timed = [out / "run.json", out / ".lock", *(out / "coco").glob("*")]
    return {p.relative_to(out).as_posix(): p.read_bytes() for p in out.rglob("*") if p.is_file() and p not in timed}


def test_a_large_image_that_was_broken_off_goes_on_with_the_tiles_that_are_left(image, tmp_path):
    out, straight = tmp_path / "out", tmp_path / "straight"
    with pytest.raises(KeyboardInterrupt):
        segment(image, out, TiledBlobs(interrupt_at=21))
    assert len(list((out / ".tiles" / "large").glob("*.npz"))) == 20
    again = TiledBlobs()
    assert segment(image, out, again).cells == {"round": 3, "long": 0}
    assert again.calls == TILES - 20
    assert not (out / ".tiles").exists()
    segment(image, straight, TiledBlobs())
    assert files(out) == files(straight)
    assert segment(image, out, again).skipped == 1
    assert again.calls == TILES - 20


def test_tiles_of_other_weights_or_of_an_image_that_was_changed_are_seen_again(image, tmp_path):
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        predict_folder([image], out, TiledBlobs(interrupt_at=21))
    other = TiledBlobs(sha256="07e4", interrupt_at=25)
    with pytest.raises(KeyboardInterrupt):
        predict_folder([image], out, other)
    assert other.calls == 25
    iio.imwrite(image, blob_image(*CELLS[:2], size=SIZE))
    changed = TiledBlobs(sha256="07e4")
    assert predict_folder([image], out, changed).failures == {}
    assert changed.calls == TILES


@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="needs somaseg[ray]")
@pytest.mark.filterwarnings("default")  # a forked process of Ray is none of ours
def test_workers_leave_what_one_process_would(image, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parents[1] / "helpers")]))  # where workers find blobs
    monkeypatch.setattr(batch_images, "LARGE", image.stat().st_size)
    for number in range(5):
        iio.imwrite(image.with_name(f"{number}.png"), blob_image((4 + number, 4, 14, 20)))
    iio.imwrite(image.with_name("0.jpg"), blob_image((4, 4, 14, 20), (30, 30, 40, 45)))
    (image.parent / "broken.png").write_bytes(iio.imread(image).tobytes()[:400])
    out, straight = tmp_path / "out", tmp_path / "straight"
    here = TiledBlobs()
    spread = segment(image.parent, out, here, ray="local")
    assert here.calls == 0
    assert (spread.images, spread.skipped) == (7, 6)
    alone = segment(image.parent, straight, TiledBlobs())
    assert files(out) == files(straight)
    assert (spread.cells, len(spread.failures)) == (alone.cells, len(alone.failures)) == (alone.cells, 1)


def test_files_of_one_name_go_to_one_worker_in_their_order():
    files = [Path(name) for name in ("a.png", "a.tif", *(f"{i}.png" for i in range(20)), "A.bmp")]
    chunks = batch_images._chunks(files, 2)
    assert [file for file in chunks[0]] == [Path("a.png"), Path("a.tif"), Path("A.bmp")]
    assert sorted(map(str, np.concatenate(chunks))) == sorted(map(str, files))
    assert max(map(len, chunks)) == 3
    assert batch_images._chunks([], 2) == []
