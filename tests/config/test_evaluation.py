"""Settings of scores."""

from importlib import resources

import pytest

from somaseg.config import (
    Config,
    EvaluationSettings,
    TuneRunSettings,
    load_settings,
    override,
)
from somaseg.errors import InputError


def test_settings_of_before_there_were_weights_of_cell_types_can_be_read():
    for path in sorted((resources.files("somaseg") / "weights").glob("*.yaml")):
        assert load_settings(Config, path).evaluation == EvaluationSettings()


def test_a_weight_of_a_cell_type_is_above_0():
    assert override(Config(), ["evaluation.type_weights={a: 155, b: 131}"]).evaluation.type_weights == {"a": 155, "b": 131}
    with pytest.raises(InputError, match=r"evaluation\.type_weights\.a: Input should be greater than 0, found 0"):
        override(TuneRunSettings(), ["evaluation.type_weights.a=0"])
