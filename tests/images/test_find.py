"""Which files of a folder are images, and that nothing that looks like one is passed over without a word."""

import os
from pathlib import Path

import numpy as np
import pytest
import tifffile

from images import COLOUR, GREY, ome_xml, pillow, tiff
from somaseg.errors import InputError
from somaseg.export.formats import FORMATS
from somaseg.images.find import IMAGE_SUFFIXES, RESULT_FILES, RESULT_FOLDERS, find_images, list_images, printable
from somaseg.images.read import read_frames


def put(path: Path, data: bytes = b"x") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def names(folder: Path) -> tuple[list[str], dict[str, str]]:
    """Files that are found in a folder, and reasons for those left out, both below it."""
    found = list_images([folder])
    return [p.relative_to(folder).as_posix() for p in found.files], {
        os.path.relpath(name, folder): reason for name, reason in found.left_out.items()
    }


def test_every_suffix_that_is_read_is_found(tmp_path: Path) -> None:
    for number, suffix in enumerate(IMAGE_SUFFIXES):
        put(tmp_path / f"{number:02d}{suffix.upper() if number % 2 else suffix}")
    found, left_out = names(tmp_path)
    assert len(found) == len(IMAGE_SUFFIXES)
    assert left_out == {}


def test_results_of_an_earlier_run_are_left_out(tmp_path: Path) -> None:
    assert set(RESULT_FOLDERS) >= {name for name in FORMATS if name != "coco"}
    assert "coco" in RESULT_FILES
    put(tmp_path / "culture.png")
    put(tmp_path / "result/labels/culture_labels.tif")
    put(tmp_path / "result/overlays/culture_overlay.png")
    put(tmp_path / "result/overlays/odd.png")
    put(tmp_path / "result/run.json")
    found, left_out = names(tmp_path)
    assert found == ["culture.png"]
    assert left_out == dict.fromkeys(
        ["result/labels/culture_labels.tif", "result/overlays/culture_overlay.png", "result/overlays/odd.png"],
        "is a result of an earlier run",
    )
    assert find_images([tmp_path / "result/labels"]) == [tmp_path / "result/labels/culture_labels.tif"]  # asked for by name


@pytest.mark.parametrize(
    ("leftover", "reason"),
    [
        ("a_cp_masks.png", "ends in _cp_masks, as files do that segmentation programs write"),
        ("alone_cp_masks.tif", "ends in _cp_masks, as files do that segmentation programs write"),
        ("alone_overlay.png", "ends in _overlay, as files do that segmentation programs write"),
        ("a_flows.tif", "ends in _flows, as files do that segmentation programs write"),
        ("a_masks.tif", "ends in _masks and belongs to the image a"),
        ("a_mask.png", "ends in _mask and belongs to the image a"),
        ("labels/a_labels.ome.tif", "ends in _labels and belongs to the image a"),
        ("masks/a.png", "lies in a folder masks and belongs to the image a"),
    ],
)
def test_masks_of_other_programs_are_left_out(tmp_path: Path, leftover: str, reason: str) -> None:
    put(tmp_path / "a.tif")
    put(tmp_path / leftover)
    for name in ("a_seg.npy", "a_cp_outlines.txt", "notes.txt", "annotations.json"):
        put(tmp_path / name)
    found, left_out = names(tmp_path)
    assert found == ["a.tif"]
    assert left_out == {leftover: reason}
    assert find_images([tmp_path / leftover]) == [tmp_path / leftover]


def test_pictures_of_a_report_are_left_out(tmp_path: Path) -> None:
    for name in ("a.png", "evaluation/precision.png", "evaluation/metrics.json", "other/precision.png"):
        put(tmp_path / name)
    assert names(tmp_path) == (["a.png", "other/precision.png"], {"evaluation/precision.png": "is a picture of an earlier report"})


def test_an_image_that_only_sounds_like_a_mask_is_taken(tmp_path: Path) -> None:
    for name in ("b_mask.png", "white_labels.tif", "masks/c.png"):
        put(tmp_path / name)
    assert names(tmp_path) == (["b_mask.png", "masks/c.png", "white_labels.tif"], {})


