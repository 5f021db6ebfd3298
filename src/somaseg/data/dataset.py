"""Training crops as tensors: crop i is a function of the seed and i, so that a run resumes with the crops it would have seen."""

from collections.abc import Iterator, Sequence
from fnmatch import fnmatch

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from somaseg.config import Config, InputSettings
from somaseg.data.augment import augment
from somaseg.data.images import read_image
from somaseg.data.normalize import pixel_values
from somaseg.data.samples import Sample
from somaseg.data.scene import Scene, mirrored
from somaseg.errors import InputError
from somaseg.targets import Target


class Crops(Dataset[tuple[Tensor, Target]]):
    """Crops drawn from samples.

    Images are read once, in the values that the network wants, and kept as float16 (a 704 x 520 image takes .7 MB).

    Raises:
        InputError: when there is no sample, an image cannot be read or has another size than its annotation, or `type_weights`
            names no cell type.
    """

    def __init__(self, samples: Sequence[Sample], config: Config) -> None:
        if not samples:
            raise InputError("training: no image in the training folds: give more annotated images or fewer folds")
        self.config = config
        self.scenes = [_scene(s, config.model.input) for s in samples]
        left_out = config.augment.paste.leave_out
        self.pastes = [not any(fnmatch(s.image.name, pattern) for pattern in left_out) for s in samples]
        types = [s.cell_type or "" for s in samples]
        self.of_type = {t: [i for i, name in enumerate(types) if name == t] for t in sorted(set(types))}
        given = config.train.type_weights
        by_image = config.train.draw == "images"
        weights = np.array([given.get(t, 1.0) * (len(members) if by_image else 1) for t, members in self.of_type.items()])
        if not set(given) <= {*config.model.classes, *self.of_type} or not weights.any():
            known = ", ".join(self.of_type)
            raise InputError(f"train.type_weights: found {given}, the cell types are {known}: name these, one of them above 0")
        self.chances = weights / weights.sum()

    def __len__(self) -> int:
        return self.config.train.steps * self.config.train.batch

    def __getitem__(self, index: int) -> tuple[Tensor, Target]:
        """Image (1, H, W) and truth of crop `index`."""
        cfg = self.config
        random = np.random.default_rng([cfg.train.seed, index])
        members = list(self.of_type.values())[random.choice(len(self.chances), p=self.chances)]
        chosen = int(random.choice(members))
        return as_tensors(augment(self.scenes[chosen], self._donors(chosen, members, random), cfg.augment, random))

    def _donors(self, chosen: int, members: list[int], random: np.random.Generator) -> list[Scene]:
        """The scene whose cells are pasted into scene `chosen`, if any; `members` are the scenes of its type."""
        paste, chance = self.config.augment.paste, random.random()
        if not self.pastes[chosen]:
            return []
        if chance < paste.share:
            return [self.scenes[int(random.choice([i for i in members if self.pastes[i]]))]]
        return [mirrored(self.scenes[chosen])] if chance < paste.share + paste.flip_share else []


def as_tensors(scene: Scene) -> tuple[Tensor, Target]:
    """Image (1, H, W) and truth of a crop."""
    boxes = torch.from_numpy(scene.boxes)
    pixels = [m.ravel() for m in scene.masks]
    return torch.from_numpy(scene.image)[None], Target(
        boxes=boxes.float(),
        labels=torch.from_numpy(scene.labels),
        mask_boxes=boxes.long(),
        mask_pixels=torch.from_numpy(np.concatenate(pixels).astype(np.uint8) if pixels else np.zeros(0, np.uint8)),
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
    image = pixel_values(read_image(sample.image).array, settings)
    cells = sample.instances
    if image.shape != cells.size:
        raise InputError(f"{sample.image}: is {image.shape} (height, width), its annotation says {cells.size}: mend one of them")
    # Standard values have the mean 0 and the deviation 1, whatever clipping changed of them.
    mean, deviation = (0.0, 1.0) if settings.values == "standard" else (float(image.mean()), float(image.std()))
    return Scene(image.astype(np.float16), cells.boxes, cells.masks, cells.labels, mean, deviation)
