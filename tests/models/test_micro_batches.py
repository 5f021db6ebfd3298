"""Micro-batches: the losses and gradients of the whole batch, with one part of it in the trunk at a time."""

import pytest
import torch

from somaseg.config import Config, ResNeXtSettings
from somaseg.models.cascade import CascadeMaskRCNN
from tiny import BACKBONE, TINY, target

RESNEXT = ResNeXtSettings(blocks=(1, 1, 1, 1), groups=2, group_width=8, stem_width=16, out_width=32, freeze_at=1)
TRUNKS = {"timm": BACKBONE.trunk, "resnext": RESNEXT, "recomputing": RESNEXT.model_copy(update={"recompute": True})}


def step(model, micro_batches):
    """Losses, gradients, and how many images each call of the trunk saw, of a batch of three images of three sizes."""
    random = torch.Generator().manual_seed(0)
    images = [torch.randn(1, height, width, generator=random) for height, width in ((64, 96), (80, 64), (48, 48))]
    # One, three and no cell: the parts must not be normalised each by its own count.
    targets = [target([[8, 8, 40, 40]]), target([[4, 4, 30, 40], [30, 10, 60, 30], [5, 50, 25, 75]], labels=[0, 1, 1]), target([])]
    seen = []
    hook = model.backbone.register_forward_pre_hook(lambda _, inputs: seen.append(len(inputs[0])))
    model.zero_grad()
    torch.manual_seed(1)
    losses = model.train()(images, targets, micro_batches)
    sum(losses.values()).backward()
    hook.remove()
    return losses, {name: p.grad for name, p in model.named_parameters() if p.grad is not None}, seen


@pytest.mark.parametrize("trunk", TRUNKS)
@pytest.mark.parametrize("micro_batches", [2, 5])
def test_micro_batches_have_the_losses_and_gradients_of_the_whole_batch(trunk, micro_batches):
    torch.manual_seed(0)
    model = CascadeMaskRCNN(TINY.model_copy(update={"backbone": BACKBONE.model_copy(update={"trunk": TRUNKS[trunk]})}))
    whole, whole_gradients, _ = step(model, 1)
    parts, gradients, seen = step(model, micro_batches)
    for name, loss in whole.items():
        torch.testing.assert_close(parts[name], loss, rtol=1e-4, atol=1e-6)
    assert gradients.keys() == whole_gradients.keys()
    for name, gradient in whole_gradients.items():
        torch.testing.assert_close(gradients[name], gradient, rtol=1e-3, atol=1e-5 + 1e-4 * float(gradient.abs().max()), msg=name)
    # Forward from first to last, then again for the backward pass.
    assert seen == ([2, 1, 1, 2] if micro_batches == 2 else [1] * 6)


def test_statistics_of_a_batch_and_micro_batches_exclude_each_other():
    settings = {"model": {"backbone": {"trunk": {"kind": "resnext", "norm": "BN"}}}, "train": {"accumulate": 2}}
    with pytest.raises(ValueError, match="accumulate would change the statistics of norm BN"):
        Config.model_validate(settings)
