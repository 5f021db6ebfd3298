"""The graphs of a network for onnxruntime, without its weights: made once for its settings, and checked against torch on an image."""

import warnings
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx
import torch
from torch import Tensor, nn
from torch.nn import functional

from somaseg.config import ModelSettings, ResNeXtSettings
from somaseg.errors import InputError
from somaseg.models.cascade import CascadeMaskRCNN
from somaseg.models.roi_heads import BOX_BINS, MASK_BINS, MASK_SIDE, BoxHead, RoiHeads
from somaseg.runtimes.graphs import PREFIX, OrtFail, open_graph

OPSET = 17
LARGEST = 1 << 16  # bytes of a constant that a graph may hold; all else are weights


class _Part(nn.Module):
    """A part of a network that becomes a graph; its tensors bear the names of the network's, behind `PREFIX`."""

    def __init__(self, model: CascadeMaskRCNN) -> None:
        super().__init__()
        self.model = model


class _Dense(_Part):
    """From a padded image (1, channels, H, W) to levels (1, H', W', C), then logits (1, anchors), then deltas (1, anchors, 4)."""

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        levels = self.model.backbone(image)
        objectness, deltas = self.model.proposal_generator.rpn_head(levels)
        pooled = levels[: len(self.model.roi_heads.strides)]
        return (*[level.permute(0, 2, 3, 1) for level in pooled], *objectness, *deltas)


class _Box(_Part):
    """From pooled features (R, 7, 7, C) to class logits (R, K + 1) and deltas (R, 4) of a stage."""

    def __init__(self, model: CascadeMaskRCNN, number: int) -> None:
        super().__init__(model)
        self.number = number

    def forward(self, pooled: Tensor) -> tuple[Tensor, Tensor]:
        heads: RoiHeads = self.model.roi_heads
        head = heads.box_head[self.number]
        assert isinstance(head, BoxHead)
        logits, deltas = heads.box_predictor[self.number](_box_features(head, pooled))
        return logits, deltas


def _box_features(head: BoxHead, pooled: Tensor) -> Tensor:
    if head.convs or not head.fcs:
        features: Tensor = head(pooled.permute(0, 3, 1, 2))
        return features
    # The first layer's weights are turned, once, rather than the features, each time.
    first = head.get_submodule("fc1")
    assert isinstance(first, nn.Linear)
    weight = first.weight.view(first.out_features, -1, BOX_BINS * BOX_BINS).permute(0, 2, 1).reshape(first.out_features, -1)
    x = functional.relu(functional.linear(pooled.flatten(1), weight, first.bias))
    for number in range(1, head.fcs):
        x = functional.relu(head.get_submodule(f"fc{number + 1}")(x))
    return x


class _Mask(_Part):
    """From pooled features (R, 14, 14, C) and labels (R,) to mask probabilities (R, 28, 28) of the labels' classes."""

    def forward(self, pooled: Tensor, labels: Tensor) -> Tensor:
        logits = self.model.roi_heads.mask_head(pooled.permute(0, 3, 1, 2))
        own: Tensor = logits.gather(1, labels.view(-1, 1, 1, 1).expand(-1, 1, MASK_SIDE, MASK_SIDE))[:, 0]
        return own.sigmoid()


def graphs_of(settings: ModelSettings) -> dict[str, bytes]:
    """The graphs of a network with these settings, as ONNX models whose weights lie elsewhere: `dense`, `box0` ..., `mask`.

    Raises:
        InputError: when the network has a part that onnxruntime has no operator for, or a graph gives other values than torch.
    """
    trunk = settings.backbone.trunk
    if isinstance(trunk, ResNeXtSettings) and any(trunk.deformable):
        raise InputError("weights export: onnxruntime has no deformable convolution for a processor: run these weights in torch")
    alike = ModelSettings()  # what a graph does not depend on
    same = {"detect": alike.detect, "trained_at": alike.trained_at, "classes": tuple(map(str, range(len(settings.classes))))}
    return dict(_graphs_of(settings.model_copy(update=same).model_dump_json()))


