"""Settings of augmentation and training."""

import pytest
from pydantic import ValidationError

from somaseg.config import PasteSettings, PseudoTrainSettings, TrainSettings


def test_a_ramp_that_ends_before_it_starts():
    with pytest.raises(ValidationError, match=r"start is 0\.8, full is 0\.2"):
        PseudoTrainSettings(start=0.8, full=0.2)


def test_kinds_have_fields_of_their_own():
    given = TrainSettings.model_validate({"optimizer": {"kind": "sgd", "momentum": 0.5}, "schedule": {"kind": "cosine", "final": 0.1}})
    assert (given.optimizer.kind, given.optimizer.momentum, given.schedule.final) == ("sgd", 0.5, 0.1)
    with pytest.raises(ValidationError, match="momentum"):
        TrainSettings.model_validate({"optimizer": {"kind": "adamw", "momentum": 0.5}})


def test_a_donor_is_another_image_or_the_same_one():
    with pytest.raises(ValidationError, match="share and flip_share exclude each other"):
        PasteSettings(share=0.7, flip_share=0.4)
