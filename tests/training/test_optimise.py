"""Rates at steps computed by hand, and which weights decay."""

import pytest
import torch
from torch import nn

from somaseg.config import AdamWSettings, CosineSchedule, FlatSchedule, MultiStepSchedule, SgdSettings, TrainSettings
from somaseg.models.cascade import CascadeMaskRCNN
from somaseg.models.layers import ConvBlock
from somaseg.training.optimise import decay_groups, make_optimizer, rate_factor
from tiny import TINY


def factors(steps, schedule, warmup=0, start=0.001, at=()):
    settings = TrainSettings(steps=steps, optimizer=SgdSettings(warmup=warmup, warmup_factor=start), schedule=schedule)
    return [rate_factor(settings, step) for step in at]


def test_multi_step_after_warmup():
    schedule = MultiStepSchedule(at=(5000, 7500, 9000))
    found = factors(10_000, schedule, 200, at=(0, 100, 200, 4999, 5000, 7499, 7500, 9000, 9999))
    assert found == pytest.approx([0.001, 0.5005, 1, 1, 0.1, 0.1, 0.01, 0.001, 0.001])


def test_cosine_to_its_final_share():
    found = factors(300, CosineSchedule(final=0.1), at=(0, 100, 150, 200, 300, 400))
    assert found == pytest.approx([1, 0.1 + 0.9 * 0.75, 0.55, 0.1 + 0.9 * 0.25, 0.1, 0.1])


def test_flat_until_the_cooldown():
    found = factors(8000, FlatSchedule(cooldown=2000), 300, 0.01, at=(0, 150, 300, 6000, 7000, 8000))
    assert found == pytest.approx([0.01, 0.505, 1, 1, 0.505, 0.01])


def test_no_warmup_starts_at_the_full_rate():
    assert factors(10, FlatSchedule(cooldown=5), at=(0, 1)) == [1, 1]


class Parts(nn.Module):
    """A convolution with bias, one with a norm, a held one, a linear layer."""

    def __init__(self):
        super().__init__()
        self.plain, self.normed, self.held = ConvBlock(2, 4, 3), ConvBlock(4, 4, 3, norm="GN"), ConvBlock(4, 4, 1)
        self.last = nn.Linear(4, 2)
        self.held.requires_grad_(False)


def decays(settings):
    model = Parts()
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    return {names[id(p)]: group["weight_decay"] for group in decay_groups(model, settings) for p in group["params"]}


def test_weights_norms_and_biases_decay_by_their_own_rules():
    assert decays(SgdSettings(weight_decay=0.01)) == {
        "plain.weight": 0.01, "plain.bias": 0.01, "normed.weight": 0.01, "normed.norm.weight": 0, "normed.norm.bias": 0,
        "last.weight": 0.01, "last.bias": 0.01,
    }  # fmt: skip
    assert decays(SgdSettings(weight_decay=0.01, bias_decay=0.5, norm_decay=0.25)) == {
        "plain.weight": 0.01, "plain.bias": 0.5, "normed.weight": 0.01, "normed.norm.weight": 0.25, "normed.norm.bias": 0.25,
        "last.weight": 0.01, "last.bias": 0.5,
    }  # fmt: skip


def test_the_groups_of_adamw_are_weights_then_norms_and_biases_as_resumed_runs_have_them():
    model = CascadeMaskRCNN(TINY)
    trained = [p for p in model.parameters() if p.requires_grad]
    groups = decay_groups(model, AdamWSettings())
    assert [g["weight_decay"] for g in groups] == [0.02, 0]
    for group, expected in zip(groups, ([p for p in trained if p.ndim > 1], [p for p in trained if p.ndim <= 1]), strict=True):
        assert [id(p) for p in group["params"]] == [id(p) for p in expected]


def test_a_step_of_sgd_and_of_adamw():
    for settings, expected in ((SgdSettings(rate=0.1, weight_decay=0.5), 2 - 0.1 * (3 + 0.5 * 2)),
                               (AdamWSettings(rate=0.1, weight_decay=0.5), 2 * (1 - 0.1 * 0.5) - 0.1)):  # fmt: skip
        layer = nn.Linear(1, 1, bias=False)
        nn.init.constant_(layer.weight, 2.0)
        optimizer = make_optimizer(layer, settings)
        layer.weight.grad = torch.full((1, 1), 3.0)
        optimizer.step()
        assert layer.weight.item() == pytest.approx(expected, rel=1e-5)
