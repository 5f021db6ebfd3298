"""The folder of results: what is done, what is made again, formats, disks."""

import errno
from pathlib import Path

import pytest

from blobs import BlobSegmenter
from runs import segment
from somaseg.errors import OutputError
from somaseg.export.formats import FORMATS, Format
from somaseg.export.image_result import Exported
from somaseg.files import write_whole


def names_in(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file() and p.name != ".lock")


@pytest.mark.parametrize("lost", ["coco/three.json", "labels/three_labels.tif", "overlays/three_overlay.png"])
def test_a_lost_file_is_made_again(images, out, lost):
    segment(images, out)
    (out / lost).unlink()
    again = BlobSegmenter()
    segment(images, out, again)
    assert again.calls == 1
    assert (out / lost).exists()


@pytest.mark.parametrize("junk", [b"", b"{", b"[]", b'{"info": {}}', b'{"info": null}'])
def test_a_damaged_result_is_made_again(images, out, junk):
    segment(images, out)
    (out / "coco" / "three.json").write_bytes(junk)
    again = BlobSegmenter()
    segment(images, out, again)
    assert again.calls == 1


def test_a_new_format_is_a_line_in_the_table(images, out, monkeypatch):
    segment(images, out)
    monkeypatch.setitem(FORMATS, "counts", Format("_count.txt", lambda result: Exported(str(len(result.cells)).encode())))
    formats = ["labels", "counts"]
    assert segment(images, out, formats=formats).skipped == 0
    assert (out / "counts" / "three_count.txt").read_text() == "3"
    assert segment(images, out, formats=formats).skipped == 3
    (out / "counts" / "one_count.txt").unlink()
    assert segment(images, out, formats=formats).skipped == 2


def test_a_full_disk_ends_the_run_keeps_what_is_done_and_a_rerun_finishes(images, out, monkeypatch):
    write = Path.write_bytes

    def full(self, data):
        if "three" in self.name:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(self, data)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OutputError, match=r"three_labels\.tif: the disk is full: free some space and give the same command again"):
        segment(images, out)
    monkeypatch.undo()
    assert segment(images, out).skipped == 2


@pytest.mark.parametrize("lost", ["labels/one_labels.tif", "overlays/one_overlay.png"])
def test_a_result_that_was_cut_off_is_made_again(images, out, lost):
    segment(images, out)
    whole = (out / lost).read_bytes()
    (out / lost).write_bytes(whole[:-9])
    assert segment(images, out).skipped == 2
    assert (out / lost).read_bytes() == whole


@pytest.mark.parametrize("stop", ["one_labels.tif", "one_overlay.png", "one.json"])
def test_a_kill_while_writing_leaves_an_image_that_is_made_again(images, out, monkeypatch, stop):
    def killed(path: Path, data: bytes) -> None:
        if path.name == stop:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.with_name(f".{path.name}.part").write_bytes(data[: len(data) // 2])
            raise KeyboardInterrupt
        write_whole(path, data)

    monkeypatch.setattr("somaseg.export.image_result.write_whole", killed)
    with pytest.raises(KeyboardInterrupt):
        segment(images, out)
    monkeypatch.undo()
    again = BlobSegmenter()
    assert segment(images, out, again).skipped == 1
    assert again.calls == 2
    assert not [name for name in names_in(out) if name.endswith(".part")]
