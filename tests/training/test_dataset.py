from dataclasses import replace

import imageio.v3 as imageio
import numpy as np
import pytest
import torch

from drawing import draw
from somaseg.annotations.samples import Sample
from somaseg.augmentation.scene import IGNORED, Scene
from somaseg.config import (
    AugmentSettings,
    Config,
    InputSettings,
    ModelSettings,
    PasteSettings,
    PseudoTrainSettings,
    TrainSettings,
    ZoomSettings,
)
from somaseg.errors import InputError
from somaseg.images.normalize import normalize
from somaseg.instances import Instances
from somaseg.training.dataset import Crops, Steps, as_tensors, collate

CLASSES = ("round", "long")
CONFIG = Config(augment=AugmentSettings(size=ZoomSettings(side=32, factor=(0.8, 1.2))), train=TrainSettings(steps=5, batch=4, seed=3))


def with_train(**changes):
    return CONFIG.model_copy(update={"train": CONFIG.train.model_copy(update=changes)})


@pytest.fixture
def samples(tmp_path):
    """Two images with round cells and one with long ones."""
    made = []
    for number, kind in enumerate((0, 1, 0)):
        random = np.random.default_rng(number)
        path = tmp_path / f"{number}.png"
        imageio.imwrite(path, random.integers(0, 256, (50, 60), np.uint8))
        masks = np.zeros((6, 50, 60), bool)
        for mask in masks:
            y, x = random.integers(0, 40, 2)
            mask[y : y + (6 if kind else 10), x : x + (18 if kind else 10)] = True
        made.append(Sample(path, Instances.from_masks(masks, CLASSES, [kind] * 6), path.stem))
    return made


def test_a_scene_as_tensors():
    masks = (draw("##. .#."), draw("#"))
    scene = Scene(np.eye(5, dtype=np.float32), np.array([[1, 2, 4, 4], [0, 0, 1, 1]], np.int32), masks, np.array([1, 0]))
    image, truth = as_tensors(scene)
    assert image.tolist() == [np.eye(5).tolist()]
    assert truth["boxes"].dtype == torch.float32
    assert truth["boxes"].tolist() == [[1, 2, 4, 4], [0, 0, 1, 1]]
    assert truth["mask_boxes"].dtype == truth["labels"].dtype == torch.int64
    assert truth["mask_boxes"].tolist() == [[1, 2, 4, 4], [0, 0, 1, 1]]
    assert truth["labels"].tolist() == [1, 0]
    assert truth["mask_pixels"].dtype == torch.uint8
    assert truth["mask_pixels"].tolist() == [1, 1, 0, 0, 1, 0, 1]


def test_what_may_be_a_cell_or_not_is_none_of_the_cells():
    masks = (draw("##"), draw("#.. ###"), draw("#"))
    boxes = np.array([[1, 2, 3, 3], [0, 0, 3, 2], [4, 4, 5, 5]], np.int32)
    _, truth = as_tensors(Scene(np.zeros((5, 5), np.float32), boxes, masks, np.array([1, IGNORED, 0])), 1.5)
    assert truth["boxes"].tolist() == truth["mask_boxes"].tolist() == [[1, 2, 3, 3], [4, 4, 5, 5]]
    assert truth["labels"].tolist() == [1, 0]
    assert truth["mask_pixels"].tolist() == [1, 1, 1]
    assert truth["ignored"].tolist() == [[0, 0, 3, 2]]
    assert truth["weight"].item() == 1.5
    assert truth["ignored"].dtype == truth["weight"].dtype == torch.float32


def test_a_scene_without_cells_as_tensors():
    _, truth = as_tensors(Scene(np.zeros((4, 4), np.float32), np.zeros((0, 4), np.int32), (), np.zeros(0, np.int64)))
    assert {name: tuple(tensor.shape) for name, tensor in truth.items()} == {
        "boxes": (0, 4), "labels": (0,), "mask_boxes": (0, 4), "mask_pixels": (0,), "ignored": (0, 4), "weight": ()
    }  # fmt: skip


