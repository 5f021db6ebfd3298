import json
import pickle
import re

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import save_file

from somaseg.checkpoints.checkpoint import load_checkpoint
from somaseg.checkpoints.convert import TRUNK, convert, our_name, read_architecture
from somaseg.config import Config, load_settings
from somaseg.errors import InputError
from somaseg.inference.segmenter import load

SETTINGS = {
    "model": {
        "input": {"values": "grey8", "channels": 3, "mean": [103.53, 116.28, 123.675], "std": [1, 1, 1]},
        "backbone": {
            "trunk": {"kind": "resnext", "blocks": [3, 4, 6, 3], "groups": 4, "group_width": 2, "stem_width": 16, "out_width": 32},
            "fpn_width": 32,
            "extra_level": True,
        },
        "rpn": {"sizes": [[8], [16], [32], [64], [128]], "pre_nms": 200, "post_nms": 100},
        "heads": {
            "canonical_size": 224,
            "box_convs": 2,
            "box_conv_width": 32,
            "box_fcs": 1,
            "box_fc_width": 64,
            "mask_convs": 2,
            "mask_width": 32,
            "norm": "GN",
        },
        "detect": {"scale": 1.0, "score_thresh": 0.05, "nms_iou": 0.5, "per_class": True, "max_detections": 100},
    }
}


def settings_file(folder, **changes):
    """Settings of the golden model; changes go to the trunk."""
    values = json.loads(json.dumps(SETTINGS))
    values["model"]["backbone"]["trunk"] |= changes
    path = folder / "settings.yaml"
    path.write_text(yaml.safe_dump(values))
    return str(path)


def write_pth(path, weights):
    torch.save({"model": weights, "optimizer": {}, "iteration": 9}, path)


def write_old_pth(path, weights):
    torch.save({"model": weights}, path, _use_new_zipfile_serialization=False)


def write_pkl(path, weights):
    content = {"model": {name: tensor.numpy() for name, tensor in weights.items()}, "__author__": "a zoo", "matching_heuristics": True}
    path.write_bytes(pickle.dumps(content))


def write_old_pkl(path, weights):
    path.write_bytes(pickle.dumps({"model": {name: tensor.numpy() for name, tensor in weights.items()}, "__author__": "a zoo"}, 2))


def caffe2(weights):
    """The trunk under Caffe2's names, with affine norms, as Detectron's ImageNet files have it."""
    branches = {"shortcut": "branch1", "conv1": "branch2a", "conv2": "branch2b", "conv3": "branch2c"}
    ends = {"weight": "w", "norm.weight": "bn_s", "norm.bias": "bn_b"}
    named = {"fc1000_w": np.ones((5, 256), np.float32), "fc1000_b": np.ones(5, np.float32), "conv1_b": np.zeros(16, np.float32)}
    for name, tensor in weights.items():
        found = re.fullmatch(rf"{re.escape(TRUNK)}(?:stem\.conv1|(res\d)\.(\d+)\.(\w+))\.(weight|norm\.weight|norm\.bias)", name)
        if not found or found[3] == "conv2_offset":
            continue
        layer = f"{found[1]}_{found[2]}_{branches[found[3]]}" if found[1] else "conv1" if found[4] == "weight" else "res_conv1"
        named[f"{layer}_{ends[found[4]]}"] = tensor.numpy()
    assert {"conv1_w", "res_conv1_bn_s", "res2_0_branch1_w", "res5_2_branch2c_bn_b"} <= named.keys()
    return named | {f"{name}_momentum": array for name, array in named.items()}


@pytest.mark.parametrize("write", [write_pth, write_old_pth, write_pkl, write_old_pkl])
def test_converted_weights_find_what_detectron2_finds(tmp_path, golden, weights, write):
    source, out = tmp_path / "model_final", tmp_path / "model.safetensors"
    write(source, weights)
    conversion = convert(source, out, settings_file(tmp_path), precision="float")
    assert (len(conversion.loaded), conversion.missing, conversion.unexpected, conversion.reshaped) == (len(weights), (), (), {})
    assert conversion.notes() == ["classes: taken to be shsy5y, astro, cort in this order, since the file names none"]
    segmenter = load(out, "cpu", "torch", "float32")
    own = load_checkpoint(out).model.state_dict()
    assert own.keys() == weights.keys()
    assert all(torch.equal(own[name], tensor) for name, tensor in weights.items())
    image = golden["input/image_u8"][0].numpy()
    boxes, scores, labels = (golden[f"final/{name}"].numpy() for name in ("boxes", "scores", "labels"))
    with pytest.warns(UserWarning, match="cap of 100"):
        found = segmenter.predict(image)
    # The deformable convolutions of random weights enlarge differences of rounding; equal scores may change places.
    apart = np.abs(found.boxes[:, None] - boxes).max(axis=2) + 1000 * (found.labels[:, None] != labels)
    pairs = apart.argmin(axis=1)
    assert sorted(pairs) == list(range(100))
    assert apart.min(axis=1).max() < 0.1
    np.testing.assert_allclose(found.scores, scores[pairs], atol=2e-3)
    # From Detectron2's own features on there is nothing that enlarges them.
    levels = [golden[f"features/p{level}"] for level in range(2, 7)]
    segmenter._models[0].features = lambda images: (levels, [image.shape])
    with pytest.warns(UserWarning, match="cap of 100"):
        found = segmenter.predict(image)
    np.testing.assert_allclose(found.boxes, boxes, atol=1e-2)
    np.testing.assert_allclose(found.scores, scores, atol=1e-4)
    np.testing.assert_array_equal(found.labels, labels)
    assert load_settings(Config, out.with_suffix(".yaml")) == load_checkpoint(out).config == read_architecture(settings_file(tmp_path))
    provenance = segmenter.provenance
    assert (provenance["converted_from"], len(provenance["source_sha256"])) == ("model_final", 64)


