"""Settings of test-time augmentation."""

import pytest

from somaseg.config import SegmentSettings, TtaSettings, override
from somaseg.errors import InputError


def test_segment_takes_the_views_from_its_settings():
    settings = override(SegmentSettings(), ["tta.flips=[none,horizontal]", "tta.turns=[0, 90]", "tta.scales=[1.0, 1.25]"])
    assert settings.tta == TtaSettings(flips=("none", "horizontal"), turns=(0, 90), scales=(1.0, 1.25))
    with pytest.raises(InputError, match=r"tta\.flips.*'none', 'horizontal' or 'vertical'"):
        override(SegmentSettings(), ["tta.flips=[sideways]"])
