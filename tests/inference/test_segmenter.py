"""A model with its views and thresholds: images of any kind to cells, files to models."""

import hashlib

import numpy as np
import pytest
import torch
from scipy import ndimage

from somaseg.checkpoints.checkpoint import Checkpoint, save_checkpoint
from somaseg.config import Config, DetectSettings, PostprocessSettings, TtaSettings
from somaseg.errors import InputError
from somaseg.inference.networks import in_torch
from somaseg.inference.segmenter import Segmenter, load
from somaseg.models.cascade import CascadeMaskRCNN
from somaseg.runtimes.choice import choose
from tiny import TINY

RUNTIME = choose("torch", device="cpu")
# An untrained network is as sure of its last proposal as of its first; with this cap it has no last one.
WIDE = TINY.model_copy(update={"rpn": TINY.rpn.model_copy(update={"post_nms": 200})})


def settings(**detections):
    return WIDE.model_copy(update={"detect": DetectSettings(**{"scale": 1.0, "score_thresh": 0.1, **detections})})


class BrightBlobs(CascadeMaskRCNN):
    """A network of what is brighter than one deviation; blobs wider than high are of class 1."""

    def __init__(self):
        super().__init__(WIDE)

    def features(self, images, levels=None):
        return images

    def propose(self, features, fields=1.0):
        found = []
        for image in features:
            places = ndimage.find_objects(ndimage.label(image[0].numpy() > 1)[0])
            boxes = torch.tensor([[c.start, r.start, c.stop, r.stop] for r, c in places], dtype=torch.float32).view(-1, 4)
            found.append((boxes, torch.ones(len(boxes))))
        return found

    def refine(self, features, boxes):
        wide = [(b[:, 2] - b[:, 0] > b[:, 3] - b[:, 1]).float()[:, None] for b in boxes]
        return [(b, torch.cat([0.9 - 0.8 * w, 0.1 + 0.8 * w, torch.zeros_like(w)], dim=1)) for b, w in zip(boxes, wide, strict=True)]

    def segment(self, features, boxes, labels):
        return [torch.ones(len(b), 28, 28) for b in boxes]


def segmenter(*models, model_settings=WIDE):
    config = Config(model=model_settings, postprocess=PostprocessSettings(min_area=1))
    networks = [in_torch(Checkpoint(model, config, "abc", {"data": "drawn"}), RUNTIME) for model in models]
    return Segmenter("drawn", networks, RUNTIME)


@pytest.fixture(scope="module")
def tiny_model():
    torch.manual_seed(0)
    return CascadeMaskRCNN(WIDE).eval()


@pytest.mark.parametrize("image", [np.zeros((0, 5), np.uint8), np.zeros((7, 0, 3), np.uint16)])
def test_an_image_without_pixels_has_no_cells(tiny_model, image):
    prediction = segmenter(tiny_model).predict(image)
    assert prediction.size == image.shape[:2]
    assert len(prediction) == 0
    assert len(segmenter(tiny_model).segment(image)) == 0


@pytest.mark.parametrize("image", [np.zeros((40, 30), np.uint8), np.full((1, 1), 9, np.uint16), np.full((20, 20), np.nan)])
def test_images_that_show_nothing(tiny_model, image):
    cells = segmenter(tiny_model).segment(image)
    assert cells.size == image.shape
    assert cells.classes == TINY.classes


def same_cells(left, right):
    return (
        np.array_equal(left.boxes, right.boxes)
        and np.array_equal(left.labels, right.labels)
        and all(np.array_equal(a, b) for a, b in zip(left.masks, right.masks, strict=True))
    )


def test_bit_depth_and_channels_do_not_matter():
    image = np.full((48, 64), 20, np.uint8)
    image[5:15, 5:12] = image[20:30, 10:24] = image[35:43, 40:60] = 200
    model = segmenter(BrightBlobs(), model_settings=settings())
    cells = model.segment(image)
    assert sorted(cells.boxes.tolist()) == [[5, 5, 12, 15], [10, 20, 24, 30], [40, 35, 60, 43]]
    assert cells.labels.tolist() == [1, 1, 1]  # one class an image, the one that most of the score is for
    assert all(mask.all() for mask in cells.masks)
    copies = {
        "uint16": image.astype(np.uint16) * 257,
        "float": image.astype(np.float64) / 255,
        "one channel": image[..., None],
        "RGB": np.stack([image] * 3, axis=-1),
        "RGBA": np.stack([image, image, image, np.full_like(image, 255)], axis=-1),
    }
    for name, copy in copies.items():
        assert same_cells(model.segment(copy), cells), name


