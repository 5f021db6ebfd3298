import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from somaseg.annotations.submission import read_submission
from somaseg.errors import InputError
from somaseg.export.submission import submission_csv
from somaseg.instances import Instances
from two_cells import CLASSES, TWO, cells


def test_submission_is_exact():
    # Row-major from 1: rows of 5 pixels. The pixel that both cells claim goes to the first.
    text = submission_csv([("x", cells()), ("none", Instances.empty((4, 5), CLASSES))]).decode()
    assert text == "id,predicted\nx,1 2 6 2\nx,8 1 12 3\nnone,\n"


def test_submission_leaves_out_a_cell_without_a_pixel_of_its_own():
    twice = Instances.from_masks(TWO[[0, 0]], CLASSES)
    assert submission_csv([("x", twice)]).decode() == "id,predicted\nx,1 2 6 2\n"


def test_submission_refuses_one_name_for_two_images():
    with pytest.raises(InputError, match="two images are called 'x'"):
        submission_csv([("x", cells()), ("x", cells())])


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_submission_never_overlaps_and_keeps_every_pixel(tmp_path_factory, seed):
    rng = np.random.default_rng(seed)
    dense = rng.uniform(size=(6, 9, 11)) > 0.7
    path = tmp_path_factory.mktemp("submission") / "submission.csv"
    path.write_bytes(submission_csv([("x", Instances.from_masks(dense, ("cell",)))]))
    predictions, others = read_submission(path, {"x": (9, 11)})
    assert others == ()
    count = predictions["x"].to_masks().sum(axis=0)
    assert (count == dense.any(axis=0)).all()
