"""Label TIFFs as annotations."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from somaseg.annotations.read import inspect_annotations, read_annotations
from somaseg.data.repair import repair
from somaseg.errors import InputError
from somaseg.export.labels import label_tiff
from somaseg.instances import Instances


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.uint32])
def test_label_tiffs_beside_their_images(tmp_path: Path, dtype: Any) -> None:
    labels = np.zeros((4, 5), dtype)
    labels[0, 0], labels[3] = 200, 7
    tifffile.imwrite(tmp_path / "a_labels.tif", labels)
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((4, 5), np.uint8))
    for path in (tmp_path, tmp_path / "a_labels.tif"):
        sample = read_annotations(path)[0]
        assert (sample.name, sample.image, sample.cell_type) == ("a", tmp_path / "a.tif", "cell")
        assert sample.instances.boxes.tolist() == [[0, 3, 5, 4], [0, 0, 1, 1]]


@pytest.mark.parametrize("images", ["images", "."])
def test_label_tiffs_in_a_folder_of_their_own(tmp_path: Path, images: str) -> None:
    for folder in ("labels", images):
        (tmp_path / folder).mkdir(exist_ok=True)
    tifffile.imwrite(tmp_path / "labels/a.tif", np.ones((4, 5), np.uint16))
    image = tmp_path / images / "a.png"
    image.write_bytes(b"not opened")
    assert read_annotations(tmp_path)[0].image == image
    assert read_annotations(tmp_path / "labels", tmp_path / images)[0].image == image


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((2, 4, 5), np.uint16), "2 planes, expected one"),
        (np.full((4, 5), 0.5, np.float32), r"value 0\.5, expected whole numbers"),
        (np.full((4, 5), np.nan, np.float32), "value nan, expected whole numbers"),
        (np.full((4, 5), np.inf, np.float64), "value inf, expected whole numbers"),
        (np.full((4, 5), -1, np.int16), "whole numbers from 0"),
        (np.full((4, 5), -1, np.float32), "whole numbers from 0"),
        (np.full((4, 5), 2**63, np.uint64), "whole numbers from 0"),
        (np.arange(60, dtype=np.uint8).reshape(4, 5, 3), "is a colour image"),
    ],
)
def test_a_tiff_that_is_no_label_image(tmp_path: Path, array: np.ndarray, message: str) -> None:
    tifffile.imwrite(tmp_path / "a_labels.tif", array, photometric="rgb" if array.shape[-1] == 3 else "minisblack")
    with pytest.raises(InputError, match=message):
        read_annotations(tmp_path)


LABELS = np.zeros((12, 16), np.uint16)
LABELS[1:4, 1:4], LABELS[1:4, 4:9], LABELS[8:11, 2:13] = 1, 2, 300


@pytest.mark.parametrize("name", ["a_cp_masks", "a_labels", "a_label", "a_masks", "a_mask"])
@pytest.mark.parametrize("suffix", ["png", "tif", "TIFF"])
def test_names_and_containers_of_other_programs(tmp_path: Path, name: str, suffix: str) -> None:
    path = tmp_path / f"{name}.{suffix}"
    if suffix == "png":
        Image.fromarray(LABELS).save(path)
    else:
        tifffile.imwrite(path, LABELS)
    Image.new("L", (16, 12)).save(tmp_path / "a.png")
    for source in (tmp_path, path):
        (sample,) = read_annotations(source)
        assert (sample.name, sample.image) == ("a", tmp_path / "a.png")
        assert np.array_equal(sample.instances.to_label_image()[0] > 0, LABELS > 0)
        assert sample.instances.area.tolist() == [9, 15, 33]


@pytest.mark.parametrize(
    "write",
    [
        lambda path: tifffile.imwrite(path, LABELS, compression="lzw"),
        lambda path: tifffile.imwrite(path, LABELS.astype(np.uint32), compression="lzw", predictor=True),
        lambda path: tifffile.imwrite(path, LABELS.astype(np.float32)),
        lambda path: tifffile.imwrite(path, LABELS.astype(np.float64)),
        lambda path: tifffile.imwrite(path, LABELS.astype(np.int32)),
        lambda path: tifffile.imwrite(path, LABELS.astype(np.uint64) * 2**40),
        lambda path: tifffile.imwrite(path, LABELS[None], metadata={"axes": "ZYX"}),
        lambda path: tifffile.imwrite(path, np.stack([LABELS] * 3, axis=-1), photometric="rgb"),
    ],
)
def test_every_kind_of_tiff_has_the_same_cells(tmp_path: Path, write: Any) -> None:
    write(tmp_path / "a_labels.tif")
    assert read_annotations(tmp_path)[0].instances.area.tolist() == [9, 15, 33]


def test_a_palette_is_only_for_the_eye(tmp_path: Path) -> None:
    picture = Image.fromarray(np.minimum(LABELS, 3).astype(np.uint8), "L").convert("P")
    picture.putpalette([0, 0, 0, 200, 0, 0, 0, 200, 0, 0, 0, 200] + [9] * 756)
    picture.save(tmp_path / "a_labels.png")
    assert read_annotations(tmp_path)[0].instances.area.tolist() == [9, 15, 33]


@pytest.mark.parametrize("value", [1, 255, 7])
def test_a_binary_mask_is_told_and_parted_by_fix(tmp_path: Path, value: int) -> None:
    tifffile.imwrite(tmp_path / "a_labels.tif", ((LABELS > 0) * value).astype(np.uint8))
    with pytest.raises(InputError, match=rf"one value \({value}\) has 2 pieces: it may be a binary mask"):
        read_annotations(tmp_path)
    samples, problems = inspect_annotations(tmp_path)
    assert [(p.kind, p.fatal) for p in problems] == [("binary mask", True)]
    repaired, changes = repair(samples, problems)
    assert repaired[0].instances.area.tolist() == [24, 33]
    assert [c.action for c in changes] == ["parted into its pieces"]


def test_masks_of_one_bit_and_of_classes(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a_labels.tif", LABELS > 0)
    with pytest.raises(InputError, match="binary mask"):
        read_annotations(tmp_path)
    rows = np.zeros((12, 16), np.uint8)
    rows[::4], rows[2::4] = 1, 2
    tifffile.imwrite(tmp_path / "a_labels.tif", rows)
    with pytest.raises(InputError, match="2 values have 6 pieces: it may be a mask of classes"):
        read_annotations(tmp_path)


def test_one_cell_in_pieces_is_no_binary_mask_where_the_description_says_so(tmp_path: Path) -> None:
    (tmp_path / "labels").mkdir()
    cells = Instances.from_label_image((LABELS > 0).astype(np.uint8), ("astro",))
    (tmp_path / "labels/a.tif").write_bytes(label_tiff(cells, name="plate1/a").data)
    (sample,) = read_annotations(tmp_path)
    assert (sample.name, len(sample.instances), sample.cell_type) == ("plate1/a", 1, "astro")


def test_two_label_images_of_one_image(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a_labels.tif", LABELS)
    Image.fromarray(LABELS).save(tmp_path / "a_cp_masks.png")
    with pytest.raises(InputError, match="second label image of a"):
        read_annotations(tmp_path)


@pytest.mark.parametrize(
    "described", [{"classes": []}, {"classes": [1]}, {"labels": "x"}, {"labels": [5] * 300}, {"labels": [0]}, {"image": 3}]
)
def test_a_description_that_is_none(tmp_path: Path, described: dict[str, Any]) -> None:
    tifffile.imwrite(tmp_path / "a_labels.tif", LABELS, metadata={"classes": ["astro"], **described})
    with pytest.raises(InputError, match=r"a_labels\.tif"):
        read_annotations(tmp_path)
