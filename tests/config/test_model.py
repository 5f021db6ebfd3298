"""Settings of the network: what contradicts itself is refused."""

import pytest
from pydantic import ValidationError

from somaseg.config import Config, DetectSettings, InputSettings, ModelSettings, ResNeXtSettings


@pytest.mark.parametrize(
    ("kind", "given", "message"),
    [
        (InputSettings, {"channels": 3, "mean": [1.0], "std": [1.0]}, "give mean and std one value for each of the 3 channels"),
        (ResNeXtSettings, {"recompute": True, "norm": "BN"}, "recompute would enter every batch .* twice: give FrozenBN or GN"),
        (DetectSettings, {"longest_edge": 900}, "longest_edge limits what shortest_edge asks for: give shortest_edge too"),
        (ModelSettings, {"preset": "X101"}, "preset: found 'X101', expected one of X152"),
    ],
)
def test_what_contradicts_itself_is_refused(kind, given, message):
    with pytest.raises(ValidationError, match=message):
        kind.model_validate(given)


def test_micro_batches_must_not_change_the_statistics_of_a_norm():
    given = {"model": {"preset": "X152", "backbone": {"trunk": {"norm": "BN"}}}, "train": {"accumulate": 2}}
    with pytest.raises(ValidationError, match=r"train\.accumulate would change the statistics of norm BN"):
        Config.model_validate(given)
    assert Config.model_validate(given | {"train": {"accumulate": 1}}).train.accumulate == 1
