"""Settings of rounds of self-training."""

import pytest
from pydantic import ValidationError

from somaseg.config import MemberSettings, RoundsSettings

MEMBERS = {"a": {"config": "a.yaml"}, "b": {"weights": "default", "fold": 1}}


def test_a_member_starts_from_a_config_or_from_weights():
    for given in ({}, {"config": "a.yaml", "weights": "default"}):
        with pytest.raises(ValidationError, match="give config, to train the member, or weights that were trained"):
            MemberSettings.model_validate(given)


def test_rounds_need_images_to_label():
    with pytest.raises(ValidationError, match="unlabelled is empty: name the images that rounds label, or set rounds to 0"):
        RoundsSettings.model_validate({"annotations": ["x"], "members": MEMBERS})
    assert RoundsSettings.model_validate({"annotations": ["x"], "members": MEMBERS, "rounds": 0}).members["b"].fold == 1


def test_names_of_members_are_names_of_folders():
    with pytest.raises(ValidationError, match="should match pattern"):
        RoundsSettings.model_validate({"annotations": ["x"], "members": {"a/b": {"config": "a.yaml"}}, "rounds": 0})