def test_the_tiny_network_gives_the_same_cells_for_the_same_values(tiny_model):
    # Powers of two scale without rounding, so the network sees the same bits.
    image = np.random.default_rng(0).integers(0, 256, (48, 64), np.uint8)
    model = segmenter(tiny_model)
    cells = model.segment(image)
    assert len(cells) > 0
    assert same_cells(model.segment(image.astype(np.uint16) * 256), cells)
    assert same_cells(model.segment(image.astype(np.float32) / 128), cells)


def test_thresholds_can_be_replaced():
    image = np.full((48, 64), 20, np.uint8)
    image[5:15, 5:12] = image[20:40, 10:44] = 200
    model = segmenter(BrightBlobs(), model_settings=settings())
    assert len(model.segment(image)) == 2
    model.settings = PostprocessSettings(min_area=100)
    assert model.segment(image).boxes.tolist() == [[10, 20, 44, 40]]


def test_load_a_file(tmp_path, tiny_model):
    path = tmp_path / "mine.safetensors"
    config = Config(model=WIDE, postprocess=PostprocessSettings(min_area=33))
    save_checkpoint(path, tiny_model, config, {"data": "drawn"})
    for name in (path, str(path)):
        model = load(name, device="cpu")
        assert model.name == str(path)
        assert model.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
        assert model.classes == TINY.classes
        assert model.settings == config.postprocess
        assert model.provenance == {"data": "drawn"}
        assert model.runtime["device"] == "cpu"


def test_several_models_are_an_ensemble(tmp_path, tiny_model):
    image = np.random.default_rng(0).integers(0, 256, (48, 64), np.uint8)
    torch.manual_seed(1)
    other = CascadeMaskRCNN(WIDE).eval()
    for name, model in (("a", tiny_model), ("b", other)):
        save_checkpoint(tmp_path / f"{name}.safetensors", model, Config(model=WIDE), {})
    paths = [tmp_path / "a.safetensors", tmp_path / "b.safetensors"]
    alone, both = load(paths[0], device="cpu"), load(paths, device="cpu")
    assert both.name == f"{paths[0]} + {paths[1]}"
    assert both.sha256 not in {load(path, device="cpu").sha256 for path in paths} | {load(paths[::-1], device="cpu").sha256}
    one, twice, mean = alone.predict(image), load([paths[0]] * 2, device="cpu").predict(image), both.predict(image)
    np.testing.assert_allclose(twice.boxes, one.boxes, atol=1e-3)
    np.testing.assert_allclose(twice.scores, one.scores, atol=1e-5)
    assert len(mean)
    assert not (mean.scores.shape == one.scores.shape and np.allclose(mean.scores, one.scores, atol=1e-4))
    with pytest.raises(InputError, match="weights: found none"):
        load([])


def test_models_of_other_classes_make_no_ensemble(tiny_model):
    strange = CascadeMaskRCNN(WIDE.model_copy(update={"classes": ("round", "square")})).eval()
    config = Config(model=strange.settings)
    with pytest.raises(InputError, match="knows the classes round, square"):
        Segmenter(
            "two", [in_torch(Checkpoint(tiny_model, Config(model=WIDE), "a", {})), in_torch(Checkpoint(strange, config, "b", {}))], RUNTIME
        )


def test_views_are_averaged(tiny_model):
    image = np.random.default_rng(0).integers(0, 256, (48, 64), np.uint8)
    model = segmenter(tiny_model)
    plain = model.predict(image)
    model.tta = TtaSettings(flips=("none", "horizontal"), turns=(0, 180), scales=(1.0, 1.5))
    averaged = model.predict(image)
    assert len(averaged) > 5
    assert not np.array_equal(averaged.boxes, plain.boxes)
    assert model.about["tta"]["flips"] == ["none", "horizontal"]
    model.tta = TtaSettings(turns=(0, 0))  # one view
    np.testing.assert_array_equal(model.predict(image).boxes, plain.boxes)
