"""The search for thresholds, on scores that are known."""

import sqlite3

import pytest

from somaseg.errors import InputError
from somaseg.tuning.search import Search, Studies
from somaseg.tuning.thresholds import Threshold

TUNED = (
    Threshold("postprocess", "nms_iou", None, 0.05, 0.65, 0.05, 0.3),
    Threshold("postprocess", "score_thresh", "astro", 0.1, 0.9, 0.01, 0.3),
    Threshold("postprocess", "min_area", "astro", 0.0, 200.0, 5.0, 60.0),
    Threshold("postprocess", "score_thresh", "cort", 0.1, 0.9, 0.01, 0.3),
)
SHARED, ASTRO, AREA, CORT = (t.name for t in TUNED)


def score(values):
    """Best at .5 for the shared one, .7 and 100 for astro, .2 for cort."""
    shared = 0.3 * abs(values[SHARED] - 0.5)
    astro = 1 - abs(values[ASTRO] - 0.7) - abs(values[AREA] - 100) / 200 - shared
    cort = 1 - abs(values[CORT] - 0.2) - shared
    return (astro + cort) / 2, {"astro": astro, "cort": cort}


def search(trials, studies=None, seed=0, **options):
    found = Search((studies or Studies(None, {})).open("study"), TUNED, seed)
    return found, found.run(options.get("score", score), trials, options.get("done", lambda: None))


def test_the_search_finds_the_best_values():
    found, chosen = search(60)
    assert found.trials[0].values == {SHARED: 0.3, ASTRO: 0.3, AREA: 60, CORT: 0.3}
    assert chosen.score > 0.85 > found.trials[0].score
    assert chosen.values[ASTRO] == pytest.approx(0.7, abs=0.12)
    assert chosen.values[CORT] == pytest.approx(0.2, abs=0.12)
    assert len({trial.values[SHARED] for trial in found.trials[30:]}) == 1
    for trial in found.trials:
        for t in TUNED:
            steps = (trial.values[t.name] - t.low) / t.step
            assert t.low <= trial.values[t.name] <= t.high
            assert steps == pytest.approx(round(steps), abs=1e-6)


def test_what_is_chosen_is_never_worse_than_the_start():
    found, chosen = search(8, score=lambda values: (float(values[ASTRO] == 0.3), {"astro": float(values[ASTRO] == 0.3), "cort": 0.5}))
    assert chosen == found.trials[0]
    assert search(1)[1].values == found.trials[0].values


@pytest.mark.parametrize("seed", [0, 1])
def test_another_seed_gives_other_trials(seed):
    assert (search(6)[0].trials == search(6, seed=seed)[0].trials) == (seed == 0)


def test_a_search_that_was_killed_goes_on_to_the_same_result(tmp_path):
    whole, chosen = search(16)
    calls = []

    def killed(values):
        calls.append(values)
        if len(calls) == 12:
            raise KeyboardInterrupt
        return score(values)

    path = tmp_path / "sub" / "study.db"
    with pytest.raises(KeyboardInterrupt):
        search(16, Studies(path, {"truth": "a"}), score=killed)
    new = []
    again, same = search(16, Studies(path, {"truth": "a"}), done=lambda: new.append(1))
    assert len(new) == 5
    assert again.trials == whole.trials
    assert same == chosen
    assert search(16, Studies(path, {"truth": "a"}), done=new.clear)[1] == chosen
    assert len(new) == 5
    assert len(search(20, Studies(path, {"truth": "a"}), done=lambda: new.append(1))[0].trials) == 20
    assert len(new) == 9


def test_a_study_of_something_else_is_refused(tmp_path):
    path = tmp_path / "study.db"
    Studies(path, {"truth": "a", "seed": "0"})
    with pytest.raises(InputError, match=r"study\.db: is of a search with other truth, seed: give the same again, or another --study"):
        Studies(path, {"truth": "b", "seed": "1"})
    path.write_text("no database at all, but long enough to be looked at as one" * 20)
    with pytest.raises(InputError, match=r"study\.db: cannot be used as a study"):
        Studies(path, {"truth": "a"})
    with pytest.raises(InputError, match="cannot be used as a study"):
        Studies(tmp_path, {"truth": "a"})
    other = tmp_path / "other.db"
    with sqlite3.connect(other) as connection:
        connection.execute("CREATE TABLE version_info (x INTEGER)")
    connection.close()
    with pytest.raises(InputError, match="cannot be used as a study"):
        Studies(other, {"truth": "a"})