def test_crops_are_normalised_squares_with_their_truth(samples):
    crops = Crops(samples, CONFIG)
    assert len(crops) == 20
    assert crops.scenes[0].image.dtype == np.float16
    np.testing.assert_array_equal(crops.scenes[0].image, normalize(imageio.imread(samples[0].image)).astype(np.float16))
    images, truths = collate([crops[i] for i in range(8)])
    assert {(tuple(image.shape), image.dtype) for image in images} == {((1, 32, 32), torch.float32)}
    assert sum(len(truth["boxes"]) for truth in truths) > 8
    for truth in truths:
        assert len(set(truth["labels"].tolist())) <= 1  # pasted cells come from an image of the same type
        assert ((truth["boxes"] >= 0) & (truth["boxes"] <= 32)).all()
        sides = truth["mask_boxes"][:, 2:] - truth["mask_boxes"][:, :2]
        assert len(truth["mask_pixels"]) == sides.prod(dim=1).sum()


def same(left, right):
    return torch.equal(left[0], right[0]) and all(torch.equal(left[1][name], right[1][name]) for name in left[1])


def test_a_crop_depends_on_seed_and_number_alone(samples):
    crops, again = Crops(samples, CONFIG), Crops(samples, CONFIG)
    forwards = [crops[i] for i in range(4)]
    backwards = [again[i] for i in reversed(range(4))][::-1]
    assert all(same(a, b) for a, b in zip(forwards, backwards, strict=True))
    assert not same(forwards[0], forwards[1])
    assert not same(forwards[0], Crops(samples, with_train(seed=4))[0])


def test_crops_of_the_default_settings_stay_what_they_were(samples):
    # A run that was begun with an older version goes on with these crops.
    crops = Crops(samples, Config(train=TrainSettings(seed=3)))
    ramp = np.linspace(-1, 1, 384 * 384)
    known = [(-16.282, 4511, 1780, 6), (-64.886, 4655, 1159, 6), (-3.091, 4694, 2067, 6), (-34.067, 4634, 2385, 6)]
    for index, (image_sum, boxes, pixels, cells) in enumerate(known):
        image, truth = crops[index]
        assert (image.double().numpy().ravel() * ramp).sum() == pytest.approx(image_sum, abs=2e-3)
        assert (int(truth["mask_boxes"].sum()), int(truth["mask_pixels"].sum()), len(truth["labels"])) == (boxes, pixels, cells)


def pasting(**changes):
    return CONFIG.model_copy(update={"augment": CONFIG.augment.model_copy(update={"paste": PasteSettings(**changes)})})


def donors(crops, chosen, members):
    """The donors of many draws."""
    return [crops._donors(chosen, members, np.random.default_rng(seed)) for seed in range(60)]


def test_donors_are_images_of_the_type_or_the_mirrored_image(samples):
    crops = Crops(samples, pasting(share=0.5, flip_share=0.25))
    drawn = donors(crops, 0, [0, 2])
    others = [d[0] for d in drawn if d and any(d[0] is scene for scene in crops.scenes)]
    flipped = [d[0] for d in drawn if d and all(d[0] is not scene for scene in crops.scenes)]
    assert {id(d) for d in others} == {id(crops.scenes[0]), id(crops.scenes[2])}
    np.testing.assert_array_equal(flipped[0].image, crops.scenes[0].image[:, ::-1])
    assert 20 <= len(others) <= 40
    assert 8 <= len(flipped) <= 24


def test_images_that_are_left_out_neither_take_nor_give_cells(samples):
    crops = Crops(samples, pasting(share=0.5, flip_share=0.5, leave_out=("2*",)))
    assert crops.pastes == [True, True, False]
    assert not any(donors(crops, 2, [0, 2]))
    assert all(d for d in donors(crops, 0, [0, 2]))
    assert all(d[0] is not crops.scenes[2] for d in donors(crops, 0, [0, 2]))


def test_pseudo_labelled_images_take_cells_but_give_none(samples):
    samples[2] = replace(samples[2], source="pseudo")
    lone = replace(samples[1], source="pseudo", cell_type="thin")
    crops = Crops([*samples, lone], pasting(share=0.5, flip_share=0.5))
    assert crops.draws.annotated.of_type == {"long": [1], "round": [0]}
    given = [d[0] for d in donors(crops, 2, [0]) if d]
    assert given
    assert all(scene is crops.scenes[0] for scene in given)
    assert not any(donors(crops, 3, []))


