"""What onnxruntime finds is what torch finds."""

import numpy as np
import pytest
import torch

import somaseg
from somaseg.checkpoints.to_onnx import graphs_of
from somaseg.config import X152, InputSettings
from somaseg.errors import InputError
from somaseg.inference.export import compared
from somaseg.models import roi_heads
from somaseg.models.cascade import CascadeMaskRCNN
from somaseg.runtimes import onnx_detector
from somaseg.runtimes.onnx_detector import OnnxDetector
from somaseg.runtimes.torch_detector import TorchDetector
from somaseg.synth.render import SynthSettings, render
from tiny import TINY

CONVS = TINY.heads.model_copy(update={"box_convs": 1, "box_conv_width": 16, "norm": "GN", "pool_ratio": 2})
SETTINGS = {
    "tiny": TINY,
    "three channels, an extra level, group norms, convolutions before the layers": TINY.model_copy(
        update={
            "input": InputSettings(channels=3, mean=(0.1, 0.2, 0.3), std=(1, 2, 3)),
            "backbone": TINY.backbone.model_copy(update={"extra_level": True, "fpn_norm": "GN"}),
            "rpn": TINY.rpn.model_copy(update={"sizes": ((16,), (32,), (64,), (128,))}),
            "heads": CONVS,
        }
    ),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_random_weights_say_the_same(name):
    torch.manual_seed(1)
    settings = SETTINGS[name]
    model = CascadeMaskRCNN(settings).eval()
    with torch.no_grad():
        for weights in model.roi_heads.parameters():
            weights.mul_(3)  # so that boxes move and scores differ
    ours = OnnxDetector(settings, graphs_of(settings), {key: value.numpy() for key, value in model.state_dict().items()})
    for size in ((33, 47), (64, 64)):
        image = np.random.default_rng(0).normal(size=(1, *size)).astype(np.float32)
        differences = compared(TorchDetector(model, bf16=False), ours, image)
        assert max(differences.values()) < 1e-3, differences


def test_constants_are_those_of_the_network():
    for name in ("STAGE_WEIGHTS", "BOX_BINS", "MASK_BINS", "MASK_SIDE"):
        assert getattr(onnx_detector, name) == getattr(roi_heads, name)


def test_shipped_weights_find_the_same_cells():
    image = render(SynthSettings(cell_type="cort", size=(160, 200), cells=12), seed=3)[0]
    theirs = somaseg.load(device="cpu", runtime="torch", precision="float32").segment(image)
    ours = somaseg.load(runtime="onnx").segment(image)
    assert len(ours) == len(theirs) > 5
    assert theirs.iou(ours).max(axis=1).min() > 0.99
    np.testing.assert_array_equal(theirs.labels, ours.labels)


def test_a_network_that_has_no_graph():
    with pytest.raises(InputError, match="no deformable convolution"):
        graphs_of(X152)


def test_drawing_a_graph_draws_no_random_number():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    graphs_of(TINY.model_copy(update={"heads": CONVS.model_copy(update={"mask_width": 8})}))
    assert torch.equal(torch.rand(3), expected)