def test_what_is_hidden_or_no_file_is_told(tmp_path: Path) -> None:
    put(tmp_path / "a.png")
    put(tmp_path / ".b.png")
    put(tmp_path / "._a.png")
    put(tmp_path / ".cache/c.png")
    os.mkfifo(tmp_path / "pipe.tif")
    found, left_out = names(tmp_path)
    assert found == ["a.png"]
    assert left_out == {".b.png": "is hidden", "pipe.tif": "is no regular file"}


def test_other_kinds_of_images_are_told(tmp_path: Path) -> None:
    put(tmp_path / "a.png")
    put(tmp_path / "deep.oib", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1")
    put(tmp_path / "camera.dat", tiff(GREY))
    put(tmp_path / "no_suffix", pillow(GREY, "PNG"))
    put(tmp_path / "table.csv", b"BMI,age\n1,2\n")
    found, left_out = names(tmp_path)
    assert found == ["a.png"]
    assert left_out == {
        "deep.oib": "images of the kind .oib are not read",
        "camera.dat": "is a TIFF image under another suffix: rename it",
        "no_suffix": "is a PNG image under another suffix: rename it",
    }


def test_a_file_that_is_named_is_taken_whatever_it_is_called(tmp_path: Path) -> None:
    path = put(tmp_path / "no_suffix", pillow(GREY, "PNG"))
    assert find_images([path]) == [path]
    put(tmp_path / "x.jxl", b"\xff\x0a rest")
    (found,) = find_images([tmp_path / "x.jxl"])
    with pytest.raises(InputError, match=r"x\.jxl: is a file of the kind JPEG XL, which is not read"):
        list(read_frames(found))


def test_links_are_followed_once(tmp_path: Path) -> None:
    put(tmp_path / "disk/far.png")
    put(tmp_path / "images/near.png")
    (tmp_path / "images/far").symlink_to(Path("..") / "disk")
    (tmp_path / "images/loop").symlink_to(Path("..") / "images")
    (tmp_path / "images/same.png").symlink_to("near.png")
    (tmp_path / "images/broken.png").symlink_to("nowhere.png")
    (tmp_path / "images/self.png").symlink_to("self.png")
    found, left_out = names(tmp_path / "images")
    assert found == ["far/far.png", "near.png"]
    assert left_out == {
        "loop": "is a folder that was searched already",
        "same.png": f"is the same file as {tmp_path / 'images/near.png'}",
        "broken.png": "is a link that leads nowhere",
        "self.png": "is a link that leads nowhere",
    }
    with pytest.raises(InputError, match=r"broken\.png: is a link that leads nowhere"):
        find_images([tmp_path / "images/broken.png"])


def test_one_folder_given_twice_is_searched_twice_and_found_once(tmp_path: Path) -> None:
    put(tmp_path / "a.png")
    found = list_images([tmp_path, tmp_path, tmp_path / "a.png"])
    assert (found.files, found.left_out) == ([tmp_path / "a.png"], {})


def test_a_folder_that_cannot_be_opened_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path / "a.png")
    put(tmp_path / "locked/b.png")
    scan = os.scandir

    def refusing(path: str) -> object:
        if str(path).endswith("locked"):
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", refusing)
    assert names(tmp_path) == (["a.png"], {"locked": "cannot be opened (Permission denied)"})


@pytest.mark.parametrize("name", ["a b.png", "a[1].png", "a*.png", "ä.png", "a\nb.png", "-a.png", "'a\".png", "細" * 80 + ".png"])
def test_odd_names(tmp_path: Path, name: str) -> None:
    path = put(tmp_path / name)
    assert find_images([tmp_path]) == [path]
    assert find_images([path]) == [path]


@pytest.mark.skipif(os.name == "nt", reason="names are text there")
def test_a_name_that_is_no_text_is_told_in_letters(tmp_path: Path) -> None:
    put(tmp_path / "good.png")
    odd = os.fsencode(tmp_path) + b"/caf\xe9.png"
    try:
        with open(odd, "wb") as file:  # noqa: PTH123 - a Path cannot be made of it
            file.write(b"x")
    except OSError:
        pytest.skip("this disk takes names of text alone")
    found = list_images([tmp_path])
    assert [path.name for path in found.files] == ["good.png"]
    ((name, reason),) = found.failures.items()
    assert name.endswith(r"caf\xe9.png")
    assert "has a name that is no UTF-8" in reason
    assert printable(os.fsdecode(odd)).encode().endswith(rb"caf\xe9.png")


