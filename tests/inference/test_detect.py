import hashlib
import math
import warnings

import numpy as np
import pytest
import torch
from scipy import ndimage

from somaseg.checkpoints import names as weights_files
from somaseg.checkpoints.checkpoint import Checkpoint, save_checkpoint
from somaseg.config import Config, DetectSettings, PostprocessSettings, SegmentSettings, TtaSettings, override
from somaseg.errors import InputError
from somaseg.files import file_sha256
from somaseg.inference import detect as predict
from somaseg.inference.detect import detect
from somaseg.inference.segmenter import Segmenter, load
from somaseg.inference.views import View
from somaseg.models.cascade import CascadeMaskRCNN
from tiny import TINY

CPU = torch.device("cpu")
# An untrained network is as sure of its last proposal as of its first; with this cap it has no last one.
WIDE = TINY.model_copy(update={"rpn": TINY.rpn.model_copy(update={"post_nms": 200})})


def settings(**detections):
    return WIDE.model_copy(update={"detect": DetectSettings(**{"scale": 1.0, "score_thresh": 0.1, **detections})})


class Oracle:
    """A detector that answers every image with the same boxes and probabilities, as filled masks."""

    def __init__(self, boxes, probabilities):
        self.boxes, self.probabilities = torch.tensor(boxes), torch.tensor(probabilities)
        self.given = []

    def features(self, images):
        self.given = images
        return images

    def propose(self, features):
        return [(self.boxes, self.probabilities[:, 0]) for _ in features]

    def refine(self, features, boxes):
        return [(b, self.probabilities) for b in boxes]

    def segment(self, features, boxes, labels):
        return [torch.full((len(b), 28, 28), 0.75) for b in boxes]


class BrightBlobs(torch.nn.Module):
    """A detector of what is brighter than one deviation; blobs wider than high are of class 1."""

    def features(self, images):
        return images

    def propose(self, features):
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
    return Segmenter("drawn", [Checkpoint(model, config, "abc", {"data": "drawn"}) for model in models], device="cpu")


@pytest.fixture(scope="module")
def tiny_model():
    torch.manual_seed(0)
    return CascadeMaskRCNN(WIDE).eval()


def test_screening_keeps_one_class_a_box():
    boxes = [[0.0, 0, 10, 10], [0, 0, 10, 9], [20, 0, 40, 10], [20, 20, 30, 30], [50, 5, 60, 15], [5, 5, 5, 9]]
    probabilities = [[0.5, 0.1, 0.4], [0.2, 0.6, 0.2], [0.3, 0.4, 0.3], [0.04, 0.05, 0.91], [0.9, 0, 0.1], [0.9, 0, 0.1]]
    oracle = Oracle(boxes, probabilities)
    (found,) = detect(View(oracle, settings(nms_iou=0.5)), [np.zeros((40, 48), np.float32)], bf16=False, device=CPU)
    # The first loses to the second, the fourth is too faint, the fifth outside the image, the sixth empty.
    assert found.boxes.tolist() == [[0, 0, 10, 9], [20, 0, 40, 10]]
    assert found.scores.tolist() == pytest.approx([0.8, 0.7])
    assert found.labels.tolist() == [1, 1]
    assert found.size == (40, 48)
    assert found.classes == TINY.classes
    assert [found.boxes.dtype, found.scores.dtype, found.labels.dtype, found.mask_probs.dtype] == [
        np.float32,
        np.float32,
        np.int64,
        np.float16,
    ]
    assert found.mask_probs.shape == (2, 28, 28)
    assert (found.mask_probs == 0.75).all()


def test_screening_by_class():
    oracle = Oracle([[0.0, 0, 10, 10], [0, 0, 10, 9]], [[0.5, 0.1, 0.4], [0.2, 0.6, 0.2]])
    (found,) = detect(View(oracle, settings(nms_iou=0.5, per_class=True)), [np.zeros((40, 48), np.float32)], bf16=False, device=CPU)
    # Every class has its own NMS; .1 is not above the threshold.
    assert found.boxes.tolist() == [[0, 0, 10, 9], [0, 0, 10, 10]]
    assert found.scores.tolist() == pytest.approx([0.6, 0.5])
    assert found.labels.tolist() == [1, 0]