def test_ignored_regions_and_weights_reach_the_crops(samples):
    unsure = samples[0].instances
    pseudo = replace(samples[0], instances=unsure[:0], ignored=unsure, source="pseudo", cell_type="round")
    ramp = PseudoTrainSettings(start=0.2, full=0.8, share=1)
    config = with_train(pseudo=ramp)
    config = config.model_copy(update={"augment": config.augment.model_copy(update={"paste": PasteSettings(share=0)})})
    crops = Crops([*samples[1:], pseudo], config)
    truths = [crops[i][1] for i in range(20)]
    assert [truth["weight"].item() for truth in truths] == pytest.approx([1] * 8 + [1] * 4 + [2] * 4 + [3] * 4)
    assert all(len(truth["boxes"]) == 0 for truth in truths[8:])
    assert all(len(truth["ignored"]) == 0 for truth in truths[:8])
    boxes = torch.cat([truth["ignored"] for truth in truths])
    assert len(boxes) > 12
    assert ((boxes >= 0) & (boxes <= 32)).all()
    annotated = Crops(samples[1:], config)
    assert all(same(crops[i], annotated[i]) for i in range(8))


def test_grey_values_keep_their_mean_and_deviation(samples):
    grey = CONFIG.model_copy(update={"model": ModelSettings(input=InputSettings(values="grey8"))})
    scene = Crops(samples, grey).scenes[0]
    image = imageio.imread(samples[0].image)
    np.testing.assert_array_equal(scene.image, image)
    assert (scene.mean, scene.deviation) == (pytest.approx(image.mean()), pytest.approx(image.std()))
    assert (Crops(samples, CONFIG).scenes[0].mean, Crops(samples, CONFIG).scenes[0].deviation) == (0, 1)


def test_every_image_is_drawn_as_often_on_demand(samples):
    assert Crops(samples, with_train(draw="images")).draws.annotated.chances.tolist() == [1 / 3, 2 / 3]
    weighted = Crops(samples, with_train(draw="images", type_weights={"long": 4.0}))
    assert weighted.draws.annotated.chances.tolist() == pytest.approx([2 / 3, 1 / 3])


@pytest.mark.parametrize(("weights", "labels"), [({"round": 0.0}, {1}), ({"long": 0.0}, {0}), ({}, {0, 1})])
def test_types_are_drawn_by_their_weights(samples, weights, labels):
    crops = Crops(samples, with_train(type_weights=weights))
    assert {label for i in range(20) for label in crops[i][1]["labels"].tolist()} == labels


def test_every_type_is_drawn_as_often_whatever_its_number_of_images(samples):
    assert Crops(samples, CONFIG).draws.annotated.chances.tolist() == [0.5, 0.5]


def test_a_sample_without_cells_gives_empty_crops(samples):
    bare = Sample(samples[0].image, Instances.empty((50, 60), CLASSES), "bare")
    image, truth = Crops([bare], CONFIG)[0]
    assert image.abs().sum() > 0
    assert truth["boxes"].shape == (0, 4)


def test_no_sample():
    with pytest.raises(InputError, match="no image that a person annotated is left to learn from"):
        Crops([], CONFIG)


def test_an_image_of_another_size_than_annotated(samples):
    wrong = Sample(samples[0].image, Instances.empty((50, 61), CLASSES), "wrong")
    with pytest.raises(InputError, match=r"0\.png: is \(50, 60\) \(height, width\), its annotation says \(50, 61\)"):
        Crops([samples[1], wrong], CONFIG)


def test_a_missing_image(samples, tmp_path):
    gone = Sample(tmp_path / "gone.png", samples[0].instances, "gone")
    with pytest.raises(InputError, match=r"gone\.png"):
        Crops([gone], CONFIG)


def test_steps_start_where_a_run_stopped():
    assert list(Steps(0, 3, 2)) == [[0, 1], [2, 3], [4, 5]]
    resumed = Steps(2, 3, 2)
    assert list(resumed) == [[4, 5]]
    assert len(resumed) == 3


def test_processes_share_every_batch():
    whole = list(Steps(1, 4, 6))
    parts = [list(Steps(1, 4, 6, rank, 3)) for rank in range(3)]
    assert [[crop for part in step for crop in part] for step in zip(*parts, strict=True)] == whole
    with pytest.raises(InputError, match=r"train\.batch is 6, there are 4 processes: give a multiple of 4"):
        Steps(0, 4, 6, 0, 4)


def test_a_weight_for_a_class_that_is_none(samples):
    config = CONFIG.model_copy(update={"train": CONFIG.train.model_copy(update={"type_weights": {"astor": 2.0}})})
    with pytest.raises(InputError, match=r"train\.type_weights: found .*astor"):
        Crops(samples, config)