def test_a_path_that_no_disk_takes_is_refused() -> None:
    with pytest.raises(InputError, match="cannot be opened"):
        find_images(["a" * 5000 + ".png"])


def write_set(folder: Path, planes: dict[str, list[np.ndarray]], steps: str) -> None:
    """An OME-TIFF in several files, whose planes follow one another along T or C."""
    sizes = {"Z": 1, "C": 1, "T": 1, steps: sum(map(len, planes.values()))}
    data, number = "", 0
    for at, (name, own) in enumerate(planes.items()):
        for page in range(len(own)):
            data += f'<TiffData IFD="{page}" First{steps}="{number}" PlaneCount="1"><UUID FileName="{name}">urn:uuid:{at}</UUID></TiffData>'
            number += 1
    for at, (name, own) in enumerate(planes.items()):
        text = ome_xml(" ".join(f'Size{axis}="{n}"' for axis, n in sizes.items()), data, root=f'UUID="urn:uuid:{at}"')
        with tifffile.TiffWriter(folder / name) as writer:
            for page, plane in enumerate(own):
                options = {"description": text.encode()} if page == 0 else {}
                writer.write(plane, photometric="minisblack", metadata=None, contiguous=False, **options)


def test_a_set_of_files_is_read_once_from_its_first_file(tmp_path: Path) -> None:
    planes = [GREY, GREY // 2, 255 - GREY, GREY[::-1]]
    write_set(tmp_path, {"t0.ome.tif": planes[:2], "t2.ome.tif": planes[2:]}, "T")
    found, left_out = names(tmp_path)
    assert found == ["t0.ome.tif"]
    assert left_out == {"t2.ome.tif": f"is part of the OME-TIFF that {tmp_path / 't0.ome.tif'} is read with"}
    for name in ("t0.ome.tif", "t2.ome.tif"):
        np.testing.assert_array_equal([f.array for f in read_frames(tmp_path / name)], planes)


def test_channels_in_files_of_their_own_are_one_image(tmp_path: Path) -> None:
    write_set(tmp_path, {"dapi.ome.tif": [GREY], "phase.ome.tif": [255 - GREY]}, "C")
    (path,) = find_images([tmp_path])
    (frame,) = read_frames(path)
    assert frame.page is None
    np.testing.assert_array_equal(frame.array, np.dstack([GREY, 255 - GREY]))
    (chosen,) = read_frames(path, channel="1")
    np.testing.assert_array_equal(chosen.array, 255 - GREY)


def test_a_part_of_a_set_is_read_with_a_warning_that_names_the_others(tmp_path: Path) -> None:
    write_set(tmp_path, {"set_1.ome.tif": [GREY], "set_2.ome.tif": [GREY // 2]}, "T")
    (tmp_path / "set_2.ome.tif").unlink()
    (frame,) = read_frames(tmp_path / "set_1.ome.tif")
    np.testing.assert_array_equal(frame.array, GREY)
    assert frame.warnings == ("part of a set of 2 files, missing: set_2.ome.tif",)


def test_a_file_of_a_set_that_was_renamed_and_stands_alone(tmp_path: Path) -> None:
    write_set(tmp_path, {"old.ome.tif": [GREY]}, "T")
    (tmp_path / "old.ome.tif").rename(tmp_path / "new.ome.tif")
    (frame,) = read_frames(tmp_path / "new.ome.tif")
    assert frame.warnings == ()
    assert COLOUR.shape[:2] == frame.array.shape


@pytest.mark.parametrize("name", ["outlines/a_outlines.png", "cellpose-masks/a_cp_masks.tif", "ome-tiff/a_labels.ome.tif"])
def test_exported_images_of_a_result_are_left_out(tmp_path: Path, name: str) -> None:
    for file in ("result/run.json", f"result/{name}", "a.png"):
        put(tmp_path / file)
    assert names(tmp_path) == (["a.png"], {f"result/{name}": "is a result of an earlier run"})
