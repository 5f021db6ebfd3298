"""Names of images in results: told apart by folder, the same wherever the folder lies, never too long."""

import os

import pytest

from somaseg.batch.names import LONGEST, Names


def names_of(files, owner=None):
    """The name of each file of a run, in their order."""
    names = Names(lambda name: (owner or {}).get(name))
    names.tell_apart(files)
    found = []
    for path in files:
        found.append(names.find(path, None))
        names.take(found[-1])
    return found


@pytest.mark.parametrize("place", ["here", "there/deep"])
def test_files_of_one_stem_are_called_by_their_folders_wherever_these_lie(tmp_path, place):
    root = tmp_path / place
    files = [root / "plate1" / "well_A1.png", root / "plate2" / "well_A1.png", root / "plate2" / "well_A2.png"]
    assert names_of(files) == ["plate1_well_A1", "plate2_well_A1", "well_A2"]
    assert names_of([root / "a" / "1" / "x.png", root / "a" / "2" / "x.tif", root / "x.png"]) == ["a_1_x", "a_2_x", "x"]


def test_stems_that_differ_in_case_alone_are_told_apart(tmp_path):
    assert names_of([tmp_path / "a" / "X.png", tmp_path / "b" / "x.png"]) == ["a_X", "b_x"]  # one file, on many disks


def test_no_two_images_share_a_name(tmp_path):
    same = [tmp_path / "x.png", tmp_path / "x.tif"]
    first, second = names_of(same)
    assert first == "x"
    assert second.startswith("x-")
    clash = [tmp_path / "a" / "x.png", tmp_path / "b" / "x.png", tmp_path / "a_x.png"]
    assert len(set(names_of(clash))) == 3


def test_a_name_stays_with_the_file_that_had_it(tmp_path):
    files = [tmp_path / folder / "x.png" for folder in "abc"]
    for path in files:
        path.parent.mkdir()
        path.touch()
    assert names_of(files, {"x": str(files[1])}) == ["a_x", "x", "c_x"]
    files[1].unlink()
    assert names_of(files[:1], {"x": str(files[1])}) == ["x"]  # its owner is gone


@pytest.mark.parametrize("stem", ["x" * 250, "ö" * 125, "a" + "細" * 80])
def test_a_long_name_is_cut_and_stays_unique(tmp_path, stem):
    found = names_of([tmp_path / f"{stem}.png", tmp_path / f"{stem}.tif"])
    assert len(set(found)) == 2
    assert all(len(os.fsencode(name)) <= LONGEST + 7 and name.startswith(stem[:20]) for name in found)