@lru_cache(maxsize=8)
def _graphs_of(settings_json: str) -> dict[str, bytes]:
    settings = ModelSettings.model_validate_json(settings_json)
    with torch.random.fork_rng(devices=[]), torch.device("cpu"):  # a run's own draws stay what they are
        torch.manual_seed(0)
        model = CascadeMaskRCNN(settings).eval()
        for tensor in model.state_dict().values():  # tensors that are equal, such as biases of zeros, would become one
            tensor.add_(torch.rand_like(tensor), alpha=0.01)
        step, width = max(settings.backbone.strides), settings.backbone.fpn_width
        images = [torch.randn(1, settings.input.channels, height * step, 2 * step) for height in (2, 3)]
        boxes, masks = ([torch.randn(n, bins, bins, width) for n in (3, 1)] for bins in (BOX_BINS, MASK_BINS))
    labels = [torch.arange(n) % len(settings.classes) for n in (3, 1)]
    graphs = {"dense": _exported(_Dense(model), [(image,) for image in images], {"image": {2: "height", 3: "width"}})}
    for number in range(len(settings.heads.ious)):
        graphs[f"box{number}"] = _exported(_Box(model, number), [(pooled,) for pooled in boxes], {"pooled": {0: "boxes"}})
    graphs["mask"] = _exported(_Mask(model), list(zip(masks, labels, strict=True)), {"pooled": {0: "boxes"}, "labels": {0: "boxes"}})
    return graphs


def _exported(part: _Part, inputs: list[tuple[Tensor, ...]], dynamic: dict[str, dict[int, str]]) -> bytes:
    """A part as a graph, whose results are those of torch for inputs of two sizes."""
    state = part.model.state_dict()
    try:
        graph = _without_weights(_traced(part, inputs[0], dynamic), state)
        session = open_graph(graph, {name: tensor.numpy() for name, tensor in state.items()})
    except (torch.onnx.errors.OnnxExporterError, RuntimeError, NotImplementedError, *OrtFail) as error:
        raise InputError(f"weights export: the network has no graph: {str(error).splitlines()[0][:200]}: run it in torch") from error
    for given in inputs:
        with torch.no_grad():
            expected = [tensor.numpy() for tensor in _as_tuple(part(*given))]
        found = session.run(None, {name: tensor.numpy() for name, tensor in zip(dynamic, given, strict=True)})
        for number, (one, other) in enumerate(zip(found, expected, strict=True)):
            if one.shape != other.shape or not np.allclose(one, other, rtol=1e-3, atol=1e-3 * (1e-6 + float(np.abs(other).max()))):
                raise InputError(
                    f"weights export: output {number} of the graph of {type(part).__name__.strip('_')} is not what torch gives: "
                    "run the network in torch"
                )
    return graph


def _traced(part: _Part, given: tuple[Tensor, ...], dynamic: dict[str, dict[int, str]]) -> bytes:
    """The graph of what a part does, with its weights."""
    with TemporaryDirectory() as folder, warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # of sizes that might become constants: that none does is what a second size shows
        file = Path(folder) / "graph.onnx"
        names = list(dynamic)
        # Traced, which takes a second; torch.export takes minutes for the same graph.
        torch.onnx.export(
            part, given, file, dynamo=False, do_constant_folding=False, opset_version=OPSET, input_names=names, dynamic_axes=dynamic
        )
        return file.read_bytes()


def _without_weights(exported: bytes, weights: dict[str, Tensor]) -> bytes:
    """The graph alone; its weights bear the names of the network's tensors and are given when it is opened."""
    model = onnx.load_from_string(exported)
    for constant in model.graph.initializer:
        name = constant.name.removeprefix(PREFIX)
        if name not in weights or tuple(constant.dims) != tuple(weights[name].shape):
            if constant.ByteSize() > LARGEST:
                raise InputError(f"weights export: {constant.name} is no tensor of the network: run it in torch")
            continue
        count = 4 * weights[name].numel()
        constant.ClearField("raw_data")
        constant.data_location = onnx.TensorProto.EXTERNAL
        for key, value in (("location", "weights"), ("offset", "0"), ("length", str(count))):
            entry = constant.external_data.add()
            entry.key, entry.value = key, value
    model.graph.ClearField("doc_string")
    for node in model.graph.node:
        node.ClearField("doc_string")
        node.ClearField("metadata_props")
    return bytes(model.SerializeToString(deterministic=True))


def _as_tuple(outputs: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return outputs if isinstance(outputs, tuple) else (outputs,)
