import numpy as np
import pytest
import torch

from somaseg.config import PostprocessSettings
from somaseg.inference.detect import detect
from somaseg.inference.views import View
from somaseg.instances import Instances
from somaseg.models.cascade import CascadeMaskRCNN
from somaseg.postprocessing.steps import postprocess
from somaseg.runtimes.torch_detector import TorchDetector
from tiny import TINY, target


def tiny_model(seed=0, **changes):
    torch.manual_seed(seed)
    return CascadeMaskRCNN(TINY.model_copy(update=changes))


def random_image(height, width, seed=0):
    return torch.randn(1, height, width, generator=torch.Generator().manual_seed(seed))


def discs(seed, side=96, radius=11):
    """A noisy crop with three bright discs in a row of random height, and their truth."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side] + 0.5
    image, boxes, masks = random.normal(0, 0.3, (side, side)), [], []
    for column in (16, 48, 80):
        row = int(random.integers(radius, side - radius))
        disc = (y - row) ** 2 + (x - column) ** 2 < radius**2
        image[disc] += 2
        boxes.append((column - radius, row - radius, column + radius, row + radius))
        masks.append(disc[row - radius : row + radius, column - radius : column + radius])
    return torch.from_numpy(image[None].astype(np.float32)), target(boxes, masks, [seed % 2] * 3)


def dense(truth, side=96):
    """Full-frame masks of a truth."""
    crops = truth["mask_pixels"].split(truth["mask_boxes"][:, 2:].sub(truth["mask_boxes"][:, :2]).prod(dim=1).tolist())
    frames = np.zeros((len(crops), side, side), bool)
    for frame, crop, (x0, y0, x1, y1) in zip(frames, crops, truth["mask_boxes"].tolist(), strict=True):
        frame[y0:y1, x0:x1] = crop.numpy().reshape(y1 - y0, x1 - x0)
    return frames


def train(model, steps, bf16=False):
    """The total loss of every step on two crops."""
    torch.manual_seed(1)
    images, targets = zip(discs(0), discs(1), strict=True)
    optimizer = torch.optim.AdamW(model.train().parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=max(steps, 10))
    totals = []
    for _ in range(steps):
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            losses = model(list(images), list(targets))
        assert all(torch.isfinite(loss) for loss in losses.values())
        total = sum(losses.values())
        optimizer.zero_grad()
        total.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()
        schedule.step()
        totals.append(float(total.detach()))
    return totals


def test_weights_have_detectron2_names():
    names = set(tiny_model().state_dict())
    assert {
        "backbone.fpn_lateral2.weight",
        "backbone.fpn_output4.bias",
        "proposal_generator.rpn_head.conv.weight",
        "proposal_generator.rpn_head.objectness_logits.bias",
        "proposal_generator.rpn_head.anchor_deltas.weight",
        "roi_heads.box_head.2.fc1.weight",
        "roi_heads.box_predictor.0.cls_score.weight",
        "roi_heads.box_predictor.2.bbox_pred.bias",
        "roi_heads.mask_head.mask_fcn1.weight",
        "roi_heads.mask_head.deconv.weight",
        "roi_heads.mask_head.predictor.bias",
    } <= names
    assert {name.split(".")[0] for name in names} == {"backbone", "proposal_generator", "roi_heads"}


def test_images_are_padded_right_and_below_to_the_coarsest_stride():
    images = [random_image(30, 33), random_image(17, 1)]
    batch, sizes = tiny_model().pad(images)
    assert batch.shape == (2, 1, 32, 48)
    assert sizes == [(30, 33), (17, 1)]
    for padded, image, (height, width) in zip(batch, images, sizes, strict=True):
        torch.testing.assert_close(padded[:, :height, :width], image, atol=0, rtol=0)
        assert not padded[:, height:].any()
        assert not padded[:, :, width:].any()


def test_a_batch_gives_what_its_images_give_one_by_one():
    # Sizes differ, but all are padded to 64 x 80: around the padding, features depend on where it ends.
    model = tiny_model().eval()
    images = [random_image(64, 80, 1), random_image(50, 70, 2), random_image(61, 65, 3)]

    def run(part):
        features = model.features(part)
        proposals = [boxes for boxes, _ in model.propose(features)]
        refined = model.refine(features, proposals)
        labels = [probabilities[:, :-1].argmax(dim=1) for _, probabilities in refined]
        return [*zip(proposals, *zip(*refined, strict=True), model.segment(features, [b for b, _ in refined], labels), strict=True)]

    with torch.inference_mode():
        together = run(images)
        for image, batched in zip(images, together, strict=True):
            (alone,) = run([image])
            assert len(alone[0]) > 5
            for ours, theirs in zip(batched, alone, strict=True):
                torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)


def test_two_crops_can_be_learnt():
    # The sum of losses rises at first: the cascade's later stages get cells to learn from once the earlier ones improve.
    model = tiny_model(
        backbone=TINY.backbone.model_copy(update={"fpn_norm": "GN"}),
        heads=TINY.heads.model_copy(update={"norm": "GN", "samples": 32, "box_fc_width": 64}),
    )
    totals = train(model, 120)
    assert np.mean(totals[-5:]) < 0.7 * totals[0]
    model.eval()
    for seed in (0, 1):
        image, truth = discs(seed)
        (found,) = detect(View(TorchDetector(model, bf16=False)), [image[0].numpy()])
        cells = postprocess(found, PostprocessSettings(score_thresh=0.4))
        assert cells.labels.tolist() == [seed, seed, seed]
        overlap = cells.iou(Instances.from_masks(dense(truth), model.settings.classes))
        assert (overlap.max(axis=0) > 0.75).all()


def test_losses_repeat_with_the_seed():
    assert train(tiny_model(), 3) == train(tiny_model(), 3)
    assert train(tiny_model(1), 1) != train(tiny_model(), 1)


def test_steps_in_bfloat16():
    plain, rounded = train(tiny_model(), 6), train(tiny_model(), 6, bf16=True)
    assert rounded[0] == pytest.approx(plain[0], rel=0.05)


@pytest.mark.parametrize("norm", ["", "GN"])
def test_every_weight_learns(norm):
    model = tiny_model(
        backbone=TINY.backbone.model_copy(update={"fpn_norm": norm}),
        heads=TINY.heads.model_copy(update={"norm": norm, "box_convs": 1, "box_conv_width": 16}),
    )
    image, truth = discs(0)
    sum(model([image], [truth]).values()).backward()
    unused = "backbone.bottom_up.net.blocks.4."  # stride 32, which these settings leave out
    idle = [n for n, p in model.named_parameters() if not n.startswith(unused) and (p.grad is None or not p.grad.any())]
    assert idle == []


@pytest.mark.parametrize(("held", "heads"), [((), True), (("backbone",), True), (("roi_heads",), True), (("backbone", "roi_heads"), False)])
def test_heads_have_losses_where_a_weight_may_lower_them(held, heads):
    model = tiny_model().train()
    for part in held:
        model.get_submodule(part).requires_grad_(False)
    losses = model([random_image(64, 64)], [target([(10, 10, 30, 24)])])
    assert any(not name.startswith("loss_rpn") for name in losses) == heads
    sum(losses.values()).backward()
    learning = {name.split(".")[0] for name, weight in model.named_parameters() if weight.grad is not None and weight.grad.any()}
    assert learning == {"backbone", "proposal_generator", "roi_heads"} - set(held)
