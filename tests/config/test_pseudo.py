"""Settings of the screening of pseudo-labels."""

import pytest
from pydantic import ValidationError

from somaseg.config import PseudoSettings


def test_what_is_accepted_is_never_ignored():
    with pytest.raises(ValidationError, match=r"ignore_score.default is 0.7, accept_score.default 0.6"):
        PseudoSettings(ignore_score=0.7, accept_score=0.6)
    same = PseudoSettings(ignore_score=0.5, accept_score=0.5)
    assert same.ignore_score == same.accept_score == {"default": 0.5}
