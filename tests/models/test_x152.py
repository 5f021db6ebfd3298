import pytest
import torch

from somaseg.config import X152
from somaseg.models.cascade import CascadeMaskRCNN

NORM = ("weight", "bias", "running_mean", "running_var")


def convolution(name, out, inputs, kernel, norm=()):
    """Name and shape of every tensor of a convolution without bias."""
    return {f"{name}.weight": (out, inputs, kernel, kernel)} | {f"{name}.norm.{value}": (out,) for value in norm}


def biased(name, *shape):
    return {f"{name}.weight": shape, f"{name}.bias": (shape[0],)}


def trunk_tensors():
    names = convolution("stem.conv1", 64, 3, 7, NORM)
    given = 64
    for stage, blocks in enumerate((3, 8, 36, 3)):
        width = 256 << stage  # of the bottleneck, and of what comes out
        for number in range(blocks):
            block = f"res{stage + 2}.{number}"
            if number == 0:
                names |= convolution(f"{block}.shortcut", width, given, 1, NORM)
            names |= convolution(f"{block}.conv1", width, given, 1, NORM)
            names |= convolution(f"{block}.conv2", width, width // 32, 3, NORM)
            names |= convolution(f"{block}.conv3", width, width, 1, NORM)
            if stage:
                names |= biased(f"{block}.conv2_offset", 18, width, 3, 3)
            given = width
    return {f"backbone.bottom_up.{name}": shape for name, shape in names.items()}


def other_tensors(classes):
    names = {}
    for level in (2, 3, 4, 5):
        names |= biased(f"backbone.fpn_lateral{level}", 256, 64 << (level), 1, 1)
        names |= biased(f"backbone.fpn_output{level}", 256, 256, 3, 3)
    rpn, roi = "proposal_generator.rpn_head", "roi_heads"
    names |= biased(f"{rpn}.conv", 256, 256, 3, 3)
    names |= biased(f"{rpn}.objectness_logits", 3, 256, 1, 1) | biased(f"{rpn}.anchor_deltas", 12, 256, 1, 1)
    for stage in range(3):
        for number in range(1, 5):
            names |= convolution(f"{roi}.box_head.{stage}.conv{number}", 256, 256, 3, NORM[:2])
        names |= biased(f"{roi}.box_head.{stage}.fc1", 1024, 256 * 7 * 7)
        names |= biased(f"{roi}.box_predictor.{stage}.cls_score", classes + 1, 1024)
        names |= biased(f"{roi}.box_predictor.{stage}.bbox_pred", 4, 1024)
    for number in range(1, 9):
        names |= convolution(f"{roi}.mask_head.mask_fcn{number}", 256, 256, 3, NORM[:2])
    return names | biased(f"{roi}.mask_head.deconv", 256, 256, 2, 2) | biased(f"{roi}.mask_head.predictor", classes, 256, 1, 1)


@pytest.mark.parametrize(("classes", "parameters"), [(3, 182_231_096), (80, 182_487_660)])
def test_tensors_are_detectron2s(classes, parameters):
    with torch.device("meta"):
        model = CascadeMaskRCNN(X152.model_copy(update={"classes": tuple(map(str, range(classes)))}))
    found = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    assert found == trunk_tensors() | other_tensors(classes)
    assert len(found) == 973
    assert sum(p.numel() for p in model.parameters()) == parameters


def test_forward_of_seeded_weights():
    torch.manual_seed(0)
    rpn = X152.rpn.model_copy(update={"post_nms": 8})
    model = CascadeMaskRCNN(X152.model_copy(update={"rpn": rpn})).eval()
    images = [torch.rand(1, *size, generator=torch.Generator().manual_seed(1)) * 255 for size in ((64, 96), (50, 70))]
    with torch.inference_mode():
        features = levels, sizes = model.features(images)
        assert [tuple(level.shape) for level in levels] == [(2, 256, 64 // s, -(-96 // s)) for s in (4, 8, 16, 32, 64)]
        assert sizes == [(64, 96), (50, 70)]
        proposals = [boxes for boxes, _ in model.propose(features)]
        refined = model.refine(features, proposals)
        masks = model.segment(features, [boxes for boxes, _ in refined], [torch.arange(len(boxes)) % 3 for boxes, _ in refined])
    for (boxes, probabilities), mask in zip(refined, masks, strict=True):
        count = len(boxes)
        assert 0 < count <= 8
        assert torch.isfinite(boxes).all()
        assert probabilities.shape == (count, 4)
        torch.testing.assert_close(probabilities.sum(dim=1), torch.ones(count))
        assert mask.shape == (count, 28, 28)
        assert ((mask >= 0) & (mask <= 1)).all()
