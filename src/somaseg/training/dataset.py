"""Training crops as tensors: crop i is a function of the seed and i, so that a run resumes with the crops it would have seen."""

from collections.abc import Iterator, Sequence
from fnmatch import fnmatch

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from somaseg.annotations.samples import Sample
from somaseg.augmentation.crop import augment
from somaseg.augmentation.scene import IGNORED, Scene, mirrored
from somaseg.config import Config, InputSettings
from somaseg.errors import InputError
from somaseg.images.normalize import pixel_values
from somaseg.images.read import read_image
from somaseg.models.targets import Target
from somaseg.training.draws import Draws


class Crops(Dataset[tuple[Tensor, Target]]):
    """Crops drawn from samples.

    Images are read once, in the values that the network wants, and kept as float16 (a 704 x 520 image takes .7 MB).

    Raises:
        InputError: when no person annotated any sample, an image cannot be read or has another size than its annotation, or
            `type_weights` names no cell type.
    """

    def __init__(self, samples: Sequence[Sample], config: Config) -> None:
        self.config = config
        self.draws = Draws(samples, config.model.classes, config.train)
        self.scenes = [_scene(s, config.model.input) for s in samples]
        left_out = config.augment.paste.leave_out
        self.pastes = [not any(fnmatch(s.image.name, pattern) for pattern in left_out) for s in samples]

    def __len__(self) -> int:
        return self.config.train.steps * self.config.train.batch

    def __getitem__(self, index: int) -> tuple[Tensor, Target]:
        """Image (1, H, W) and truth of crop `index`, one of step `index` // batch."""
        cfg = self.config
        random = np.random.default_rng([cfg.train.seed, index])
        cell_type, chosen, weight = self.draws.draw(index // cfg.train.batch, random)
        donors = self._donors(chosen, self.draws.annotated.of_type.get(cell_type, []), random)
        return as_tensors(augment(self.scenes[chosen], donors, cfg.augment, random), weight)

    def _donors(self, chosen: int, members: list[int], random: np.random.Generator) -> list[Scene]:
        """The scene whose cells are pasted into scene `chosen`, if any; `members` are the annotated scenes of its type."""
        paste, chance = self.config.augment.paste, random.random()
        if not self.pastes[chosen]:
            return []
        if chance < paste.share:
            givers = [i for i in members if self.pastes[i]]
            return [self.scenes[int(random.choice(givers))]] if givers else []
        # Of a pseudo-labelled image nobody knows all cells, so it gives none.
        return [mirrored(self.scenes[chosen])] if chance < paste.share + paste.flip_share and chosen in members else []


def as_tensors(scene: Scene, weight: float = 1.0) -> tuple[Tensor, Target]:
    """Image (1, H, W) and truth of a crop whose losses count `weight` times."""
    is_cell = scene.labels != IGNORED
    boxes = torch.from_numpy(scene.boxes[is_cell])
    pixels = [m.ravel() for m, counts in zip(scene.masks, is_cell, strict=True) if counts]
    return torch.from_numpy(scene.image)[None], Target(
        boxes=boxes.float(),
        labels=torch.from_numpy(scene.labels[is_cell]),
        mask_boxes=boxes.long(),
        mask_pixels=torch.from_numpy(np.concatenate(pixels).astype(np.uint8) if pixels else np.zeros(0, np.uint8)),
        ignored=torch.from_numpy(scene.boxes[~is_cell]).float(),
        weight=torch.tensor(weight),
    )


def collate(crops: list[tuple[Tensor, Target]]) -> tuple[list[Tensor], list[Target]]:
    """A batch: images and targets."""
    return [image for image, _ in crops], [target for _, target in crops]


class Steps(Sampler[list[int]]):
    """The crops of every step from `start` on; process `rank` of `world` takes its own equal part of each batch."""

    def __init__(self, start: int, steps: int, batch: int, rank: int = 0, world: int = 1) -> None:
        if batch % world:
            raise InputError(f"train.batch is {batch}, there are {world} processes: give a multiple of {world}")
        self.start, self.steps, self.batch, self.rank, self.share = start, steps, batch, rank, batch // world

    def __len__(self) -> int:
        return self.steps  # of the whole run: Lightning counts on from the step that it resumes at

    def __iter__(self) -> Iterator[list[int]]:
        for step in range(self.start, self.steps):
            first = step * self.batch + self.rank * self.share
            yield list(range(first, first + self.share))


def _scene(sample: Sample, settings: InputSettings) -> Scene:
    image = pixel_values(np.asarray(read_image(sample.image).picture), settings)
    cells, unsure = sample.instances, sample.ignored
    if image.shape != cells.size:
        raise InputError(f"{sample.image}: is {image.shape} (height, width), its annotation says {cells.size}: mend one of them")
    # Standard values have the mean 0 and the deviation 1, whatever clipping changed of them.
    mean, deviation = (0.0, 1.0) if settings.values == "standard" else (float(image.mean()), float(image.std()))
    return Scene(
        image.astype(np.float16),
        np.concatenate([cells.boxes, unsure.boxes]),
        (*cells.masks, *unsure.masks),
        np.concatenate([cells.labels, np.full(len(unsure), IGNORED, np.int64)]),
        mean,
        deviation,
    )
