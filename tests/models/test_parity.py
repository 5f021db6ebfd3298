"""Parity with Detectron2: a tiny X152 against what Detectron2 computed with the same random weights (tests/golden).

Detectron2's numbers are float32. Its random weights make the deformable convolutions sample tens of pixels away, so that rounding
doubles with every block: no two float32 programs agree on the coarse features to more than three digits. So every step after
the trunk starts from Detectron2's own inputs of that step, and the trunk runs in float64.
"""

import json
from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from somaseg.config import X152, DetectSettings
from somaseg.images.inputs import prepare
from somaseg.inference.detect import detect
from somaseg.masks.crops import crop_from_mask
from somaseg.models import boxes as bx
from somaseg.models.cascade import CascadeMaskRCNN
from somaseg.models.roi_heads import STAGE_WEIGHTS, Boxes
from somaseg.postprocessing.soft_masks import to_pixels
from somaseg.runtimes.torch_detector import TorchDetector
from tiny import target

FOLDER = Path(__file__).parents[1] / "golden"
GOLDEN = load_file(FOLDER / "tiny_cascade.safetensors")
STEP = json.loads((FOLDER / "tiny_cascade_train.json").read_text())
SIZE = (96, 128)
LEVELS = ("p2", "p3", "p4", "p5", "p6")
PIXELS = 1e-2  # tolerance of boxes


def changed(settings, **changes):
    return settings.model_copy(update=changes)


TRUNK = changed(X152.backbone.trunk, blocks=(3, 4, 6, 3), groups=4, group_width=2, stem_width=16, out_width=32)
SETTINGS = changed(
    X152,
    backbone=changed(X152.backbone, trunk=TRUNK, fpn_width=32),
    rpn=changed(
        X152.rpn,
        sizes=((8,), (16,), (32,), (64,), (128,)),
        samples=100_000,
        positive_share=1.0,
        pre_nms=200,
        post_nms=100,
        train_pre_nms=200,
        train_post_nms=100,
    ),
    heads=changed(
        X152.heads, samples=100_000, positive_share=1.0, box_convs=2, box_conv_width=32, box_fc_width=64, mask_convs=2, mask_width=32
    ),
    detect=DetectSettings(scale=1.0, nms_iou=0.5, per_class=True, max_detections=100),
)


def recorded(name):
    return GOLDEN[name]


def image():
    return recorded("input/image_u8")[0].numpy()


def recorded_levels():
    return [recorded(f"features/{name}").clone() for name in LEVELS]


def assert_near(found, name, atol=1e-4, rtol=1e-4):
    torch.testing.assert_close(found.to(recorded(name).dtype), recorded(name), atol=atol, rtol=rtol)


def assert_near_in_scale(found, expected, share):
    """Differences are below a share of the largest value: what float32 leaves where large values cancel."""
    torch.testing.assert_close(found.double(), expected.double(), atol=share * float(expected.abs().max()), rtol=0)


@pytest.fixture(scope="module")
def model():
    made = CascadeMaskRCNN(SETTINGS).eval()
    made.load_state_dict({key.removeprefix("weights/"): value for key, value in GOLDEN.items() if key.startswith("weights/")})
    return made


@pytest.fixture(scope="module")
def exact_backbone(model):
    return deepcopy(model.backbone).double()


def test_the_weights_have_our_names_and_shapes(model):
    theirs = {key.removeprefix("weights/"): value.shape for key, value in GOLDEN.items() if key.startswith("weights/")}
    assert {key: value.shape for key, value in model.state_dict().items()} == theirs


def test_input(model):
    batch, sizes = model.pad([torch.from_numpy(prepare(image(), SETTINGS))])
    assert sizes == [SIZE]
    torch.testing.assert_close(batch, recorded("input/normalized_padded"), atol=0, rtol=0)