@pytest.mark.parametrize(
    ("scale", "size", "given"), [(1.5, (5, 7), (8, 10)), (2.0, (20, 30), (40, 60)), (0.5, (20, 31), (10, 16)), (0.1, (3, 4), (1, 1))]
)
def test_boxes_come_back_in_pixels_of_the_image(scale, size, given):
    oracle = Oracle([[0.0, 0, given[1], given[0]], [0, 0, given[1] / 2, given[0] / 4]], [[0.9, 0, 0.1], [0.8, 0, 0.2]])
    (found,) = detect(View(oracle, settings(scale=scale)), [np.ones(size, np.float32)], bf16=False, device=CPU)
    assert oracle.given[0].shape == (1, *given)
    height, width = size
    np.testing.assert_allclose(found.boxes, [[0, 0, width, height], [0, 0, width / 2, height / 4]], rtol=1e-6)


def test_reaching_the_cap_warns():
    oracle = Oracle([[0.0, 0, 8, 8], [10, 0, 18, 8], [20, 0, 28, 8]], [[0.2, 0.3, 0.5], [0.9, 0, 0.1], [0.7, 0, 0.3]])
    image = np.zeros((32, 32), np.float32)
    with pytest.warns(UserWarning, match=r"cap of 2 \(model\.detect\.max_detections of the weights\): cells may be missing"):
        (found,) = detect(View(oracle, settings(max_detections=2)), [image], bf16=False, device=CPU)
    assert found.scores.tolist() == pytest.approx([0.9, 0.7])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(detect(View(oracle, settings(max_detections=4)), [image], bf16=False, device=CPU)[0]) == 3


def capped(cap):
    return settings(score_thresh=0.1).model_copy(update={"rpn": TINY.rpn.model_copy(update={"post_nms": cap})})


@pytest.mark.parametrize(("last", "warns"), [(0.9, True), (0.31, True), (0.3, False), (0.05, False)])
def test_proposals_at_their_cap_warn_where_the_last_of_them_find_cells(last, warns):
    # Thirty cells side by side in the order of their proposals: the last tenth of the proposals is the last three cells.
    oracle = Oracle([[9.0 * i, 0, 9 * i + 8, 8] for i in range(30)], [[0.9, 0, 0.1]] * 27 + [[last, 0, 1 - last]] * 3)
    image = np.zeros((32, 272), np.float32)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        detect(View(oracle, capped(30)), [image], bf16=False, device=CPU)
    assert [str(w.message) for w in caught] == [
        "proposals reached their cap of 30 (model.rpn.post_nms of the weights) and the last of them still found cells: "
        "some may be missing, give the image in parts"
    ] * warns
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        detect(View(oracle, capped(31)), [image], bf16=False, device=CPU)


def test_few_cells_late_among_the_proposals_do_not_warn():
    oracle = Oracle([[9.0 * i, 0, 9 * i + 8, 8] for i in range(10)], [[0.9, 0, 0.1]] * 10)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(detect(View(oracle, capped(10)), [np.zeros((32, 96), np.float32)], bf16=False, device=CPU)[0]) == 10


def test_last_proposals_that_repeat_better_ones_do_not_warn():
    oracle = Oracle([[9.0 * i, 0, 9 * i + 8, 8] for i in range(27)] + [[0, 0, 8, 8]] * 3, [[0.9, 0, 0.1]] * 30)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        (found,) = detect(View(oracle, capped(30)), [np.zeros((32, 272), np.float32)], bf16=False, device=CPU)
    assert len(found) == 27


@pytest.mark.parametrize("bf16", [False, True])
@pytest.mark.parametrize("scale", [1.0, 1.5])
@pytest.mark.parametrize("size", [(1, 1), (1, 40), (33, 47), (64, 64)])
def test_detections_lie_inside_images_of_any_size(tiny_model, size, scale, bf16):
    image = np.random.default_rng(0).normal(size=size).astype(np.float32)
    (found,) = detect(View(tiny_model, settings(scale=scale, score_thresh=0)), [image], bf16, CPU)
    assert found.size == size
    assert len(found) > 0
    x0, y0, x1, y1 = found.boxes.T
    assert ((x0 >= 0) & (y0 >= 0) & (x1 > x0) & (y1 > y0)).all()
    assert ((x1 <= size[1] + 1e-4) & (y1 <= size[0] + 1e-4)).all()
    assert ((found.scores >= 0) & (found.scores <= 1)).all()
    assert ((found.mask_probs >= 0) & (found.mask_probs <= 1)).all()
    assert (np.diff(found.scores) <= 0).all()
    assert set(found.labels.tolist()) <= {0, 1}


@pytest.mark.parametrize("bf16", [False, True])
def test_no_detection_at_all(tiny_model, bf16):
    (found,) = detect(View(tiny_model, settings(score_thresh=1)), [np.zeros((40, 40), np.float32)], bf16, CPU)
    assert len(found) == 0
    assert found.mask_probs.shape == (0, 28, 28)


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
        assert model.device == CPU


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
        Segmenter("two", [Checkpoint(tiny_model, Config(model=WIDE), "a", {}), Checkpoint(strange, config, "b", {})], device="cpu")


