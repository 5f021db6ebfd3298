"""Settings of fusion."""

import pytest

from somaseg.config import FuseSettings


def test_settings_refuse_pasting_after_fusion():
    with pytest.raises(ValueError, match="paste cannot follow fusion"):
        FuseSettings(final_steps=("paste", "min_area"))
    with pytest.raises(ValueError, match="paste is missing"):
        FuseSettings(member_steps=("vote",))