def test_trunk(exact_backbone):
    with torch.no_grad():
        trunk = exact_backbone.bottom_up
        features = trunk(recorded("input/normalized_padded").double())
        assert_near_in_scale(features[1], recorded("features/res3"), 1e-5)
        assert_near_in_scale(features[3], recorded("features/res5"), 1e-3)
        # From their own res3 on, nine blocks instead of thirteen multiply the rounding.
        assert_near_in_scale(trunk.res5(trunk.res4(recorded("features/res3").double())), recorded("features/res5"), 1e-4)


def test_pyramid(model, exact_backbone):
    with torch.no_grad():
        for level, name in zip(exact_backbone(recorded("input/normalized_padded").double()), LEVELS, strict=True):
            assert_near_in_scale(level, recorded(f"features/{name}"), 1e-3)
        coarsest = model.backbone.fpn_output5(model.backbone.fpn_lateral5(recorded("features/res5")))
    assert_near(coarsest, "features/p5")
    assert_near(recorded("features/p5")[:, :, ::2, ::2], "features/p6", atol=0, rtol=0)


def test_anchors(model):
    for number, anchors in enumerate(model.proposal_generator.anchors(recorded_levels())):
        assert_near(anchors, f"rpn/anchors_{number}", atol=0, rtol=0)


def test_proposals(model):
    with torch.no_grad():
        objectness, deltas = model.proposal_generator.rpn_head(recorded_levels())
        for number, (logits, moves) in enumerate(zip(objectness, deltas, strict=True)):
            rows, columns = recorded(f"rpn/objectness_{number}").shape[2:]
            assert_near(logits.view(1, rows, columns, 3).permute(0, 3, 1, 2), f"rpn/objectness_{number}")
            assert_near(moves.view(1, rows, columns, 12).permute(0, 3, 1, 2), f"rpn/deltas_{number}")
        ((boxes, logits),) = model.propose((recorded_levels(), [SIZE]))
    assert_near(boxes, "rpn/proposal_boxes", atol=PIXELS)
    assert_near(logits, "rpn/proposal_logits")


@pytest.mark.parametrize("stage", [0, 1, 2])
def test_stage(model, stage):
    heads = model.roi_heads
    boxes = recorded("rpn/proposal_boxes") if stage == 0 else bx.clip(recorded(f"box/boxes_{stage - 1}"), SIZE)
    now, planes = Boxes.join([boxes]), heads.planes(recorded_levels())
    with torch.no_grad():
        assert_near_in_scale(heads.pool(planes, 1, now, 7)[:8], recorded(f"box/pooled_{stage}"), 1e-6)
        logits, deltas = heads.stage(stage, planes, 1, now)
    assert_near(logits, f"box/logits_{stage}")
    assert_near(deltas, f"box/deltas_{stage}")
    assert_near(bx.decode(now.xyxy, deltas, STAGE_WEIGHTS[stage]), f"box/boxes_{stage}", atol=PIXELS)


class FromRecordedLevels:
    """The model, but for its backbone."""

    settings = SETTINGS

    def __init__(self, model):
        network = TorchDetector(model, bf16=False)
        self.propose, self.refine, self.segment = network.propose, network.refine, network.segment

    def features(self, images, levels=None):
        return recorded_levels(), [(i.shape[0], i.shape[1]) for i in images]


@pytest.mark.filterwarnings("ignore:detections reached their cap of 100")
@pytest.mark.filterwarnings("ignore:proposals reached their cap of 100")
def test_detections(model):
    (found,) = detect(FromRecordedLevels(model), [image()])
    assert_near(torch.from_numpy(found.boxes), "det/boxes", atol=PIXELS)
    assert_near(torch.from_numpy(found.scores), "det/scores")
    assert_near(torch.from_numpy(found.labels), "det/labels", atol=0, rtol=0)
    assert_near(torch.from_numpy(found.mask_probs)[:, None], "det/mask_probs", atol=5e-4, rtol=0)  # kept in half precision
    with torch.no_grad():
        (probs,) = model.segment((recorded_levels(), [SIZE]), [recorded("det/boxes")], [recorded("det/labels")])
    assert_near(probs[:, None], "det/mask_probs")


