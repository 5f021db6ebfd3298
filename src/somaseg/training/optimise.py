"""What turns gradients into steps: the optimiser with its groups of decay, and the rate of each step."""

import math
from typing import Any

import torch
from torch import nn

from somaseg.config import AdamWSettings, CosineSchedule, FlatSchedule, SgdSettings, TrainSettings

NORMS = (nn.GroupNorm, nn.LayerNorm, nn.modules.batchnorm._BatchNorm)


def make_optimizer(model: nn.Module, settings: AdamWSettings | SgdSettings) -> torch.optim.Optimizer:
    """The optimiser of all weights of a model that train."""
    groups = decay_groups(model, settings)
    if isinstance(settings, SgdSettings):
        return torch.optim.SGD(groups, lr=settings.rate, momentum=settings.momentum, fused=True)
    return torch.optim.AdamW(groups, lr=settings.rate, fused=True)


def decay_groups(model: nn.Module, settings: AdamWSettings | SgdSettings) -> list[dict[str, Any]]:
    """Weights that train, in groups of one decay each, the largest first: norms, other biases and all else have each their own."""
    bias_decay = settings.weight_decay if settings.bias_decay is None else settings.bias_decay
    groups: dict[float, list[nn.Parameter]] = {}
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            if parameter.requires_grad:
                other = bias_decay if name == "bias" else settings.weight_decay
                groups.setdefault(settings.norm_decay if isinstance(module, NORMS) else other, []).append(parameter)
    return [{"params": groups[decay], "weight_decay": decay} for decay in sorted(groups, reverse=True)]


def rate_factor(settings: TrainSettings, step: int) -> float:
    """The share of the full rate that step `step` (from 0) is taken with: warm-up times schedule."""
    optimizer, schedule = settings.optimizer, settings.schedule
    rise = min(1.0, step / optimizer.warmup) if optimizer.warmup else 1.0
    warm = optimizer.warmup_factor + (1 - optimizer.warmup_factor) * rise
    if isinstance(schedule, FlatSchedule):
        fall = max(0.0, min(1.0, (settings.steps - step) / schedule.cooldown))
        return warm * (schedule.final + (1 - schedule.final) * fall)
    if isinstance(schedule, CosineSchedule):
        done = min(1.0, step / settings.steps)
        return warm * (schedule.final + (1 - schedule.final) * (1 + math.cos(math.pi * done)) / 2)
    return warm * schedule.factor ** sum(step >= at for at in schedule.at)
