"""How far rounds are, in words."""

import pytest

from somaseg.rounds.status import COLUMNS, STATES, StageRow, duration, size


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (None, "?"),
        (0, "0 s"),
        (89, "89 s"),
        (90, "1.5 min"),
        (5399, "90.0 min"),
        (5400, "1.5 h"),
        (129_599, "36.0 h"),
        (129_600, "1.5 days"),
    ],
)
def test_durations(seconds, words):
    assert duration(seconds) == words


@pytest.mark.parametrize(("count", "words"), [(0, "0 MB"), (1_499_999, "1 MB"), (999_000_000, "999 MB"), (1_000_000_000, "1.0 GB")])
def test_sizes(count, words):
    assert size(count) == words


@pytest.mark.parametrize("state", STATES)
def test_a_row_has_a_text_a_column_and_an_estimate_of_what_is_to_be_done(state):
    texts = dict(zip(COLUMNS, StageRow("train-1", 2, state, 120.0, 60.0, 3_000_000).texts(), strict=True))
    assert texts == {
        "stage": "train-1", "state": STATES[state], "tasks": "2", "took": "2.0 min",
        "estimate": "" if state in ("done", "skipped") else "60 s", "disk": "3 MB",
    }  # fmt: skip