def pasted(scale):
    """Masks and areas from their boxes and probabilities, at a multiple of the image's size."""
    size = (SIZE[0] * scale, SIZE[1] * scale)
    boxes, crops, _ = to_pixels((recorded("det/boxes") * scale).numpy(), recorded("det/mask_probs")[:, 0].numpy(), np.full(100, 0.5), size)
    frames = np.zeros((100, *size), bool)
    for frame, crop, (x0, y0, x1, y1) in zip(frames, crops, boxes, strict=True):
        frame[y0:y1, x0:x1] = crop
    return frames


def test_masks():
    assert_near(recorded("det/boxes"), "final/boxes", atol=0, rtol=0)
    np.testing.assert_array_equal(pasted(1), recorded("final/masks").numpy())


def test_masks_at_twice_the_size():
    assert_near(recorded("det/boxes") * 2, "final2x/boxes", atol=0, rtol=0)
    np.testing.assert_array_equal(pasted(2).sum(axis=(1, 2)), recorded("final2x/masks_area").numpy())


def truth():
    boxes, crops = zip(*(crop_from_mask(mask) for mask in recorded("input/masks").numpy()), strict=True)
    made = target(boxes, crops, recorded("train/gt_labels").tolist())
    torch.testing.assert_close(made["boxes"], recorded("train/gt_boxes"), atol=0, rtol=0)
    return made


def losses_of(model, levels):
    """All losses of the training step on given levels."""
    proposals, losses = model.proposal_generator(levels, [SIZE], [truth()])
    losses.update(model.roi_heads.losses(levels, [boxes for boxes, _ in proposals], [SIZE], [truth()]))
    return losses


def test_losses(model, exact_backbone):
    trained = deepcopy(model).train()
    with torch.no_grad():
        losses = losses_of(trained, [level.float() for level in exact_backbone(recorded("input/normalized_padded").double())])
    assert {name: loss.item() for name, loss in losses.items()} == pytest.approx(STEP["losses"], rel=1e-4)
    assert {name: float(recorded(f"train/{name}")) for name in losses} == pytest.approx(STEP["losses"], rel=1e-6)


# Largest and median difference of a gradient's norm. Their training step went through features of its own, which were not recorded;
# where bilinear sampling crosses from one pixel to the next its slope jumps, and coarse features are noisy in the third digit.
GRADIENTS = {
    "backbone.bottom_up.res3": (0.2, 0.1),
    "backbone.bottom_up.res4": (0.15, 0.03),
    "backbone.bottom_up.res5": (0.03, 0.01),
    "backbone.fpn": (5e-3, 1e-3),
    "proposal_generator": (5e-4, 2e-4),
    "roi_heads.box_head": (5e-3, 1e-3),
    "roi_heads.box_predictor": (5e-4, 1e-4),
    "roi_heads.mask_head": (2e-3, 1e-4),
}


def test_gradients(model):
    trained = deepcopy(model).train()
    trained.backbone.double()

    def as_recorded(name):
        """A hook that puts Detectron2's value in place of ours and passes the gradient on."""
        return lambda _module, _inputs, ours: ours + (recorded(f"features/{name}").to(ours) - ours).detach()

    for name in ("res3", "res5"):
        trained.backbone.bottom_up.get_submodule(name)[-1].register_forward_hook(as_recorded(name))
    levels = trained.backbone(recorded("input/normalized_padded").double())
    levels = [as_recorded(name)(None, None, level.float()) for name, level in zip(LEVELS, levels, strict=True)]
    sum(losses_of(trained, levels).values()).backward()
    norms = {name: p.grad.norm().item() for name, p in trained.named_parameters() if p.grad is not None}
    assert norms.keys() == STEP["grad_norm"].keys()  # the stem and res2 have none
    for part, (most, median) in GRADIENTS.items():
        off = [abs(norms[name] / theirs - 1) for name, theirs in STEP["grad_norm"].items() if name.startswith(part)]
        assert max(off) < most, part
        assert np.median(off) < median, part