def test_half_precision_rounds_what_multiplies_features_alone(tmp_path, weights):
    source, out = tmp_path / "model.pth", tmp_path / "model.safetensors"
    write_pth(source, weights)
    convert(source, out, settings_file(tmp_path))
    own = load_checkpoint(out).model.state_dict()
    for name, tensor in weights.items():
        torch.testing.assert_close(own[name], tensor, rtol=2**-11 if tensor.ndim > 1 else 0, atol=2**-25 if tensor.ndim > 1 else 0)


def test_a_trunk_of_caffe2_is_a_start_for_training(tmp_path, weights):
    source, settings = tmp_path / "IN5k.pkl", settings_file(tmp_path)
    source.write_bytes(pickle.dumps(caffe2(weights), 2))
    outs = [tmp_path / f"{name}.safetensors" for name in ("first", "again", "other")]
    conversion, *_ = (convert(source, out, settings, precision="float", seed=seed) for out, seed in zip(outs, (0, 0, 1), strict=True))
    assert set(conversion.unexpected) == {"fc1000_w", "fc1000_b", f"{TRUNK}stem.conv1.bias"}
    first, again, other = (load_checkpoint(out).model.state_dict() for out in outs)
    for name in conversion.loaded:
        assert torch.equal(first[name], weights[name])
    assert {name for name in first if name.endswith(("running_mean", "running_var"))} == set(conversion.filled)
    for name in conversion.filled:
        # With the eps that a norm adds, the variance is 1: it scales by its weight alone.
        assert (first[name] == (np.float32(1 - 1e-5) if name.endswith("var") else 0)).all()
    assert all(not first[name].any() for name in first if ".conv2_offset." in name)
    head = "roi_heads.box_predictor.0.cls_score.weight"
    assert head in conversion.missing
    assert set(conversion.missing) == first.keys() - set(conversion.loaded) - set(conversion.filled)
    assert torch.equal(first[head], again[head])
    assert not torch.equal(first[head], other[head])
    assert conversion.notes() == [
        "deformable convolutions start as plain ones, since the file has no offsets",
        "drawn anew: pyramid, proposals, box heads, mask head; this is a start for training and no detector yet",
    ]


def test_statistics_of_caffe2_are_kept_where_there_are_any():
    own = {f"{TRUNK}res3.1.conv2.norm.running_var": torch.ones(1)}
    assert our_name("res3_1_branch2b_bn_riv", own) == f"{TRUNK}res3.1.conv2.norm.running_var"
    assert our_name("res3_1_branch2b_bn_rm", own) == f"{TRUNK}res3.1.conv2.norm.running_mean"
    assert our_name("res_conv1_bn_s", own) == f"{TRUNK}stem.conv1.norm.weight"
    assert our_name("res3.1.conv2.norm.running_var", own) == f"{TRUNK}res3.1.conv2.norm.running_var"
    assert our_name(f"module.{TRUNK}res3.1.conv2.norm.running_var", own) == f"{TRUNK}res3.1.conv2.norm.running_var"
    assert our_name("res3_1_branch2b_other", own) == "res3_1_branch2b_other"
    assert our_name("pred_w", own) == "pred_w"


def test_other_classes_by_name(tmp_path, weights):
    source, out = tmp_path / "model.pth", tmp_path / "model.safetensors"
    write_pth(source, weights)
    conversion = convert(
        source, out, settings_file(tmp_path), ["cort", "glia", "SH-SY5Y", "astro"], ["shsy5y", "astro", "cort"], precision="float"
    )
    checkpoint = load_checkpoint(out)
    own, layer = checkpoint.model.state_dict(), "roi_heads.box_predictor.2.cls_score.weight"
    assert checkpoint.config.model.classes == ("cort", "glia", "SH-SY5Y", "astro")
    assert torch.equal(own[layer][[0, 2, 3, 4]], weights[layer][[2, 0, 1, 3]])
    mask = "roi_heads.mask_head.predictor.bias"
    assert torch.equal(own[mask][[0, 2, 3]], weights[mask][[2, 0, 1]])
    assert conversion.reshaped[layer] == ((4, 64), (5, 64))
    assert conversion.notes() == ["classes: 3 in the file; kept: cort, SH-SY5Y (was shsy5y), astro; drawn anew: glia"]
    assert all(name.startswith("roi_heads") for name in conversion.reshaped)
    assert len(conversion.reshaped) == 8


