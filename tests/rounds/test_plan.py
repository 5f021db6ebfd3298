import pytest

from somaseg.rounds.plan import (
    BestRound,
    StageRecord,
    StageWork,
    dependents,
    disk,
    keep_best,
    keys,
    make_plan,
    seconds,
    seed_spread,
    skipped,
    states,
)

PLAN = make_plan(1)
MADE_FROM = {kind: {} for kind in ("first", "finetune", "score", "predict", "pseudo", "final")}


def test_the_plan_names_its_stages_in_order():
    assert [s.name for s in PLAN] == ["train-0", "score-0", "predict-1", "pseudo-1", "train-1", "score-1", "final"]
    assert [s.name for s in make_plan(0)] == ["train-0", "score-0", "final"]


def test_what_reads_a_stage_is_made_again_with_it_and_nothing_else():
    assert dependents(PLAN, "score-0") == ("score-0", "final")
    assert dependents(PLAN, "pseudo-1") == ("pseudo-1", "train-1", "score-1", "final")
    assert dependents(PLAN, "train-0") == tuple(s.name for s in PLAN)


def test_a_setting_makes_stale_what_depends_on_it():
    before = keys(PLAN, MADE_FROM)
    after = keys(PLAN, MADE_FROM | {"pseudo": {"score": 0.7}})
    changed = [s.name for s in PLAN if before[s.name] != after[s.name]]
    assert changed == ["pseudo-1", "train-1", "score-1", "final"]
    records = {"train-0": StageRecord(before["train-0"], True, 9.0), "pseudo-1": StageRecord(before["pseudo-1"], True, 1.0)}
    records["score-0"] = StageRecord(before["score-0"], False, 0.0)
    found = states(PLAN, after, records)
    assert found["train-0"] == "done"
    assert found["score-0"] == "begun"
    assert found["predict-1"] == "open"
    assert found["pseudo-1"] == "stale"


def test_another_round_leaves_those_before_as_they_are():
    two = keys(make_plan(2), MADE_FROM)
    one = keys(PLAN, MADE_FROM)
    assert all(two[s.name] == one[s.name] for s in PLAN if s.kind != "final")
    assert two["final"] != one["final"]


@pytest.mark.parametrize(
    ("scores", "kept"),
    [
        ([0.30], BestRound(0, None)),
        ([0.30, 0.33], BestRound(1, None)),  # a gain beyond the spread: go on
        ([0.30, 0.33, 0.335], BestRound(2, 2)),  # inside the spread: stop, but it is still the best
        ([0.30, 0.29], BestRound(0, 1)),
        ([0.25, 0.25], BestRound(0, 1)),
        ([0.25, 0.375, 0.5, 0.25, 0.75], BestRound(2, 3)),  # nothing after the stop counts
    ],
)
def test_rounds_stop_where_the_gain_is_inside_the_spread(scores, kept):
    assert keep_best(scores, spread=0.01) == kept


def test_a_gain_as_large_as_the_spread_is_inside_it():
    assert keep_best([0.25, 0.5], spread=0.25) == BestRound(1, 1)


def test_the_spread_is_between_seeds_not_between_folds():
    assert seed_spread([0.1, 0.3, 0.7, 0.9], [0, 0, 1, 1]) == pytest.approx((0.02) ** 0.5)  # variance .02 in each fold
    assert seed_spread([0.1, 0.3, 0.7], [0, 0, 1]) == pytest.approx((0.02) ** 0.5)
    assert seed_spread([0.1, 0.9], [0, 1]) == 0


def test_rounds_after_the_stop_are_left_out():
    plan = make_plan(2)
    assert skipped(plan, BestRound(0, 1)) == ("predict-2", "pseudo-2", "train-2", "score-2")
    assert skipped(plan, BestRound(1, None)) == ()
    assert skipped(plan, None) == ()


def test_estimates():
    work = StageWork(tasks=6, steps=600, images=20, weights=24)
    assert seconds(work, per_step=3.0, per_image=0.5) == 1810
    assert seconds(StageWork(steps=600), 3.0, None) == 1800
    assert seconds(work, 3.0, None) is None
    assert seconds(StageWork(), None, None) == 0
    assert disk(work, weight_bytes=1000) == 24_000 + 20_000_000
