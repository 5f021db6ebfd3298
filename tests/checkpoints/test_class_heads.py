import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from somaseg.checkpoints.class_heads import adapt_classes, class_count
from somaseg.errors import InputError

POOL = ("a172", "bt474", "bv2", "huh7", "mcf7", "shsy5y", "skbr3", "skov3", "astro", "cort")
LAYERS = {
    "roi_heads.box_predictor.0.cls_score.weight": (1, 6),
    "roi_heads.box_predictor.0.cls_score.bias": (1,),
    "roi_heads.mask_head.predictor.weight": (0, 4, 1, 1),
    "roi_heads.mask_head.predictor.bias": (0,),
}


def heads(classes):
    """Every row filled with the number of its class; the background's with -1; and one layer that knows no classes."""
    state = {"roi_heads.box_predictor.0.bbox_pred.bias": torch.arange(4.0)}
    for name, (background, *rest) in LAYERS.items():
        values = torch.tensor([*range(classes), *[-1] * background], dtype=torch.float32)
        state[name] = values.view(-1, *[1] * len(rest)).expand(-1, *rest).clone()
    return state


def test_from_ten_classes_to_three():
    state = heads(10)
    adapted = adapt_classes(state, POOL, ("shsy5y", "astro", "cort"))
    assert class_count(state) == 10
    assert class_count(adapted.state) == 3
    for name, (background, *rest) in LAYERS.items():
        rows = [5, 8, 9] + [-1] * background
        assert adapted.state[name].tolist() == torch.tensor(rows).view(-1, *[1] * len(rest)).expand(-1, *rest).tolist()
    assert adapted.state["roi_heads.box_predictor.0.bbox_pred.bias"] is state["roi_heads.box_predictor.0.bbox_pred.bias"]
    assert adapted.kept == {name: name for name in ("shsy5y", "astro", "cort")}
    assert adapted.fresh == ()
    assert adapted.dropped == tuple(name for name in POOL if name not in adapted.kept)
    assert class_count({}) is None


def test_names_are_compared_by_letters_and_digits_and_may_be_mapped():
    adapted = adapt_classes(heads(3), ("SH-SY5Y", "Astro", "neuron"), ("cort", "shsy5y"), {"cort": "neuron"})
    assert adapted.state["roi_heads.mask_head.predictor.bias"].tolist() == [2, 0]
    assert adapted.state["roi_heads.box_predictor.0.cls_score.bias"].tolist() == [2, 0, -1]
    assert adapted.text() == "kept: cort (was neuron), shsy5y (was SH-SY5Y); dropped: Astro"


def test_a_new_class_is_drawn_as_in_a_new_layer():
    adapted = adapt_classes(heads(2), ("round", "long"), ("flat", "long"), seed=3)
    scores, masks = (adapted.state[n] for n in LAYERS if n.endswith("weight"))
    assert (scores[1] == 1).all()
    assert (scores[2] == -1).all()
    assert 0 < scores[0].abs().max() < 0.06
    assert 0 < masks[0].abs().max() < 0.006
    assert adapted.state["roi_heads.box_predictor.0.cls_score.bias"].tolist() == [0, 1, -1]
    again = adapt_classes(heads(2), ("round", "long"), ("flat", "long"), seed=3)
    assert torch.equal(again.state["roi_heads.mask_head.predictor.weight"], masks)
    assert adapted.text() == "kept: long; drawn anew: flat; dropped: round"


def test_classes_that_nobody_knows_are_drawn_anew_and_the_background_stays():
    adapted = adapt_classes(heads(80), None, ("shsy5y", "astro", "cort"))
    assert adapted.state["roi_heads.box_predictor.0.cls_score.bias"].tolist() == [0, 0, 0, -1]
    assert adapted.fresh == ("shsy5y", "astro", "cort")


@given(st.permutations(POOL), st.integers(1, 10))
def test_there_and_back_gives_the_same_rows(order, count):
    state = heads(10)
    there = adapt_classes(state, POOL, order)
    back = adapt_classes(there.state, order, POOL[:count])
    assert all(torch.equal(back.state[n], adapt_classes(state, POOL, POOL[:count]).state[n]) for n in LAYERS)


def test_wrong_names():
    with pytest.raises(InputError, match=r"cls_score\.weight: has rows for 10 classes, but 2 are named \(a, b\)"):
        adapt_classes(heads(10), ("a", "b"), ("a",))
    with pytest.raises(InputError, match="mapping of classes: cort from neuron"):
        adapt_classes(heads(2), ("a", "b"), ("cort",), {"cort": "neuron"})