@pytest.fixture
def members(tmp_path, tiny_model):
    """A folder of two members, and the hash of each by its name."""
    folder = tmp_path / "members"
    torch.manual_seed(1)
    for name, model in (("2_b", CascadeMaskRCNN(WIDE)), ("1_a", tiny_model)):
        save_checkpoint(folder / f"{name}.safetensors", model, Config(model=WIDE), {"member": name})
    return folder, {path.name: file_sha256(path) for path in folder.iterdir()}


def write_sums(folder, hashes):
    (folder / "SHA256SUMS").write_text("".join(f"{digest}  {name}\n" for name, digest in hashes.items()))


def test_a_folder_is_the_ensemble_of_its_files_in_the_order_of_their_names(members):
    folder, hashes = members
    both = load(folder, device="cpu")
    assert both.name == str(folder)
    assert both.provenance == {"member": "1_a"}
    assert both.sha256 == load([folder / "1_a.safetensors", folder / "2_b.safetensors"], device="cpu").sha256
    assert load([folder, folder / "1_a.safetensors"], device="cpu").sha256 != both.sha256
    write_sums(folder, hashes)
    assert load(str(folder), device="cpu").sha256 == both.sha256


def test_files_of_a_folder_are_those_that_its_sums_list(members):
    folder, hashes = members
    write_sums(folder, hashes | {"2_b.safetensors": "a" * 64})
    with pytest.raises(InputError, match=rf"2_b\.safetensors: its SHA-256 is {hashes['2_b.safetensors']}, SHA256SUMS beside it says aaaa"):
        load(folder)
    write_sums(folder, hashes | {"3_c.safetensors": "a" * 64})
    with pytest.raises(InputError, match=r"SHA256SUMS: 3_c\.safetensors: is missing"):
        load(folder)
    write_sums(folder, {"1_a.safetensors": hashes["1_a.safetensors"]})
    with pytest.raises(InputError, match=r"SHA256SUMS: 2_b\.safetensors: is not listed"):
        load(folder)


def test_load_by_name(members, monkeypatch):
    folder, hashes = members
    monkeypatch.setattr(weights_files, "SHIPPED", folder)
    assert weights_files.shipped_names() == ["1_a", "2_b"]
    spare = load("1_a", device="cpu")
    assert (spare.name, spare.sha256) == ("1_a", hashes["1_a.safetensors"])
    with pytest.raises(InputError, match=r"best: no such weights: .* that come with somaseg: 1_a, 2_b$"):
        load("best")
    monkeypatch.setattr(weights_files, "SHIPPED", folder.parent)
    assert weights_files.shipped_names() == ["members"]
    ensemble = load("members", device="cpu")
    assert (ensemble.name, ensemble.sha256) == ("members", load(folder, device="cpu").sha256)


def test_one_model_is_not_a_folder_of_several(members, tmp_path):
    with pytest.raises(InputError, match=r"holds 2 models, expected one: give a file, such as .*1_a\.safetensors"):
        weights_files.weights_path(members[0])
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="empty: holds no weights"):
        load(tmp_path / "empty")


@pytest.mark.parametrize("name", ["no_such_weights", "no/such/file.safetensors", ""])
def test_load_what_is_not_there(name):
    with pytest.raises(InputError, match=r"no such weights: give a \.safetensors file .*: best, default"):
        load(name)


def test_bf16_is_used_where_the_processor_has_it(monkeypatch):
    for bf16, amx in ((False, False), (True, False), (False, True)):
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda answer=bf16: answer)
        monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda answer=amx: answer)
        assert predict.bf16_is_fast(CPU) is (bf16 or amx)


def test_scores_of_the_network_are_probabilities_of_being_a_cell(tiny_model):
    # An untrained network gives each of the three classes about a third, so a cell has two thirds.
    (found,) = detect(View(tiny_model, settings(score_thresh=0)), [np.zeros((64, 64), np.float32)], bf16=False, device=CPU)
    assert all(math.isclose(score, 2 / 3, abs_tol=0.1) for score in found.scores)


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


def test_segment_takes_the_views_from_its_settings():
    settings = override(SegmentSettings(), ["tta.flips=[none,horizontal]", "tta.turns=[0, 90]", "tta.scales=[1.0, 1.25]"])
    assert settings.tta == TtaSettings(flips=("none", "horizontal"), turns=(0, 90), scales=(1.0, 1.25))
    with pytest.raises(InputError, match=r"tta\.flips.*'none', 'horizontal' or 'vertical'"):
        override(SegmentSettings(), ["tta.flips=[sideways]"])
