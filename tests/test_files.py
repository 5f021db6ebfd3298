"""Files appear whole or not at all, and only regular files are replaced."""

import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from somaseg.errors import InputError, OutputError
from somaseg.files import check_file, check_folder, file_sha256, only_run, whole, write_whole


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_folders_are_made_and_files_replaced(tmp_path):
    path = tmp_path / "a" / "b" / "file.txt"
    write_whole(path, b"one")
    write_whole(path, "zwölf")
    assert path.read_text(encoding="utf-8") == "zwölf"
    assert names_in(path.parent) == ["file.txt"]


def test_the_old_file_stays_when_a_write_is_broken_off(tmp_path):
    path = tmp_path / "file.txt"
    write_whole(path, b"old")

    def broken_off() -> None:
        with whole(path) as part:
            part.write_bytes(b"ne")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        broken_off()
    assert path.read_bytes() == b"old"
    assert names_in(tmp_path) == ["file.txt"]


def test_what_a_kill_left_is_replaced(tmp_path):
    (tmp_path / ".file.txt.part").write_bytes(b"a long rest of an earlier write")
    write_whole(tmp_path / "file.txt", b"new")
    assert (tmp_path / "file.txt").read_bytes() == b"new"
    assert names_in(tmp_path) == ["file.txt"]


def test_a_link_stays_a_link(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk" / "far.txt").write_bytes(b"old")
    (tmp_path / "near.txt").symlink_to(tmp_path / "disk" / "far.txt")
    write_whole(tmp_path / "near.txt", b"new")
    assert (tmp_path / "near.txt").is_symlink()
    assert (tmp_path / "disk" / "far.txt").read_bytes() == b"new"


def test_a_pipe_is_written_to_and_stays_a_pipe(tmp_path):
    pipe, read = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: read.append(pipe.read_bytes()))
    reader.start()
    write_whole(pipe, b"through")
    reader.join()
    assert read == [b"through"]
    assert stat.S_ISFIFO(pipe.stat().st_mode)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_device_is_not_replaced(tmp_path):
    link = tmp_path / "full"
    link.symlink_to("/dev/full")
    with pytest.raises(OutputError, match="the disk is full: free some space and give the same command again"):
        write_whole(link, b"too much")
    assert stat.S_ISCHR(Path("/dev/full").stat().st_mode)
    assert names_in(tmp_path) == ["full"]


def test_a_folder_is_refused(tmp_path):
    with pytest.raises(InputError, match="is a folder, expected the name of a file"):
        write_whole(tmp_path, b"")


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_the_mode_is_what_the_umask_gives_whoever_writes(tmp_path, mask, mode):
    before = os.umask(mask)
    try:
        with whole(tmp_path / "file") as part:
            part.unlink()
            os.close(os.open(part, os.O_CREAT | os.O_WRONLY, 0o600))  # as some libraries make theirs
        write_whole(tmp_path / "other", b"")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == stat.S_IMODE((tmp_path / "other").stat().st_mode) == mode


def test_a_name_too_long_is_wrong_for_that_file_alone(tmp_path):
    with pytest.raises(InputError, match="the name is too long for this disk") as caught:
        write_whole(tmp_path / ("x" * 300), b"")
    assert not isinstance(caught.value, OutputError)


def test_places_that_cannot_be_written_are_found_before(tmp_path):
    (tmp_path / "notes.txt").write_bytes(b"kept")
    for place in (tmp_path / "notes.txt", tmp_path / "notes.txt" / "deep" / "result"):
        with pytest.raises(OutputError, match=r"notes\.txt: is a file, expected a folder"):
            check_folder(place)
    with pytest.raises(OutputError, match=r"notes\.txt: is a file, expected a folder"):
        check_file(tmp_path / "notes.txt" / "submission.csv")
    with pytest.raises(OutputError, match="is a folder, expected the name of a file"):
        check_file(tmp_path)
    check_file(tmp_path / "notes.txt")
    check_folder(tmp_path / "new" / "folder")
    assert names_in(tmp_path / "new" / "folder") == []
    assert (tmp_path / "notes.txt").read_bytes() == b"kept"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_is_found_before(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(OutputError, match="cannot be written"):
        check_folder(tmp_path)


def test_a_folder_is_held_by_one_run_and_free_again_after_it(tmp_path):
    with only_run(tmp_path / "out"):
        code = f"from pathlib import Path; from somaseg.files import only_run; only_run(Path({str(tmp_path / 'out')!r})).__enter__()"
        other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert other.returncode == 1
    assert "is in use by another run: wait for it or stop it" in other.stderr
    with only_run(tmp_path / "out"):
        pass


def test_the_hash_of_a_file(tmp_path):
    (tmp_path / "abc").write_bytes(b"abc")
    assert file_sha256(tmp_path / "abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    with pytest.raises(InputError, match=r"gone: cannot be read \(No such file"):
        file_sha256(tmp_path / "gone")
