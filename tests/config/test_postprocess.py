"""Settings of post-processing: the order of steps, thresholds by class."""

import pytest

from somaseg.config import PostprocessSettings


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        (["vote", "screen"], "paste is missing: list it"),
        (["paste", "rank", "paste"], "paste is listed 2 times: list each step once"),
        (["paste", "vote", "vote"], "vote is listed 2 times"),
        (["overlaps", "paste"], "overlaps comes before paste: put it after"),
        (["paste", "box_nms"], "box_nms comes after paste: put it before"),
        (["paste", "sharpen"], "Input should be 'vote', 'screen', 'box_nms', 'paste'"),
    ],
)
def test_an_order_that_cannot_run_is_refused(steps, message):
    with pytest.raises(ValueError, match=message):
        PostprocessSettings(steps=steps)


def test_settings_refuse_a_field_without_default_and_a_threshold_above_one():
    with pytest.raises(ValueError, match="give a value for `default`"):
        PostprocessSettings(score_thresh={"astro": 0.5})
    with pytest.raises(ValueError, match="less than or equal to 1"):
        PostprocessSettings(nms_iou=1.5)
