from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest
from typer.testing import CliRunner

from somaseg.annotations.read import read_annotations
from somaseg.cli.main import app
from somaseg.errors import InputError
from somaseg.synth.folder import write_cultures


def test_the_command_writes_images_and_annotations_that_read_back(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["synth", "--out", str(tmp_path / "a"), "--count", "3", "--seed", "7"])
    assert result.exit_code == 0, result.output
    written = write_cultures(tmp_path / "b", 3, 7)
    read = read_annotations(tmp_path / "a")
    assert [sample.cell_type for sample in read] == ["shsy5y", "astro", "cort"]
    assert [sample.group for sample in read] == [sample.name for sample in written]
    for ours, theirs in zip(written, read, strict=True):
        np.testing.assert_array_equal(iio.imread(ours.image), iio.imread(theirs.image))
        np.testing.assert_array_equal(ours.instances.boxes, theirs.instances.boxes)
        for mask, other in zip(ours.instances.masks, theirs.instances.masks, strict=True):
            np.testing.assert_array_equal(mask, other)
        assert theirs.instances.classes == ours.instances.classes
        np.testing.assert_array_equal(ours.instances.labels, theirs.instances.labels)


def test_image_i_does_not_depend_on_the_count_and_no_two_seeds_share_images(tmp_path: Path) -> None:
    one = write_cultures(tmp_path / "one", 1, 3, "cort")
    two = write_cultures(tmp_path / "two", 2, 3, "cort")
    next_seed = write_cultures(tmp_path / "next", 1, 4, "cort")
    np.testing.assert_array_equal(iio.imread(one[0].image), iio.imread(two[0].image))
    assert not np.array_equal(iio.imread(two[1].image), iio.imread(next_seed[0].image))
    assert {sample.cell_type for sample in two} == {"cort"}


def test_wrong_arguments_say_what_is_expected(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="count: found 0, expected 1 or more"):
        write_cultures(tmp_path, 0, 0)
    with pytest.raises(InputError, match="seed: found -1"):
        write_cultures(tmp_path, 1, -1)
    with pytest.raises(InputError, match="cell-type: found 'hela', expected one of shsy5y, astro, cort, mixed"):
        write_cultures(tmp_path, 1, 0, "hela")
    assert not list(tmp_path.iterdir())