def test_more_classes_that_nobody_names(tmp_path, weights):
    source, out = tmp_path / "model.pth", tmp_path / "model.safetensors"
    write_pth(source, weights)
    conversion = convert(source, out, settings_file(tmp_path), ["neuron"], precision="float")
    own, layer = load_checkpoint(out).model.state_dict(), "roi_heads.box_predictor.0.cls_score.weight"
    assert torch.equal(own[layer][1], weights[layer][3])
    assert not torch.isin(own[layer][0], weights[layer]).any()
    assert conversion.notes() == ["classes: 3 in the file; drawn anew: neuron"]


def wrong(weights):
    """Weights that must not load, and what the error says."""
    norm = f"{TRUNK}res4.0.conv1.norm.weight"
    return {
        "another layer": (
            {n: t for n, t in weights.items() if ".fc1." not in n or ".0.fc1." in n},
            "box heads is not the model's: it lacks roi_heads.box_head.1.fc1.weight",
        ),
        "a layer more": (
            weights | {f"{TRUNK}res2.0.conv4.weight": torch.ones(1)},
            "trunk is not the model's: it has besides .*res2.0.conv4",
        ),
        "a shape": (weights | {norm: torch.ones(7)}, rf"1 tensors have other shapes than the model's: {norm} is \[7\], expected \[32\]"),
        "a part of one": ({norm: weights[norm]}, "blocks: .* in the file"),
        "nothing of it": ({"encoder.weight": torch.ones(2)}, "none of its tensors is the model's: found encoder.weight"),
        "not finite": (weights | {norm: torch.full((32,), float("nan"))}, f"1 tensors are not finite, such as {norm}"),
        "two of one": (weights | {f"module.{norm}": torch.ones(32)}, f"two tensors for {norm}"),
        "class-wise boxes": (
            weights | {f"roi_heads.box_predictor.{i}.bbox_pred.weight": torch.ones(12, 64) for i in range(3)},
            "box deltas: 12 in the file, 4 in the settings",
        ),
    }


@pytest.mark.parametrize("name", wrong({f"{TRUNK}res4.0.conv1.norm.weight": torch.ones(32)}))
def test_weights_of_another_model(tmp_path, weights, name):
    content, message = wrong(weights)[name]
    source, out = tmp_path / "model.pth", tmp_path / "model.safetensors"
    write_pth(source, content)
    with pytest.raises(InputError, match=rf"model\.pth: .*{message}"):
        convert(source, out, settings_file(tmp_path))
    assert not out.exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"blocks": [3, 4, 5, 3]}, r"than .*settings.yaml: blocks: \[3, 4, 6, 3\] in the file, \[3, 4, 5, 3\] in the settings"),
        ({"groups": 8}, "bottleneck width: 8 in the file, 16 in the settings"),
        ({"deformable": ["", "", "", ""]}, "trunk is not the model's: it has besides .*conv2_offset"),
        ({"deformable": ["", "modulated", "modulated", "modulated"]}, "deformable: .*plain.* in the file, .*modulated"),
        ({"norm": "GN"}, "trunk is not the model's: it has besides .*running_mean"),
    ],
)  # fmt: skip
def test_settings_that_contradict_the_weights(tmp_path, weights, changes, message):
    source = tmp_path / "model.pth"
    write_pth(source, weights)
    with pytest.raises(InputError, match=message):
        convert(source, tmp_path / "model.safetensors", settings_file(tmp_path, **changes))


def test_plain_convolutions_become_deformable_ones_at_rest(tmp_path, weights):
    source, out = tmp_path / "model.safetensors", tmp_path / "out.safetensors"
    save_file({n: t for n, t in weights.items() if "conv2_offset" not in n}, source)
    conversion = convert(source, out, settings_file(tmp_path))
    assert {n for n in weights if "conv2_offset" in n} == set(conversion.missing)
    assert conversion.notes()[1:] == ["deformable convolutions start as plain ones, since the file has no offsets"]
    own = load_checkpoint(out).model.state_dict()
    assert all(not own[name].any() for name in conversion.missing)


def test_all_names_as_json(tmp_path, weights):
    source = tmp_path / "model.pth"
    write_pth(source, weights | {"pixel_mean": torch.ones(3)})
    conversion = convert(source, tmp_path / "out.safetensors", settings_file(tmp_path), ["neuron"])
    conversion.write_json(tmp_path / "report.json")
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["unexpected"] == ["pixel_mean"]
    assert report["reshaped"]["roi_heads.mask_head.predictor.bias"] == [[3], [1]]
    assert len(report["loaded"]) == len(weights)


def test_no_such_architecture(tmp_path):
    assert read_architecture("x152").model.backbone.trunk.blocks == (3, 8, 36, 3)
    with pytest.raises(InputError, match="architecture x101: no such file: give x152, or a YAML file"):
        read_architecture("x101")


def test_the_settings_must_not_take_the_place_of_the_weights(tmp_path):
    with pytest.raises(InputError, match=r"out\.yaml: expected a name that ends with \.safetensors"):
        convert(tmp_path / "model.pth", tmp_path / "out.yaml")
